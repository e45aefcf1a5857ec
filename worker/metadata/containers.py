"""Text put into and read from finished PNG, GLB and PLY files, without touching pixels, meshes or points."""

from __future__ import annotations

import json
import shutil
import struct
import zlib
from pathlib import Path
from typing import Any

from worker.session.atomic import replacing, write_bytes

_PNG = b"\x89PNG\r\n\x1a\n"
_XMP_KEYWORD = b"XML:com.adobe.xmp"
_JSON_CHUNK = 0x4E4F534A
_PLY_HEADER_LIMIT = 1 << 16


def put_xmp_into_png(path: Path, packet: str) -> None:
    """One uncompressed iTXt chunk behind IHDR (XMP specification part 3, section 1.1.5); an older packet goes."""
    data = path.read_bytes()
    if not data.startswith(_PNG):
        raise ValueError(f"{path.name} is no PNG")
    body = _XMP_KEYWORD + b"\0\0\0\0\0" + packet.encode("utf-8")
    chunk = struct.pack(">I", len(body)) + b"iTXt" + body + struct.pack(">I", zlib.crc32(b"iTXt" + body))
    parts, position = [_PNG], len(_PNG)
    while position < len(data):
        (length,) = struct.unpack_from(">I", data, position)
        end = position + 12 + length
        kind = data[position + 4 : position + 8]
        if not (kind == b"iTXt" and data.startswith(_XMP_KEYWORD, position + 8)):
            parts.append(data[position:end])
        if kind == b"IHDR":
            parts.append(chunk)
        position = end
    write_bytes(path, b"".join(parts))


def glb_document(path: Path) -> dict[str, Any]:
    """The JSON chunk of a binary glTF 2.0 file."""
    with path.open("rb") as stream:
        document, _ = _glb_json(stream.read(20), stream.read, path)
    return document


def _glb_json(head: bytes, read: Any, path: Path) -> tuple[dict[str, Any], int]:
    if len(head) < 20:
        raise ValueError(f"{path.name} is no GLB")
    magic, version, _, length, kind = struct.unpack("<4sIIII", head)
    if magic != b"glTF" or version != 2 or kind != _JSON_CHUNK:
        raise ValueError(f"{path.name} is no GLB")
    return json.loads(read(length)), length


def put_into_glb(path: Path, extras: dict[str, Any], packet: dict[str, Any]) -> None:
    """`extras` joins asset.extras; `packet` becomes the asset's KHR_xmp_json_ld packet (Khronos, ratified)."""
    data = path.read_bytes()
    document, length = _glb_json(data[:20], lambda size: data[20 : 20 + size], path)
    asset = document["asset"]
    asset["extras"] = {**asset.get("extras", {}), **extras}
    asset.setdefault("extensions", {})["KHR_xmp_json_ld"] = {"packet": 0}
    document.setdefault("extensions", {})["KHR_xmp_json_ld"] = {"packets": [packet]}
    used = document.setdefault("extensionsUsed", [])
    if "KHR_xmp_json_ld" not in used:
        used.append("KHR_xmp_json_ld")
    text = json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode("utf-8")
    text += b" " * (-len(text) % 4)
    rest = data[20 + length :]
    head = struct.pack("<4sIIII", b"glTF", 2, 20 + len(text) + len(rest), len(text), _JSON_CHUNK)
    write_bytes(path, head + text + rest)


def ply_header(path: Path) -> list[str]:
    """Header lines of a PLY, "ply" to "end_header"."""
    lines, size = [], 0
    with path.open("rb") as stream:
        while size < _PLY_HEADER_LIMIT:
            raw = stream.readline(_PLY_HEADER_LIMIT)
            size += len(raw)
            lines.append(raw.decode("ascii", "replace").rstrip("\r\n"))
            if lines[0] != "ply" or not raw:
                break
            if lines[-1] == "end_header":
                return lines
    raise ValueError(f"{path.name} is no PLY")


def put_comments_into_ply(path: Path, comments: list[str], marker: str) -> bool:
    """`comments` (ASCII) behind the format line; older comments that begin with `marker` go.

    False: they stand there already, and the file was left as it is.
    """
    header = ply_header(path)
    kept = [line for line in header if not line.startswith(f"comment {marker}")]
    new = [*kept[:2], *(f"comment {comment}" for comment in comments), *kept[2:]]
    if new == header:
        return False
    with path.open("rb") as source, replacing(path) as part, part.open("wb") as target:
        for _ in header:
            source.readline()
        target.write("".join(f"{line}\n" for line in new).encode("ascii"))
        shutil.copyfileobj(source, target, 1 << 20)
        source.close()  # Windows renames only over closed files
    return True


def ply_comments(path: Path) -> list[str]:
    return [line.removeprefix("comment ") for line in ply_header(path) if line.startswith("comment ")]
