"""Weight files: what is read, what is refused, and what the sentences say."""

from __future__ import annotations

import argparse
import os
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.errors import WeightsError
from worker.nn.checkpoint import TensorSpec, differences, load_into, open_checkpoint

torch = pytest.importorskip("torch", reason="needs torch: python3 install/bootstrap.py gpu --device cpu")
safetensors_torch = pytest.importorskip("safetensors.torch")


def net(dtype: torch.dtype = torch.float32) -> torch.nn.Module:
    with torch.device("meta"):
        return torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4)).to(dtype)


def state(seed: int = 0) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    made = {name: torch.randn(tuple(t.shape), generator=generator) for name, t in net().state_dict().items()}
    made |= {"1.num_batches_tracked": torch.tensor(7), "1.running_var": made["1.running_var"].abs()}
    return made


def save(path: Path, tensors: dict[str, torch.Tensor]) -> Path:
    if path.suffix == ".safetensors":
        safetensors_torch.save_file(tensors, path)
    else:
        torch.save(tensors, path)
    return path


@pytest.fixture(params=["w.safetensors", "w.pt", "w.pth"])
def file(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return save(tmp_path / request.param, state())


def test_what_was_saved_is_loaded(file: Path) -> None:
    checkpoint = open_checkpoint(file)
    assert checkpoint.specs()["0.weight"] == TensorSpec((4, 3), "float32")
    assert checkpoint.specs()["1.num_batches_tracked"] == TensorSpec((), "int64")
    module = net()
    load_into(module, checkpoint)
    assert not module.training and not any(p.requires_grad for p in module.parameters())
    for name, tensor in state().items():
        assert torch.equal(module.state_dict()[name], tensor), name
    assert torch.isfinite(module(torch.ones(2, 3))).all()


def test_half_precision_is_taken_where_it_is_asked_for(file: Path) -> None:
    module = net()
    load_into(module, open_checkpoint(file), dtype=torch.bfloat16)
    assert module[0].weight.dtype == torch.bfloat16
    assert module[1].num_batches_tracked.dtype == torch.int64, "counts stay counts"
    half = net(torch.float16)
    load_into(half, open_checkpoint(file))
    assert half[0].weight.dtype == torch.float16, "without a wish, each place keeps its own dtype"


def test_names_are_translated_and_the_unneeded_left_out(tmp_path: Path) -> None:
    tensors = {f"net.{name}": tensor for name, tensor in state().items()} | {"head.a": torch.ones(1)}
    module = net()
    with pytest.raises(WeightsError, match=r"not expected: head\.a\)"):
        load_into(module, open_checkpoint(save(tmp_path / "a.pt", tensors)), rename=lambda n: n.removeprefix("net."))
    assert all(p.is_meta for p in module.parameters()), "nothing was put in"
    checkpoint = open_checkpoint(tmp_path / "a.pt")
    load_into(module, checkpoint, rename=lambda n: n.removeprefix("net."), ignore=(r"head\..*",))
    assert torch.equal(module[0].weight, state()["0.weight"])


def test_a_difference_is_named_five_times_at_most(tmp_path: Path) -> None:
    wrong = state() | {f"extra{i}": torch.ones(1) for i in range(8)}
    wrong["0.weight"] = torch.ones(4, 5)
    wrong["1.num_batches_tracked"] = torch.tensor(1.0)
    del wrong["0.bias"]
    with pytest.raises(WeightsError) as caught:
        load_into(net(), open_checkpoint(save(tmp_path / "w.safetensors", wrong)))
    text = caught.value.en
    assert caught.value.code == "weights.differ" and "w.safetensors" in text
    assert "missing: 0.bias" in text
    assert "and 3 more" in text and len(re.findall(r"extra\d", text)) == 5
    assert "0.weight (float32 4x5, not float32 4x3)" in text
    assert "1.num_batches_tracked (float32, not int64)" in text
    assert caught.value.zh != text


def test_the_tensors_of_a_training_file_are_found(tmp_path: Path) -> None:
    """As DUSt3R's .pth: the tensors under "model", beside a Namespace of arguments."""
    path = tmp_path / "trained.pth"
    torch.save({"args": argparse.Namespace(model="Net()"), "model": state(), "epoch": 3}, path)
    load_into(net(), open_checkpoint(path))


def test_an_old_file_is_read_too(tmp_path: Path) -> None:
    path = tmp_path / "old.pth"
    torch.save(state(), path, _use_new_zipfile_serialization=False)
    load_into(net(), open_checkpoint(path))


class Bomb:
    def __reduce__(self) -> tuple:
        return os.mkdir, (os.environ["BOMB"],)


@pytest.mark.parametrize("old", [False, True])
def test_a_program_in_a_file_is_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, old: bool) -> None:
    went_off = tmp_path / "boom"
    monkeypatch.setenv("BOMB", str(went_off))
    torch.save({"a": torch.ones(1), "b": Bomb()}, tmp_path / "x.pt", _use_new_zipfile_serialization=not old)
    with pytest.raises(WeightsError) as caught:
        open_checkpoint(tmp_path / "x.pt")
    assert caught.value.code == "weights.pickled" and "mkdir" in caught.value.en
    assert not went_off.exists()


@pytest.mark.parametrize("share", [0.02, 0.5, 0.97])
def test_a_cut_file_is_called_cut(file: Path, share: float) -> None:
    data = file.read_bytes()
    file.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(WeightsError) as caught:
        open_checkpoint(file)
    assert caught.value.code == "weights.damaged" and file.name in caught.value.en


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"<!DOCTYPE html><html>Sign in to the network</html>", "a web page"),
        (b'\n  {"error":"Access to model is restricted"}', "a web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "a Git LFS pointer"),
        (b"", "empty"),
    ],
)
def test_what_is_no_weights_at_all(file: Path, content: bytes, says: str) -> None:
    file.write_bytes(content)
    with pytest.raises(WeightsError) as caught:
        open_checkpoint(file)
    assert caught.value.code == "weights.not_weights" and says in caught.value.en


def test_missing_strange_and_tensorless_files(tmp_path: Path) -> None:
    codes = {"gone.pt": "weights.missing", "x.ckpt": "weights.kind", "none.pt": "weights.no_tensors"}
    (tmp_path / "x.ckpt").write_bytes(b"abc")
    torch.save([1, 2], tmp_path / "none.pt")
    for name, code in codes.items():
        with pytest.raises(WeightsError) as caught:
            open_checkpoint(tmp_path / name)
        assert caught.value.code == code


@given(st.binary(min_size=1, max_size=400), st.sampled_from([".pt", ".safetensors"]))
def test_noise_gives_a_sentence(tmp_path_factory: pytest.TempPathFactory, noise: bytes, suffix: str) -> None:
    path = tmp_path_factory.mktemp("noise") / f"n{suffix}"
    path.write_bytes(noise)
    with pytest.raises(WeightsError):
        open_checkpoint(path)


def test_a_buffer_that_nobody_filled_is_told_to_the_author(tmp_path: Path) -> None:
    with torch.device("meta"):
        module = torch.nn.Linear(2, 2)
        module.register_buffer("table", torch.ones(3), persistent=False)
    path = save(tmp_path / "w.pt", {"weight": torch.ones(2, 2), "bias": torch.ones(2)})
    with pytest.raises(ValueError, match="table"):
        load_into(module, open_checkpoint(path))


def test_precision_is_a_difference_only_where_asked() -> None:
    half, full = {"a": TensorSpec((2,), "float16")}, {"a": TensorSpec((2,), "float32")}
    assert differences(half, full) and not differences(half, full, dtypes=False)
    assert differences({"a": TensorSpec((2,), "int64")}, full, dtypes=False)
    assert TensorSpec((2, 3)).elements == np.prod((2, 3)) and str(TensorSpec(())) == "float32 scalar"
