"""Putting a mesh where the still shows it: pose search, render and compare, support, collisions; no files."""
