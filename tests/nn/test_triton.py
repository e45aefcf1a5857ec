"""Triton kernels: what their compiler or GPU may do, and, where there is a GPU, their numbers."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from worker.nn import fused_triton, sparse_triton  # noqa: E402


@pytest.fixture(autouse=True)
def fresh():
    yield
    sparse_triton.works_on.cache_clear()
    fused_triton._works_on.cache_clear()


def broken(*_, **__):
    raise RuntimeError("nvrtc: error: invalid value for --gpu-architecture (-arch)")


@pytest.mark.parametrize("fault", [broken, lambda *_: False])
def test_a_kernel_that_does_not_compile_or_is_wrong_is_left_alone(monkeypatch, fault):
    for module in (sparse_triton, fused_triton):
        monkeypatch.setattr(module, "triton", object())
        monkeypatch.setattr(module, "agrees", fault)
    assert not sparse_triton.works_on("cuda")
    assert not fused_triton._works_on(torch.device("cuda"))


def test_a_processor_goes_the_plain_way():
    assert not sparse_triton.works_on("cpu")
    assert not fused_triton.usable(torch.zeros(1, dtype=torch.float16))


@pytest.mark.gpu
def test_kernels_give_what_the_plain_way_gives():
    if sparse_triton.triton is None:
        pytest.skip("Triton is not installed")
    device = torch.device("cuda")
    for dtype in (torch.float16, torch.bfloat16):
        assert sparse_triton.agrees(device, dtype)
    assert fused_triton.agrees(device)
