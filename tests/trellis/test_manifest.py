"""The official files' tensors, against the networks and against the published sizes."""

from __future__ import annotations

import pytest

from worker.engines.trellis import cards, manifest
from worker.engines.trellis.config import TrellisConfig

torch = pytest.importorskip("torch")

from worker.engines.trellis.networks import BUILD, PARTS  # noqa: E402
from worker.nn.checkpoint import spec_of  # noqa: E402

# Most bytes that a header may take: safetensors' JSON, or the .pth archive's directory and pickle.
HEADER = 160_000


@pytest.mark.parametrize("part", PARTS)
def test_a_networks_state_is_what_its_manifest_says(part):
    with torch.device("meta"):
        module = BUILD[part](TrellisConfig(), torch.float16)
    found = {name: spec_of(tensor) for name, tensor in module.state_dict().items()}
    assert found == getattr(manifest, part)()


@pytest.mark.parametrize("part, file", list(zip(PARTS, cards.WEIGHTS, strict=True)))
def test_tensors_fill_the_official_file_to_within_its_header(part, file):
    size = sum(
        spec.elements * {"float16": 2, "float32": 4}[spec.dtype] for spec in getattr(manifest, part)().values()
    )
    assert 0 < file.bytes - size < HEADER
    assert file.manifest == f"worker.engines.trellis.manifest:{part}"


def test_cards_and_manifests_are_read_where_there_is_no_torch():
    import subprocess
    import sys

    program = (
        "import sys; sys.modules['torch'] = None; from worker.engines.trellis import CARDS, manifest; "
        "print(sum(len(getattr(manifest, part)()) for part in ('image', 'mesh_decoder')))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert int(done.stdout) > 100


def test_a_header_of_safetensors_is_predicted_to_the_byte():
    """The format is 8 bytes, then JSON padded with spaces to 8: so the file's size follows from the names alone.

    Sizes: bytes of the files in microsoft/TRELLIS-image-large, as published by its hub.
    """
    import json

    dtypes = {"float16": ("F16", 2), "float32": ("F32", 4)}
    for part, file in list(zip(PARTS, cards.WEIGHTS, strict=True))[1:]:
        specs = getattr(manifest, part)()
        header, at = {}, 0
        # safetensors writes tensors by precision, wide first, then by name
        for name in sorted(specs, key=lambda name: (-dtypes[specs[name].dtype][1], name)):
            kind, width = dtypes[specs[name].dtype]
            size = specs[name].elements * width
            header[name] = {"dtype": kind, "shape": list(specs[name].shape), "data_offsets": [at, at + size]}
            at += size
        text = len(json.dumps(header, separators=(",", ":")))
        assert 8 + (text + 7) // 8 * 8 + at == file.bytes, part
