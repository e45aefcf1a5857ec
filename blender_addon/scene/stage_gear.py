# SPDX-License-Identifier: GPL-3.0-or-later
"""What turns a picture into a set to work in: shadows on the floor, bodies that collide, asset browser entries."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import Any

import bpy
import numpy as np

from ..core.record import PREFIX
from .metadata import read_record, role_of, write_record
from .objects import add_object, mesh_from_faces
from .props import RELIGHT
from .sets import set_of


def add_shadow_catcher(
    name: str, root: bpy.types.Object, collection: bpy.types.Collection, size: float
) -> bpy.types.Object:
    """A floor at z = 0 that takes shadows only. Cycles knows it as such; hidden until the display is PLATE."""
    half = 0.5 * size
    corners = np.float32([[-half, -half, 0], [half, -half, 0], [half, half, 0], [-half, half, 0]])
    made = add_object(collection, name, mesh_from_faces(name, corners, np.int32([[0, 1, 2, 3]])), root, np.eye(4))
    made.is_shadow_catcher = True
    made.hide_render = made.hide_viewport = True
    return made


def convex_hull(prop: bpy.types.Object) -> bpy.types.Object:
    """A wire mesh of the prop's convex hull, its child, for engines that collide with hulls."""
    import bmesh

    for child in prop.children:
        if role_of(child) == "prop hull":
            return child
    work = bmesh.new()
    try:
        work.from_mesh(prop.data)
        hull = bmesh.ops.convex_hull(work, input=work.verts)
        unused = {item for key in ("geom_interior", "geom_unused") for item in hull[key]}
        bmesh.ops.delete(work, geom=[item for item in unused if isinstance(item, bmesh.types.BMVert)], context="VERTS")
        faces = [item for item in hull["geom"] if isinstance(item, bmesh.types.BMFace) and item.is_valid]
        keep = {face for face in faces}
        bmesh.ops.delete(work, geom=[face for face in work.faces if face not in keep], context="FACES_ONLY")
        mesh = bpy.data.meshes.new(f"{prop.name} hull")
        work.to_mesh(mesh)
    finally:
        work.free()
    made = bpy.data.objects.new(mesh.name, mesh)
    for collection in prop.users_collection:
        collection.objects.link(made)
    made.parent = prop
    made.display_type = "WIRE"
    made.hide_render = True
    copied = {key: prop[key] for key in prop.keys() if key.startswith(PREFIX) and key != RELIGHT}  # noqa: SIM118
    write_record(made, copied | {PREFIX + "role": "prop hull"})
    return made


def catalogue(folder: Path, name: str) -> str:
    """The UUID of the catalogue "Assetize/<name>" in that folder's blender_assets.cats.txt, written where lacking."""
    path = folder / "blender_assets.cats.txt"
    place = f"Assetize/{name.replace(':', ' ').replace('/', ' ')}"
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else ["VERSION 1"]
    for line in lines:
        fields = line.split(":")
        if len(fields) == 3 and fields[1] == place:
            return fields[0]
    made = str(uuid.uuid5(uuid.NAMESPACE_URL, f"assetize:{place}"))
    lines.append(f"{made}:{place}:{place.replace('/', '-')}")
    part = path.with_name(f".part-{path.name}")
    part.write_text("\n".join(lines) + "\n", encoding="utf-8")
    part.replace(path)
    return made


def mark_asset(prop: bpy.types.Object, catalogue_id: str | None, crop: Path | None) -> None:
    """Into the asset browser, with the crop from the still as preview, and author, licence and tags from the record."""
    record: dict[str, Any] = read_record(prop) or {}
    delivery = record.get("delivery") or {}
    prop.asset_mark()
    data = prop.asset_data
    data.author = str((delivery.get("AIGC") or {}).get("ContentProducer") or "Assetize")
    data.license = str(prop.get(PREFIX + "licence_weights") or prop.get(PREFIX + "licence_code") or "")
    data.description = f"{prop.get(PREFIX + 'label', prop.name)} from {prop.get(PREFIX + 'input_name', 'a film still')}"
    for tag in ("Assetize", str(prop.get(PREFIX + "label", "prop")), str(prop.get(PREFIX + "session", ""))):
        if tag:
            data.tags.new(tag, skip_if_exists=True)
    if catalogue_id:
        data.catalog_id = catalogue_id
    if crop is not None and crop.is_file():
        _set_preview(prop, crop)


def _set_preview(prop: bpy.types.Object, picture: Path, size: int = 128) -> None:
    """Pixels written by hand: the preview render job gives none in background."""
    image = bpy.data.images.load(str(picture))
    try:
        image.colorspace_settings.name = "Non-Color"
        width, height = image.size
        factor = size / max(width, height, 1)
        inner = (max(1, round(width * factor)), max(1, round(height * factor)))
        image.scale(*inner)
        pixels = np.empty(len(image.pixels), np.float32)
        image.pixels.foreach_get(pixels)
    finally:
        bpy.data.images.remove(image)
    canvas = np.zeros((size, size, 4), np.float32)
    left, low = (size - inner[0]) // 2, (size - inner[1]) // 2
    canvas[low : low + inner[1], left : left + inner[0]] = pixels.reshape(inner[1], inner[0], -1)[..., :4]
    preview = prop.preview_ensure()
    preview.image_size = (size, size)
    preview.image_pixels_float.foreach_set(canvas.reshape(-1))


def session_folder(item: bpy.types.Object) -> Path | None:
    """The folder that the object's set was imported from, as noted then."""
    root = set_of(item)
    folder = root.get(PREFIX + "folder") if root is not None else None
    return Path(folder) if folder else None
