"""Procedural film sets: shapes, materials, props, sets, camera and truth. Runs inside bpy 4.5 (Cycles, CPU)."""
