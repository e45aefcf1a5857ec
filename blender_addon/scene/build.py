# SPDX-License-Identifier: GPL-3.0-or-later
"""A session folder becomes a scene: one call, no operator, no context."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import bpy
import numpy as np

from ..core.errors import AddonError, FormatError
from ..core.frames import F64
from ..core.record import PREFIX, SCENE, flat_record, whole
from ..core.session import POINTS, SPLATS, STILL, SessionData, read_session
from .background import add_background
from .camera import add_camera, frame_render
from .lens import remember_lens
from .light import add_key_light, add_world
from .metadata import write_record
from .objects import add_object, make_collections
from .points import add_points
from .props import add_prop
from .sets import remove_set, show
from .splats import add_splats
from .stage_gear import add_shadow_catcher


@dataclass(frozen=True)
class Wanted:
    """What to import. The camera always comes: without it nothing can be compared."""

    proxy: bool = True
    splats: bool = True
    points: bool = True
    props: bool = True
    prop_splats: bool = True
    light: bool = True
    display: str = "PROXY"  # which background is seen; the others are there, hidden


@dataclass
class Imported:
    """What one import made. `problems`: parts that were left out, and why."""

    session: SessionData
    collection: bpy.types.Collection
    root: bpy.types.Object
    camera: bpy.types.Object
    world_from_camera: F64
    by_role: dict[str, bpy.types.Object] = field(default_factory=dict)
    props: list[bpy.types.Object] = field(default_factory=list)
    problems: list[AddonError] = field(default_factory=list)


def import_session(folder: Path, scene: bpy.types.Scene, wanted: Wanted = Wanted()) -> Imported:
    """Build the scene of a session folder inside `scene`; what an earlier import of this session made is replaced.

    A part whose file is missing or broken is left out and told in `problems`; the rest still comes.
    Raises SessionError where there is no scene to build.
    """
    session = read_session(folder)
    height, basis = session.ground_height()
    world_from_camera = session.world_from_camera()
    remove_set(session.session_id, scene)
    parts = make_collections(scene, session.name)
    root = add_object(parts[""], f"Assetize {session.name}", None, None, np.eye(4))
    root.empty_display_size = 0.25 * session.median_depth
    write_record(root, flat_record(session, "set", whole(session), None))
    write_record(parts[""], flat_record(session, "set", whole(session), None))
    root[PREFIX + "folder"] = str(session.root)
    root[PREFIX + "unit"] = session.unit
    root[PREFIX + "ground_basis"] = basis
    remember_lens(root, session.gravity, height, session.hfov_deg)
    camera = add_camera(session, parts["Camera"], root, world_from_camera)
    write_record(camera, flat_record(session, "camera", ("geometry", "plate"), STILL))
    frame_render(scene, session, camera)
    made = Imported(session, parts[""], root, camera, world_from_camera)
    made.problems += [_missing(name) for name in session.missing]

    if wanted.proxy:
        with _Told(made):
            made.by_role |= add_background(session, parts["Background"], root, world_from_camera)
    splats, points = session.file(SPLATS), session.file(POINTS)
    if wanted.splats and splats is not None:
        with _Told(made):
            cloud = add_splats(splats, f"{session.name} splats", parts["Background"], root, world_from_camera, camera)
            made.by_role["splats"] = cloud
            write_record(cloud, flat_record(session, "splats", SCENE, SPLATS))
    if wanted.points and points is not None:
        with _Told(made):
            focal = float(session.intrinsics[0, 0])
            cloud = add_points(points, f"{session.name} points", parts["Points"], root, world_from_camera, focal)
            made.by_role["points"] = cloud
            write_record(cloud, flat_record(session, "points", ("geometry",), POINTS))
    if wanted.props:
        meshes: dict[Path, bpy.types.Mesh] = {}
        for prop in session.props:
            with _Told(made):
                made.props += add_prop(
                    session, prop, parts["Props"], root, world_from_camera, camera, wanted.prop_splats, meshes
                )
    if wanted.light:
        with _Told(made):
            add_world(session, scene)
            key = add_key_light(session, parts["Light"], root, world_from_camera)
            if key is not None:
                made.by_role["key light"] = key
        name, size = f"{session.name} shadow catcher", 20 * session.median_depth
        catcher = made.by_role["shadow catcher"] = add_shadow_catcher(name, root, parts["Light"], size)
        write_record(catcher, flat_record(session, "shadow catcher", ("geometry",), None))
    show(made.by_role, wanted.display)
    for layer in scene.view_layers:
        layer.update()  # so that matrix_world is true for whoever reads it next
    return made


class _Told:
    """Turns a broken file into a problem of the import instead of its end."""

    def __init__(self, made: Imported) -> None:
        self.made = made

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> bool:
        if isinstance(error, FormatError):
            self.made.problems.append(error)
            return True
        return False


def _missing(name: str) -> AddonError:
    return AddonError(
        "session.missing",
        f"The session has no {name}; that part is not in the scene.",
        f"会话中没有 {name}，场景中不含该部分。",
    )
