"""Assetize worker: turns one still into a session folder. Never imports bpy."""

__version__ = "0.1.0"
