"""Freely licensed models, skies and textures, fetched by package name into a cache; nothing of them is committed.

Standard library only. Three packages: Debian's `sweethome3d-furniture` (models: CC0 and CC-BY 3.0), npm's
`@pmndrs/assets` (skies: CC0), PyPI's `robosuite` (textures: MIT). See ATTRIBUTION.md.

python -m bench.scenes.assets --cache DIR
"""

from __future__ import annotations

import argparse
import base64
import json
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections import defaultdict
from dataclasses import asdict, dataclass
from pathlib import Path

MODELS = "sweethome3d-furniture"
SKIES = "@pmndrs/assets@1.7.0"
TEXTURES = "robosuite==1.5.2"
LICENCES = {"BlendSwap-CC-0": "CC0-1.0", "BlendSwap-CC-BY": "CC-BY-3.0", "KatorLegaz": "CC-BY-3.0-US",
            "Reallusion": "CC-BY-3.0-US", "Scopia": "CC-BY-3.0"}

# Which models serve as what: (role, category, name), the last two as whole-match patterns of the catalogue's words.
ROLES = [
    ("person", "Characters", r"Female|Male|Holding (fe)?male|Boy|Girl"),
    ("vehicle", "Vehicles", r"Seat Leon|Peugeot 308 CC|SUV|Chevrolet|Smart car|Concept Sedan 01|VW new beetle"
                            r"|Ford Focus"),
    ("seat", "Living room|Office|Kitchen", r"Armchair|Winchester armchair|Chair|Oak chair|Osaka chair|Stool|Bar stool"
                                           r"|Chair with cushion|Ryokan chair|Rattan armchair"),
    ("table", "Living room|Office", r"Oak table|Round table|Table with tablecloth|Coffee table|Wooden table"),
    ("bulky", "Living room|Bedroom", r"Couch|Sofa|Winchester sofa|Bookcase|Cupboard|Chest|Bedside table|Shelves"),
    ("floor", "Living room|Lights|Miscellaneous|Bedroom|Office",
     r"Decorative plant|Plant|Suitcase|Trunck|Barrel|Crate|Rocking horse|Dustbin|Electric guitar|Pedestal vase lamp"
     r"|Backpack|Speaker|Bullet trash can"),
    ("street", "Exterior|Miscellaneous|Vehicles", r"Bench|Painted bench|Mailbox|Fire hydrant|Park trashcan|Wheelbarrow"
     r"|Bicycle|Scooter|Stroller|Tricycle|Barrel|Crate|Cone|Cafe chair|Cafe table|Recycling bin|Residential trashcan"
     r"|Letters box|Extinguisher|Stone lantern"),
    ("small", "Kitchen|Miscellaneous|Lights|Living room|Bedroom|Office",
     r"Coffee cup|Coffee mug|Vase|Wine bottle|Bowl|Old jar|Pottery|Camera|Desk lamp|Teddy bear|Toy train|Candle|Radio"
     r"|Cactus|Little plant|Bowl with fruits|Toaster|Apples|Book|Handbag|Coffee machine|Spice tower|Table fan|Orchids"
     r"|Milk|Headphones|Basketball|Soccer ball|Mixer|Camping lamp|Little lamp"),
]
LARGEST_OBJ = 2_600_000  # bytes; heavier models slow the render and add nothing that a still shows


@dataclass(frozen=True)
class Model:
    """One furniture model; sizes in metres as the catalogue states them (width x, depth y, height z)."""

    id: str
    name: str
    role: str
    size: tuple[float, float, float]
    obj: str
    turn: tuple[float, ...] | None
    creator: str
    licence: str


def fetch(cache: Path) -> Path:
    """Fetch and unpack what is missing; returns the folder with models/, skies/, textures/ and index.json."""
    root = cache / "assets"
    if (root / "index.json").exists():
        return root
    downloads = cache / "downloads"
    downloads.mkdir(parents=True, exist_ok=True)
    root.mkdir(parents=True, exist_ok=True)
    deb = _once(downloads, "sweethome3d-furniture_*.deb", ["apt-get", "download", MODELS],
                "Install the Debian package's .deb there by hand, or run on Debian or Ubuntu.")
    tgz = _once(downloads, "pmndrs-assets-*.tgz", ["npm", "pack", SKIES], "npm (Node.js) is needed for the skies.")
    wheel = _once(downloads, "robosuite-*.whl", [sys.executable, "-m", "pip", "download", "--no-deps", TEXTURES],
                  "pip is needed for the textures.")
    models = _models(deb, root / "models", downloads)
    skies = _skies(tgz, root / "skies")
    textures = _textures(wheel, root / "textures")
    index = {"models": [asdict(m) for m in models], "skies": skies, "textures": textures}
    (root / "index.json").write_text(json.dumps(index, indent=1), encoding="utf-8")
    return root


def load(root: Path) -> dict[str, list[Model]]:
    """The models by role, in a fixed order."""
    found: dict[str, list[Model]] = defaultdict(list)
    for entry in json.loads((root / "index.json").read_text(encoding="utf-8"))["models"]:
        entry["size"], entry["turn"] = tuple(entry["size"]), entry["turn"] and tuple(entry["turn"])
        found[entry["role"]].append(Model(**entry))
    return dict(found)


def _once(folder: Path, pattern: str, command: list[str], help_: str) -> Path:
    if not list(folder.glob(pattern)):
        if shutil.which(command[0]) is None:
            raise SystemExit(f"{command[0]} is not here, so {command[-1]} cannot be fetched into {folder}. {help_}")
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
        if done.returncode or not list(folder.glob(pattern)):
            raise SystemExit(f"{' '.join(command)} failed: {done.stderr.strip()[-400:]} {help_}")
    return sorted(folder.glob(pattern))[-1]


def _models(deb: Path, target: Path, work: Path) -> list[Model]:
    unpacked = work / "sweethome3d"
    if not unpacked.exists():
        subprocess.run(["dpkg-deb", "-x", str(deb), str(unpacked)], check=True)
    models: list[Model] = []
    for archive in sorted(unpacked.rglob("*.sh3f")):
        with zipfile.ZipFile(archive) as library:
            sizes = {info.filename: info.file_size for info in library.infolist()}
            folders: set[str] = set()
            for number, entry in _catalogue(library.read("PluginFurnitureCatalog.properties").decode("latin1")).items():
                role, path = _role(entry), entry["model"].lstrip("/")
                if role is None or sizes.get(path, 1 << 40) > LARGEST_OBJ:
                    continue
                folders.add(path.rsplit("/", 1)[0] + "/")
                size = tuple(float(entry[k]) / 100 for k in ("width", "depth", "height"))
                turn = tuple(map(float, entry["modelRotation"].split())) if "modelRotation" in entry else None
                models.append(Model(f"{archive.stem}-{number}", entry["name"], role, (size[0], size[1], size[2]),
                                    str((target / path).relative_to(target.parent).as_posix()), turn,
                                    entry["creator"], LICENCES[archive.stem]))
            for name in sizes:
                if any(name.startswith(folder) for folder in folders) and not name.endswith("/"):
                    library.extract(name, target)
    return models


def _catalogue(text: str) -> dict[int, dict[str, str]]:
    entries: dict[int, dict[str, str]] = defaultdict(dict)
    for key, number, value in re.findall(r"^(\w+)#(\d+)\s*=\s*(.*?)\s*$", text, re.MULTILINE):
        entries[int(number)][key] = value
    return dict(sorted(entries.items()))


def _role(entry: dict[str, str]) -> str | None:
    for role, category, name in ROLES:
        if re.fullmatch(category, entry["category"]) and re.fullmatch(name, entry["name"]):
            return role
    return None


def _skies(tgz: Path, target: Path) -> list[str]:
    target.mkdir(parents=True, exist_ok=True)
    with tarfile.open(tgz) as package:
        for member in package.getmembers():
            if re.fullmatch(r"package/hdri/\w+\.exr\.js", member.name):
                source = package.extractfile(member)
                assert source is not None
                data = re.search(rb"base64,([A-Za-z0-9+/=]+)", source.read())
                assert data is not None
                (target / Path(member.name).stem).write_bytes(base64.b64decode(data[1]))
    return sorted(p.name for p in target.glob("*.exr"))


def _textures(wheel: Path, target: Path) -> list[str]:
    target.mkdir(parents=True, exist_ok=True)
    wanted = r"robosuite/models/assets/textures/([\w-]*(wood|plaster|brick|felt|tile|clay|ceramic|dirt)[\w-]*\.png)"
    with zipfile.ZipFile(wheel) as package:
        for name in package.namelist():
            match = re.fullmatch(wanted, name)
            if match:
                (target / match[1]).write_bytes(package.read(name))
    return sorted(p.name for p in target.glob("*.png"))


def attribution(root: Path) -> str:
    """The list of models and makers for ATTRIBUTION.md."""
    lines = ["| model | made by | licence |", "|---|---|---|"]
    for models in load(root).values():
        lines += [f"| {m.name} ({m.id}) | {m.creator} | {m.licence} |" for m in models]
    return "\n".join([*lines[:2], *sorted(lines[2:])])


def main() -> None:
    parser = argparse.ArgumentParser(description="Fetch the bench's assets.")
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--attribution", action="store_true", help="print the table of models and makers")
    args = parser.parse_args()
    root = fetch(args.cache)
    if args.attribution:
        print(attribution(root))
    else:
        for role, models in load(root).items():
            print(role, len(models))


if __name__ == "__main__":
    main()
