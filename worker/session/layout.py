"""Where everything lies in a session folder. The names are a promise to scripts written for the pre-study pipeline."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class SessionFolder:
    """Paths of one session; see docs/architecture.md for who writes what."""

    root: Path

    @property
    def manifest(self) -> Path:
        return self.root / "session.json"

    # plate
    @property
    def still(self) -> Path:
        """8-bit sRGB RGB working copy, bars cropped, upright."""
        return self.root / "plate" / "still.png"

    @property
    def linear(self) -> Path:
        """Scene-linear Rec.709 half-float original, same pixels as `still`."""
        return self.root / "plate" / "still_linear.exr"

    @property
    def clean(self) -> Path:
        """The still with the props and their contact shadows painted out."""
        return self.root / "plate" / "clean.png"

    @property
    def removed_mask(self) -> Path:
        """8-bit grey: 255 where `clean` was painted."""
        return self.root / "plate" / "removed_mask.png"

    # geometry
    @property
    def points(self) -> Path:
        return self.root / "dust3r" / "points.ply"

    @property
    def pointmap(self) -> Path:
        return self.root / "dust3r" / "pointmap.npz"

    @property
    def segmentation(self) -> Path:
        """Optional npz of the geometry engine: instances int32 HxW (0 = none), classes uint8 HxW, and where it read the
        still several times instance_readings int32 kxhxw (see contract)."""
        return self.root / "dust3r" / "segmentation.npz"

    @property
    def depth_preview(self) -> Path:
        return self.root / "dust3r" / "depth_preview.png"

    # scene
    @property
    def scene_ply(self) -> Path:
        return self.root / "scene_visual" / "scene.ply"

    @property
    def background(self) -> Path:
        """npz `points` (H, W, 3) float32, `mask` (H, W) bool: the pointmap with the props taken away, for the proxy."""
        return self.root / "scene_visual" / "background.npz"

    @property
    def scene_preview(self) -> Path:
        """The Gaussians rendered from the still's camera by the reference rasteriser."""
        return self.root / "scene_visual" / "preview.png"

    # props
    @property
    def harvest_manifest(self) -> Path:
        return self.root / "props" / "harvest_manifest.json"

    def prop_crop(self, prop_id: str) -> Path:
        return self.root / "props" / f"{prop_id}.png"

    def prop_mask(self, prop_id: str) -> Path:
        """8-bit grey alpha in the still's own pixels and size."""
        return self.root / "props" / f"{prop_id}_mask.png"

    def prop_relit(self, prop_id: str) -> Path:
        return self.root / "props" / f"{prop_id}_relit.png"

    def prop_glb(self, prop_id: str) -> Path:
        return self.root / "props_3d" / f"{prop_id}.glb"

    def prop_ply(self, prop_id: str) -> Path:
        return self.root / "props_3d" / f"{prop_id}.ply"

    def prop_record(self, prop_id: str) -> Path:
        return self.root / "props_3d" / f"{prop_id}.json"

    # light
    @property
    def lighting(self) -> Path:
        return self.root / "lighting_probe.json"

    @property
    def probe(self) -> Path:
        """Equirect 2:1, scene-linear Rec.709 float EXR, in the level frame (frames.py)."""
        return self.root / "lighting" / "probe.exr"

    @property
    def probe_preview(self) -> Path:
        return self.root / "lighting" / "probe_preview.png"

    @property
    def relight_balls(self) -> Path:
        return self.root / "lighting" / "balls.png"

    # delivery
    @property
    def scene_record(self) -> Path:
        """Metadata record of the delivery as a whole (still, scene, points, probe)."""
        return self.root / "metadata.json"

    @property
    def report(self) -> Path:
        return self.root / "report.html"

    @property
    def blend(self) -> Path:
        return self.root / "scene.blend"

    @property
    def blend_preview(self) -> Path:
        """scene.blend rendered through its own camera."""
        return self.root / "logs" / "blend_preview.png"

    @property
    def logs(self) -> Path:
        return self.root / "logs"

    def relative(self, path: Path) -> str:
        """POSIX path inside the session, as written into session.json."""
        return path.relative_to(self.root).as_posix()
