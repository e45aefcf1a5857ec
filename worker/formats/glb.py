"""Textured meshes as binary glTF 2.0 (Khronos specification 2.0, section 4), and back."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pygltflib as gltf
from PIL import Image

from worker import __version__
from worker.arrays import F64, I32
from worker.formats.mesh import TexturedMesh, vertex_normals
from worker.session.atomic import write_bytes
from worker.session.frames import PROP_FROM_GLB


def write_glb(path: Path, mesh: TexturedMesh, name: str, extras: dict[str, Any] | None = None) -> None:
    """One node, one mesh, one opaque rough material. Equal meshes give equal bytes.

    Vertices are turned from the Z-up prop frame to glTF's Y-up axes (`PROP_FROM_GLB` turns them back).
    """
    turn = PROP_FROM_GLB[:3, :3].T  # glb_from_prop
    position = np.ascontiguousarray(mesh.vertices @ turn.T, dtype=np.float32)
    normals = vertex_normals(mesh.vertices, mesh.faces) if mesh.normals is None else mesh.normals
    normal = np.ascontiguousarray(normals @ turn.T, dtype=np.float32)
    uv = np.stack([mesh.uv[:, 0], 1.0 - mesh.uv[:, 1]], axis=1).astype(np.float32)  # glTF: origin top left
    wide = len(position) > 65_535
    index = mesh.faces.astype(np.uint32 if wide else np.uint16).ravel()
    picture = io.BytesIO()
    Image.fromarray(mesh.texture).save(picture, format="PNG", compress_level=6)

    document = gltf.GLTF2(
        asset=gltf.Asset(version="2.0", generator=f"Assetize {__version__}", extras=extras or {}),
        scene=0,
        scenes=[gltf.Scene(name=name, nodes=[0])],
        nodes=[gltf.Node(name=name, mesh=0)],
        materials=[
            gltf.Material(
                name=name,
                doubleSided=False,
                alphaMode="OPAQUE",
                alphaCutoff=None,
                pbrMetallicRoughness=gltf.PbrMetallicRoughness(
                    baseColorTexture=gltf.TextureInfo(index=0), metallicFactor=0.0, roughnessFactor=0.7
                ),
            )
        ],
        textures=[gltf.Texture(source=0, sampler=0)],
        samplers=[
            gltf.Sampler(
                magFilter=gltf.LINEAR,
                minFilter=gltf.LINEAR_MIPMAP_LINEAR,
                wrapS=gltf.CLAMP_TO_EDGE,
                wrapT=gltf.CLAMP_TO_EDGE,
            )
        ],
        images=[gltf.Image(name=f"{name}_color", mimeType="image/png", bufferView=4)],
    )
    blob = bytearray()

    def view(data: bytes, target: int | None) -> int:
        blob.extend(b"\0" * (-len(blob) % 4))
        document.bufferViews.append(
            gltf.BufferView(buffer=0, byteOffset=len(blob), byteLength=len(data), target=target)
        )
        blob.extend(data)
        return len(document.bufferViews) - 1

    def accessor(array: np.ndarray, component: int, kind: str, target: int, bounds: bool = False) -> int:
        document.accessors.append(
            gltf.Accessor(
                bufferView=view(array.tobytes(), target),
                componentType=component,
                count=len(array),
                type=kind,
                min=array.min(axis=0).tolist() if bounds else None,
                max=array.max(axis=0).tolist() if bounds else None,
            )
        )
        return len(document.accessors) - 1

    indices = accessor(
        index, gltf.UNSIGNED_INT if wide else gltf.UNSIGNED_SHORT, gltf.SCALAR, gltf.ELEMENT_ARRAY_BUFFER
    )
    attributes = gltf.Attributes(
        POSITION=accessor(position, gltf.FLOAT, gltf.VEC3, gltf.ARRAY_BUFFER, bounds=True),
        NORMAL=accessor(normal, gltf.FLOAT, gltf.VEC3, gltf.ARRAY_BUFFER),
        TEXCOORD_0=accessor(uv, gltf.FLOAT, gltf.VEC2, gltf.ARRAY_BUFFER),
    )
    document.images[0].bufferView = view(picture.getvalue(), None)
    document.meshes = [
        gltf.Mesh(name=name, primitives=[gltf.Primitive(attributes=attributes, indices=indices, material=0)])
    ]
    blob.extend(b"\0" * (-len(blob) % 4))
    document.buffers = [gltf.Buffer(byteLength=len(blob))]
    document.set_binary_blob(bytes(blob))
    write_bytes(path, b"".join(document.save_to_bytes()))


def read_glb(path: Path) -> TexturedMesh:
    """A GLB's meshes as one in the prop frame; reads what `write_glb` wrote and ordinary generators' files.

    Node transforms are applied; the first base colour texture is taken (mid grey where there is none).
    Raises ValueError where the file cannot be read or holds no triangles.
    """
    import trimesh  # slow to import, and only placement reads

    try:
        scene = trimesh.load_scene(path, process=False)
    except OSError:
        raise
    except Exception as fault:  # a damaged file makes trimesh raise whatever its parser trips over
        raise ValueError(f"{path.name} cannot be read as a GLB ({fault})") from fault
    parts = [part for part in scene.dump() if isinstance(part, trimesh.Trimesh) and len(part.faces)]
    if not parts:
        raise ValueError(f"{path.name} holds no triangles")
    vertices: list[F64] = []
    faces: list[I32] = []
    uvs: list[F64] = []
    texture = None
    base = 0
    for part in parts:
        uv = getattr(part.visual, "uv", None)
        material = getattr(part.visual, "material", None)
        picture = getattr(material, "baseColorTexture", None)
        if texture is None and picture is not None:
            texture = np.asarray(picture.convert("RGB"))
        vertices.append(np.asarray(part.vertices) @ PROP_FROM_GLB[:3, :3].T)
        faces.append(np.asarray(part.faces) + base)
        uvs.append(np.zeros((len(part.vertices), 2)) if uv is None else np.asarray(uv))
        base += len(part.vertices)
    return TexturedMesh(
        np.concatenate(vertices).astype(np.float32),
        np.concatenate(faces).astype(np.int32),
        np.concatenate(uvs).astype(np.float32),
        np.full((4, 4, 3), 128, np.uint8) if texture is None else texture,
    )
