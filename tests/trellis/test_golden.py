"""Our networks against numbers of the publishers' own code (origin: golden/networks.json), equal random weights."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from bench.parity.trellis import some_of  # noqa: E402
from bench.parity.trellis_cases import CASES, TINY, Cases  # noqa: E402

GOLDEN = json.loads((Path(__file__).parent / "golden" / "networks.json").read_text("utf-8"))


@pytest.mark.parametrize("case", CASES)
def test_a_network_gives_upstreams_numbers(case):
    found = Cases(TINY, GOLDEN["voxels"]).ours(case)
    assert found.keys() == GOLDEN["values"][case].keys()
    for name, wanted in GOLDEN["values"][case].items():
        expected = torch.tensor(wanted)
        off = (torch.tensor(some_of(found[name])) - expected).abs().max()
        assert off < 1e-3 * expected.square().mean().sqrt(), name
