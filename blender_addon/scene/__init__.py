# SPDX-License-Identifier: GPL-3.0-or-later
"""Builds the scene through bpy data alone: no operators, no context.

So it runs alike in a window, in background and as a module.
"""
