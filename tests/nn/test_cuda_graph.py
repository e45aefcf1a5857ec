"""Replayed evaluations: when they are captured, what goes into them, and how a refused capture goes unnoticed."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from worker.nn import cuda_graph  # noqa: E402
from worker.nn.cuda_graph import Captured, Replayed  # noqa: E402
from worker.nn.flow import sample  # noqa: E402
from worker.nn.sizes import Sampling  # noqa: E402


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuda_graph, "_refused", False)


class OnGpu:
    """A number that says it lies on a GPU."""

    is_cuda = True

    def __init__(self, value: float) -> None:
        self.value = value


class FakeGraph:
    """Computes once more for every replay."""

    made: list[FakeGraph] = []

    def __init__(self, compute, *given, pool=None) -> None:
        self.compute, self.pool, self.shown = compute, pool, [given]
        FakeGraph.made.append(self)

    def __call__(self, *given):
        self.shown.append(given)
        return self.compute(*given)


def test_on_a_processor_every_call_runs_as_it_is() -> None:
    calls = []
    step = Replayed(lambda x: calls.append(1) or x * 2)
    assert [float(step(torch.tensor(float(n)))) for n in range(4)] == [0, 2, 4, 6]
    assert len(calls) == 4


def test_the_second_call_captures_and_later_ones_replay(monkeypatch) -> None:
    FakeGraph.made = []
    monkeypatch.setattr(cuda_graph, "Captured", FakeGraph)
    step = Replayed(lambda x: 2 * x.value, pool=(0, 7))
    assert step(OnGpu(1)) == 2 and not FakeGraph.made, "the first call sets the libraries up"
    assert [step(OnGpu(n)) for n in (2, 3, 4)] == [4, 6, 8]
    (graph,) = FakeGraph.made
    assert graph.pool == (0, 7)
    assert [given[0].value for given in graph.shown] == [2, 2, 3, 4], "captured with, then replayed for"


def test_a_refused_capture_is_told_once_and_asked_for_no_more(monkeypatch, caplog) -> None:
    asked = []

    def refuse(*_, **__):
        asked.append(1)
        raise RuntimeError("operation not permitted when stream is capturing")

    monkeypatch.setattr(cuda_graph, "Captured", refuse)
    for _ in range(2):  # another sampling of this process does not try again
        step = Replayed(lambda x: 2 * x.value)
        assert [step(OnGpu(n)) for n in range(4)] == [0, 2, 4, 6]
    assert len(asked) == 1
    assert caplog.text.count("going on without: operation not permitted") == 1


@pytest.mark.parametrize("together", [True, False])
def test_wrapped_steps_see_what_the_plain_ones_see(together: bool) -> None:
    """Both kinds of step are wrapped once each, and the sample stays the same."""
    noise = torch.randn(1, 5, generator=torch.Generator().manual_seed(0))
    wrapped: list[list[float]] = []

    def velocity(x, t, seeing):
        there = (torch.arange(len(x)) < seeing).float()[:, None]
        return x.sin() * (1 + there) + t[:, None] / 1000

    def watch(step):
        seen: list[float] = []
        wrapped.append(seen)
        return lambda x, now: seen.append(float(now)) or step(x, now)

    sampling = Sampling(steps=8)
    plain = sample(velocity, noise, sampling, together=together)
    assert torch.equal(sample(velocity, noise, sampling, together=together, faster=watch), plain)
    unguided, guided = wrapped
    assert len(unguided) + len(guided) == 8 and min(guided) >= 500 > max(unguided)


gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")


@pytest.mark.gpu
@gpu
def test_a_graph_gives_the_same_bytes_for_other_numbers() -> None:
    layer = torch.nn.Linear(64, 64, device="cuda", dtype=torch.float16).requires_grad_(False)

    def compute(x):
        return layer(x).relu() @ x.transpose(-1, -2)

    given = [torch.randn(3, 32, 64, device="cuda", dtype=torch.float16) for _ in range(4)]
    step = Replayed(compute)
    for x in given:
        assert torch.equal(step(x).clone(), compute(x))
    assert step._captured is not None


@pytest.mark.gpu
@gpu
def test_a_capture_refused_by_the_gpu_leaves_a_sound_process(caplog) -> None:
    x = torch.randn(256, 256, device="cuda")
    step = Replayed(lambda x: x * 2 if float((x @ x).sum()) > -1e30 else x)
    assert all(torch.equal(step(x), x * 2) for _ in range(3)) and "going on without" in caplog.text
    assert torch.cuda.current_stream() == torch.cuda.default_stream()
    torch.empty(1 << 28, device="cuda")
    torch.cuda.empty_cache()
    assert torch.cuda.memory_reserved() < 1 << 28
    compute = Captured(lambda x: x @ x, x)
    assert torch.equal(compute(x), x @ x)
