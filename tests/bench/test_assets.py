"""Reading the furniture catalogue: what is taken as what, under which licence."""

from __future__ import annotations

import json
import shutil
import zipfile
from pathlib import Path

import pytest

from bench.scenes import assets

CATALOGUE = """# comment
id#1=A#one
name#1=Armchair
category#1=Office
model#1=/lib/one/one.obj
width#1=59.4
depth#1=62.7
height#1=105
creator#1=Somebody
id#2=A#two
name#2=Holding female
category#2=Characters
model#2=/lib/two/two.obj
modelRotation#2=-1 0 0 0 1 0 0 0 -1
width#2=50
depth#2=40
height#2=166
creator#2=Somebody Else
name#3=Wall socket
category#3=Miscellaneous
model#3=/lib/three/three.obj
name#4=Armchair
category#4=Office
model#4=/lib/huge/huge.obj
"""


def test_catalogue_and_roles() -> None:
    entries = assets._catalogue(CATALOGUE)
    assert list(entries) == [1, 2, 3, 4] and entries[1]["height"] == "105"
    assert [assets._role(e) for e in entries.values()] == ["seat", "person", None, "seat"]
    assert assets._role({"category": "Characters", "name": "Bulldog"}) is None  # an animal is no person, nor a prop


def test_only_what_is_used_is_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    library = tmp_path / "work" / "sweethome3d" / "Scopia.sh3f"
    library.parent.mkdir(parents=True)
    with zipfile.ZipFile(library, "w") as z:
        z.writestr("PluginFurnitureCatalog.properties", CATALOGUE)
        for name in ("one/one.obj", "one/wood.png", "two/two.obj", "three/three.obj"):
            z.writestr(f"lib/{name}", "v 0 0 0")
        z.writestr("lib/huge/huge.obj", "x" * (assets.LARGEST_OBJ + 1))
    root = tmp_path / "assets"
    models = assets._models(tmp_path / "unused.deb", root / "models", tmp_path / "work")
    assert [(m.id, m.role, m.licence) for m in models] == [
        ("Scopia-1", "seat", "CC-BY-3.0"),
        ("Scopia-2", "person", "CC-BY-3.0"),
    ]
    assert models[0].size == (0.594, 0.627, 1.05) and models[1].turn == (-1, 0, 0, 0, 1, 0, 0, 0, -1)
    assert (root / models[0].obj).exists() and (root / "models/lib/one/wood.png").exists()
    assert not (root / "models/lib/three").exists() and not (root / "models/lib/huge").exists()
    (root / "index.json").write_text(json.dumps({"models": [m.__dict__ for m in models]}))
    assert assets.load(root) == {"seat": [models[0]], "person": [models[1]]}
    assert "| Holding female (Scopia-2) | Somebody Else | CC-BY-3.0 |" in assets.attribution(root)


def test_a_missing_tool_is_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(SystemExit, match="apt-get is not here"):
        assets.fetch(tmp_path)


def test_every_model_of_the_attribution_names_its_maker() -> None:
    rows = [
        line.split("|")[1:-1]
        for line in (Path(assets.__file__).parents[1] / "ATTRIBUTION.md").read_text(encoding="utf-8").splitlines()
        if line.startswith("| ") and line.count("|") == 4
    ][2:]
    models = [r for r in rows if "(" in r[0] and r[0].strip().endswith(")") and "-" in r[0]]
    assert len(models) > 150
    for name, maker, licence in models:
        assert maker.strip() and licence.strip() in assets.LICENCES.values(), name
