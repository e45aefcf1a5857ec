"""An installed spconv: dying, wrong, slow or right. None of these may end the process that asks."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from worker.engines.trellis import spconv_choice  # noqa: E402
from worker.nn.sparse import gather_convolve  # noqa: E402

RIGHT = '''
import torch
from torch import nn

class SparseConvTensor:
    def __init__(self, features, indices, spatial_shape, batch_size):
        self.features, self.indices, self.shape = features, indices, spatial_shape

class SubMConv3d(nn.Module):
    """The dense convolution, at the sites."""
    def __init__(self, cin, cout, kernel, bias=True, indice_key=None):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(cout, kernel, kernel, kernel, cin))
        self.bias = nn.Parameter(torch.empty(cout))

    def forward(self, x):
        at = (slice(None), *x.indices[:, 1:].long().unbind(1))
        grid = x.features.new_zeros(x.features.shape[1], *x.shape)
        grid[at] = x.features.T
        dense = torch.conv3d(grid[None], self.weight.permute(0, 4, 1, 2, 3), self.bias, padding=1)[0]
        return SparseConvTensor(dense[at].T, x.indices, x.shape, 1)
'''
DIES = "import os, signal\nos.kill(os.getpid(), signal.SIGFPE)\n"
WRONG = RIGHT.replace("dense[at].T", "1.1 * dense[at].T")
SLOW = RIGHT.replace("def forward(self, x):", "def forward(self, x):\n        __import__('time').sleep(0.5)")
NAN = RIGHT.replace("dense[at].T", "dense[at].T * float('nan')")


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """fake(source): an installed package spconv with this content in `spconv.pytorch`."""

    def install(source: str) -> None:
        package = tmp_path / "spconv"
        package.mkdir()
        (package / "__init__.py").write_text("", "utf-8")
        (package / "pytorch.py").write_text(source, "utf-8")
        root = str(Path(spconv_choice.__file__).parents[3])
        monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), root]))
        monkeypatch.syspath_prepend(str(tmp_path))

    monkeypatch.setattr(spconv_choice, "_ADVANTAGE", 0.0)  # of two ways on a busy CPU either may win
    forget = spconv_choice.judge.cache_clear
    forget()
    yield install
    forget()
    for name in [name for name in sys.modules if name.startswith("spconv.") or name == "spconv"]:
        del sys.modules[name]


def test_none_is_no_fault(fake):
    assert spconv_choice.judge("cpu").state == "absent"


@pytest.mark.parametrize("source, state", [(WRONG, "wrong"), (NAN, "wrong"), (RIGHT, "right"),
                                           ("raise OSError('no kernel image')", "died")])  # fmt: skip
def test_it_is_judged_by_its_numbers(fake, source, state):
    fake(source)
    assert spconv_choice.judge("cpu").state == state


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGFPE to send")
def test_its_death_of_sigfpe_costs_one_process(fake):
    fake(DIES)
    verdict = spconv_choice.judge("cpu")
    assert verdict.state == "died" and "-8" in verdict.detail


def test_a_slow_one_is_left_alone(fake, monkeypatch):
    monkeypatch.setattr(spconv_choice, "_ADVANTAGE", 1.2)
    fake(SLOW)
    assert spconv_choice.judge("cpu").state == "slower"


def test_one_that_tunes_itself_for_ever_is_not_waited_for(fake, monkeypatch):
    monkeypatch.setattr(spconv_choice, "_SECONDS", 0.2)
    fake(SLOW)
    assert spconv_choice.judge("cpu").state == "died"


def test_only_a_right_one_is_used(fake, monkeypatch):
    fake(RIGHT)
    used = []
    monkeypatch.setattr(spconv_choice, "own_convolution", lambda device: gather_convolve)
    for state in ("died", "wrong", "slower", "absent", "right"):
        monkeypatch.setattr(spconv_choice, "judge", lambda device: spconv_choice.Verdict(state))  # noqa: B023
        used.append(spconv_choice.convolution("cuda"))
    assert used[:4] == [gather_convolve] * 4 and isinstance(used[4], spconv_choice.Spconv)
    assert spconv_choice.convolution("cpu") is gather_convolve


def test_what_exceeds_its_sizes_goes_our_way(fake, monkeypatch):
    """More than 87,381 voxels at 64^3 overflow its 32-bit sizes in the mesh decoder."""
    from worker.nn.sparse import Voxels

    fake(RIGHT)
    asked = []

    def ours(*args):
        asked.append(len(args[1]))
        return gather_convolve(*args)

    way = spconv_choice.Spconv(ours)
    voxels = Voxels(torch.tensor([[0, 0, 0], [1, 1, 1]]), 4)
    x, weight, bias = torch.randn(2, 3), torch.randn(5, 3, 3, 3, 3), torch.randn(5)
    torch.testing.assert_close(way(x, voxels, weight, bias, None), gather_convolve(x, voxels, weight, bias, None))
    shared = torch.tensor([1, 1])
    torch.testing.assert_close(way(x, voxels, weight, bias, shared), gather_convolve(x, voxels, weight, bias, shared))
    assert not asked
    monkeypatch.setattr(spconv_choice, "_INT_BYTES", 39)
    way(x, voxels, weight, bias, None)
    assert asked == [2]
