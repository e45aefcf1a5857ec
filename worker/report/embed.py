"""What is put inside the page: pictures as data URIs, points and meshes as compact base64 blocks for report.js."""

from __future__ import annotations

import base64
import io
import math
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from worker.arrays import F32, U8, Bool
from worker.formats.mesh import TexturedMesh

PICTURE_SIDE = 1100
CROP_SIDE = 420
TEXTURE_SIDE = 512
POINTS = 60_000
TRIANGLES = 20_000  # of all props together they share MESH_BUDGET
MESH_BUDGET = 160_000


def picture(path: Path, side: int = PICTURE_SIDE) -> str | None:
    """Data URI of a picture reduced to `side`: JPEG, or WebP where it has alpha; None where there is no such file."""
    if not path.is_file():
        return None
    with Image.open(path) as opened:
        image = opened.convert("RGBA" if "A" in opened.getbands() else "RGB")
    image.thumbnail((side, side), Image.Resampling.LANCZOS)
    return encoded(image)


def encoded(image: Image.Image) -> str:
    kind = "webp" if image.mode == "RGBA" else "jpeg"
    buffer = io.BytesIO()
    image.save(buffer, format=kind.upper(), quality=82, **({"method": 4} if kind == "webp" else {"optimize": True}))
    return f"data:image/{kind};base64,{_text(buffer.getvalue())}"


def silhouette(still: Image.Image, crop: tuple[int, int, int, int], taken: list[Any], built: Bool | None) -> str:
    """The still around a prop with two outlines: what was cut out (green) and the model standing there (magenta).

    Args:
        still: RGB.
        crop: x, y, width, height in the still's pixels.
        taken: polygons of the harvested outline, still pixels.
        built: (H, W) mask of the mesh as the still's camera sees it, or None.
    """
    x, y, w, h = crop
    pad = max(8, round(0.15 * max(w, h)))
    x0, y0 = max(0, x - pad), max(0, y - pad)
    x1, y1 = min(still.width, x + w + pad), min(still.height, y + h + pad)
    view = still.crop((x0, y0, x1, y1))
    scale = CROP_SIDE / max(view.size)
    view = view.resize((max(1, round(view.width * scale)), max(1, round(view.height * scale))))
    if built is not None:
        seen = Image.fromarray(np.where(built[y0:y1, x0:x1], 255, 0).astype(np.uint8)).resize(view.size)
        mask = np.asarray(seen) > 127
        edge = mask ^ _shrunk(mask, 2)
        pixels = np.asarray(view).copy()
        pixels[mask] = (0.7 * pixels[mask] + 0.3 * np.array([255, 0, 200])).astype(np.uint8)
        pixels[edge] = (255, 0, 200)
        view = Image.fromarray(pixels)
    draw = ImageDraw.Draw(view)
    for polygon in taken:
        line = [((px + 0.5 - x0) * scale, (py + 0.5 - y0) * scale) for px, py in polygon]
        draw.line([*line, line[0]], fill=(60, 230, 90), width=2)
    return encoded(view)


def _shrunk(mask: np.ndarray, by: int) -> np.ndarray:
    for axis in (0, 1):
        for _ in range(by):
            mask = mask & np.roll(mask, 1, axis) & np.roll(mask, -1, axis)
    return mask


def points_block(points: F32, colors: U8, mask: Bool) -> dict[str, Any]:
    """A thinned cloud for the viewer: positions as 16-bit steps within their box, colours as bytes.

    Every n-th row and column, so that from the still's camera the points still tile the picture.

    Args:
        points: (H, W, 3) camera frame, finite. colors: (H, W, 3) uint8. mask: (H, W) what to show.
    """
    step = math.ceil(math.sqrt(mask.size / POINTS))
    shown = mask[::step, ::step]
    points, colors = points[::step, ::step][shown], colors[::step, ::step][shown]
    return {
        "count": len(points),
        **_quantised(points),
        "color": _text(colors.tobytes()),
        "target": [float(v) for v in np.median(points, axis=0)],
        "spacing": step / mask.shape[0],  # between neighbours, in picture heights
    }


def mesh_block(mesh: TexturedMesh, triangles: int) -> dict[str, Any]:
    """A mesh for the viewer, at most `triangles` faces; its axes stay the prop's own (Z up, front to -Y)."""
    vertices, faces, uv = mesh.vertices, mesh.faces, mesh.uv
    shown = len(faces)
    if shown > triangles:
        vertices, faces, uv = _simplified(vertices, faces, uv, triangles)
    texture = Image.fromarray(mesh.texture)
    texture.thumbnail((TEXTURE_SIDE, TEXTURE_SIDE), Image.Resampling.LANCZOS)
    wide = len(vertices) > 65_535
    return {
        "count": int(faces.size),
        **_quantised(vertices),
        "uv": _text(np.round(np.clip(uv, 0, 1) * 65_535).astype("<u2").tobytes()),
        "index": _text(faces.astype("<u4" if wide else "<u2").tobytes()),
        "wide": wide,
        "texture": encoded(texture),
        "triangles": len(faces),
        "of": int(shown),
    }


def _simplified(vertices: F32, faces: Any, uv: F32, triangles: int) -> tuple[F32, Any, F32]:
    """Fewer faces; each kept vertex takes the texture place of the nearest old one, good enough to look at."""
    import fast_simplification
    from scipy.spatial import cKDTree

    fewer, new_faces = fast_simplification.simplify(
        vertices.astype(np.float32), faces.astype(np.int64), target_count=triangles
    )
    _, nearest = cKDTree(vertices).query(fewer)
    return fewer, new_faces, uv[nearest]


def _quantised(points: F32) -> dict[str, Any]:
    low, high = points.min(axis=0), points.max(axis=0)
    span = np.maximum(high - low, 1e-9)
    steps = np.round((points - low) / span * 65_535).astype("<u2")
    return {"position": _text(steps.tobytes()), "low": [float(v) for v in low], "span": [float(v) for v in span]}


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")
