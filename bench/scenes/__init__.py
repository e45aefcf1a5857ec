"""Procedural film-like stills with complete truth. `python -m bench.scenes --help` (Python 3.11 with bpy 4.5)."""
