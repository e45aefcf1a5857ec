# SPDX-License-Identifier: GPL-3.0-or-later
"""Sets that stand in the file: finding them, choosing what of them is seen, taking one out again."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import bpy

from ..core.record import PREFIX
from .metadata import role_of

DISPLAYS = ("PROXY", "SPLATS", "POINTS", "PLATE")
_SHOWN = {"PROXY": {"proxy", "dome"}, "SPLATS": {"splats"}, "POINTS": {"points"}, "PLATE": {"shadow catcher"}}
_SWITCHED = set().union(*_SHOWN.values())


def all_sets() -> Iterator[bpy.types.Object]:
    """The root empty of every imported set in the file."""
    return (item for item in bpy.data.objects if role_of(item) == "set")


def set_of(item: bpy.types.Object | None) -> bpy.types.Object | None:
    """The root of the set that an object belongs to."""
    while item is not None and role_of(item) != "set":
        item = item.parent
    return item


def members(root: bpy.types.Object) -> list[bpy.types.Object]:
    """The set's own objects (those with a record), the root left out."""
    return [item for item in root.children_recursive if role_of(item)]


def by_role(root: bpy.types.Object) -> dict[str, bpy.types.Object]:
    """One object a role; props are many and left out."""
    return {role_of(item): item for item in members(root) if not role_of(item).startswith("prop")}


def show(parts: dict[str, bpy.types.Object], display: str) -> str:
    """Show one kind of background in viewport and render and hide the others; returns the kind that is shown.

    PLATE shows props and their shadows alone, to be laid over the plate. Where a kind is lacking, the next there is.
    """
    order = [display, *(each for each in DISPLAYS if each != display)]
    shown = next((each for each in order if _SHOWN[each] & parts.keys()), display)
    for role in _SWITCHED & parts.keys():
        parts[role].hide_render = parts[role].hide_viewport = role not in _SHOWN[shown]
    return shown


def shown(parts: dict[str, bpy.types.Object]) -> str:
    """Which kind is seen in renders now."""
    seen = {role for role in _SWITCHED & parts.keys() if not parts[role].hide_render}
    return next((each for each in DISPLAYS if _SHOWN[each] & seen), "PROXY")


def show_object(item: bpy.types.Object, on: bool) -> None:
    """In viewport and render alike."""
    item.hide_render = item.hide_viewport = not on


def show_prop(mesh: bpy.types.Object, splats: bool) -> None:
    """Switch one prop between its mesh and its Gaussians; nothing happens where it has no Gaussians."""
    twin = next((item for item in members(set_of(mesh) or mesh) if role_of(item) == "prop splats"
                 and item.get(PREFIX + "id") == mesh.get(PREFIX + "id")), None)  # fmt: skip
    if twin is not None:
        mesh.hide_render = mesh.hide_viewport = splats
        twin.hide_render = twin.hide_viewport = not splats


def world_of(root: bpy.types.Object) -> bpy.types.World | None:
    """The world that the set's probe lights."""
    mark = root.get(PREFIX + "session_id")
    return next((world for world in bpy.data.worlds if world.get(PREFIX + "session_id") == mark), None)


def remove_set(session_id: str, scene: bpy.types.Scene) -> int:
    """Take out what an earlier import of this session made; the user's own objects among it are kept.

    They move to the scene's collection and stay where they stand. Returns how many sets were taken out.
    """
    for layer in scene.view_layers:
        layer.update()  # matrix_world of what the user added is read below
    roots = [root for root in all_sets() if root.get(PREFIX + "session_id") == session_id]
    for root in roots:
        ours = set(members(root)) | {root}
        for item in [item for item in root.children_recursive if item not in ours]:
            if item.parent in ours:
                place = item.matrix_world.copy()
                item.parent = None
                item.matrix_world = place
        tops = [one for one in bpy.data.collections
                if role_of(one) == "set" and one.get(PREFIX + "session_id") == session_id]  # fmt: skip
        for top in tops:
            for part in [*top.children_recursive, top]:
                for item in [item for item in part.objects if item not in ours]:
                    part.objects.unlink(item)
                    if not item.users_collection:
                        scene.collection.objects.link(item)
                bpy.data.collections.remove(part)
        _purge(ours)
    if roots and scene.world is not None and scene.world.get(PREFIX + "session_id") == session_id:
        images = {node.image for node in scene.world.node_tree.nodes if getattr(node, "image", None)}
        bpy.data.worlds.remove(scene.world)
        bpy.data.batch_remove([image for image in images if image.users == 0])
    return len(roots)


def _purge(objects: Iterable[bpy.types.Object]) -> None:
    """Objects with their data, materials and pictures, as far as nobody else uses them."""
    data = {item.data for item in objects if item.data is not None}
    materials = {slot.material for item in objects for slot in item.material_slots if slot.material}
    images = {node.image for material in materials for node in material.node_tree.nodes
              if getattr(node, "image", None)}  # fmt: skip
    images |= {picture.image for block in data if isinstance(block, bpy.types.Camera)
               for picture in block.background_images if picture.image}  # fmt: skip
    for group in (objects, data, materials, images):
        bpy.data.batch_remove([block for block in group if isinstance(block, bpy.types.Object) or block.users == 0])
