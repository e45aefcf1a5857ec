# SPDX-License-Identifier: GPL-3.0-or-later
"""What the add-on knows without Blender: session folders, file formats, frames, the worker's protocol."""
