"""SAM 3D Objects, run from the user's own checkout in its own environment: delete this folder and the engine is gone.

Nothing of it is bundled: neither code nor weights. See docs/engines.md.
"""

from worker.engines.sam3d_objects.cards import CARDS

__all__ = ["CARDS"]
