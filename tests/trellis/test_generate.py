"""Picture to raw shapes with the twin, and what happens when a network answers badly."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from trellis_twin import TINY, twin_checkpoint  # noqa: E402

from worker.engines.trellis import networks as parts  # noqa: E402
from worker.engines.trellis.coarse import coarse_mesh  # noqa: E402
from worker.engines.trellis.decoders import RawGaussians  # noqa: E402
from worker.engines.trellis.generate import Generator, Limits  # noqa: E402
from worker.engines.trellis.networks import Networks  # noqa: E402
from worker.errors import StageError  # noqa: E402
from worker.nn.sparse import Voxels, gather_convolve  # noqa: E402

PICTURE = np.random.default_rng(0).integers(0, 255, (518, 518, 3), dtype=np.uint8)


def quietly(fraction: float) -> None: ...


def generate(generator: Generator, seed: int = 1):
    return generator.run(PICTURE, seed, "cup", quietly)


def test_a_picture_gives_gaussians_and_a_raw_mesh(generator):
    told = []
    found = generator.run(PICTURE, 1, "cup", told.append)
    count = len(found.voxels)
    assert found.voxels.size == 8 and 0 < count < 8**3
    assert found.gaussians.position.shape == (32 * count, 3)
    assert found.gaussians.position.abs().max() < 0.5 + 0.75 / 8
    assert found.gaussians.rotation.norm(dim=1).sub(1).abs().max() < 1e-5
    assert ((found.gaussians.opacity >= 0) & (found.gaussians.opacity <= 1)).all()
    assert (found.gaussians.scale >= 9e-4).all()
    assert found.mesh.sdf.shape == (64 * count, 8) and found.mesh.voxels.size == 32
    assert found.mesh.deform.shape == (64 * count, 8, 3) and found.mesh.colour.shape == (64 * count, 8, 6)
    assert found.mesh.weights.shape == (64 * count, 21)
    assert found.notices == []
    assert told == sorted(told) and told[0] > 0 and told[-1] <= 1


def test_equal_seeds_give_equal_shapes_and_others_do_not(generator):
    one, same, other = generate(generator, 1), generate(generator, 1), generate(generator, 2)
    assert torch.equal(one.gaussians.position, same.gaussians.position)
    assert not torch.equal(one.gaussians.color[:50], other.gaussians.color[:50])


def test_tiers_change_memory_and_nothing_else(generator):
    one_at_a_time = Networks(TINY, twin_checkpoint, torch.device("cpu"), resident=False)
    frugal = generate(Generator(one_at_a_time, Limits(together=False, raw_bytes=0)))
    rich = generate(generator)
    assert not one_at_a_time._loaded
    torch.testing.assert_close(frugal.gaussians.position, rich.gaussians.position)
    torch.testing.assert_close(frugal.mesh.sdf, rich.mesh.sdf, rtol=1e-3, atol=1e-4)


def test_no_voxels_is_told_as_no_object(generator):
    with generator.networks.use(parts.STRUCTURE_DECODER) as network:
        network.out_layer[2].bias.fill_(-1e6)
    with pytest.raises(StageError, match="no object was found") as told:
        generate(generator)
    assert told.value.code == "props.no_object" and "物体" in told.value.zh


@pytest.mark.parametrize("part", [p for p in parts.PARTS if p != parts.IMAGE])
def test_numbers_that_stay_not_finite_end_this_prop_with_a_sentence(generator, part):
    with generator.networks.use(part) as network:
        network.out_layer.requires_grad_(False)
        for parameter in network.out_layer.parameters():
            parameter.fill_(float("nan"))
    with pytest.raises(StageError, match="no finite numbers"):
        generate(generator)


def test_an_overflow_of_16_bits_is_computed_again_in_wider_numbers(generator):
    """Weights of 1000 take 16-bit floats beyond 65504; bfloat16 and float32 hold them."""
    networks = generator.networks
    networks.dtype = torch.float16
    networks.resident = True
    with networks.use(parts.STRUCTURE_DECODER) as network:
        network.blocks[0].conv1.weight.fill_(1000.0)
        network.blocks[0].conv1.bias.fill_(60000.0)
        network.blocks[0].norm2.weight.fill_(0.0)  # so that only the overflow itself can be seen
    found = generate(generator)
    assert [notice.code for notice in found.notices] == ["props.wider_numbers"]
    assert parts.STRUCTURE_DECODER not in networks._loaded, "the widened network must not stay"


def test_too_many_voxels_for_the_mesh_leave_the_gaussians(networks):
    found = generate(Generator(networks, Limits(mesh_voxels=10)))
    assert found.mesh is None and len(found.gaussians.opacity)
    (notice,) = found.notices
    assert notice.code == "props.too_many_voxels" and notice.degraded
    assert notice.params == {"label": "cup", "voxels": len(found.voxels)}


def test_no_memory_for_the_mesh_leaves_the_gaussians(generator, monkeypatch):
    def no_memory(*_):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB")

    monkeypatch.setattr(generator, "_mesh", no_memory)
    found = generate(generator)
    assert found.mesh is None and found.notices[0].code == "props.too_many_voxels"


def test_another_fault_of_the_mesh_is_not_taken_for_want_of_memory(generator, monkeypatch):
    def broken(*_):
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    monkeypatch.setattr(generator, "_mesh", broken)
    with pytest.raises(RuntimeError, match="illegal memory access"):
        generate(generator)


def test_memory_that_is_there_once_the_other_networks_are_gone_is_used(generator, monkeypatch):
    whole, tries = generator._mesh, []

    def tight(latents, voxels, notices, raw_bytes):
        tries.append((raw_bytes, len(generator.networks._loaded)))
        if len(tries) == 1:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return whole(latents, voxels, notices, raw_bytes)

    monkeypatch.setattr(generator, "_mesh", tight)
    found = generate(generator)
    assert found.mesh is not None and not found.notices
    assert tries[0][1] > 0 and tries[1] == (0, 0)


def test_a_tier_without_mesh_says_so(networks):
    found = generate(Generator(networks, Limits(mesh=False)))
    assert found.mesh is None and found.notices[0].code == "props.coarse_mesh" and found.notices[0].degraded


def test_features_and_weights_of_every_convolution_have_one_precision(networks):
    """A mixture of the two is what compiled convolutions die of."""
    seen = []

    def convolve(x, voxels, weight, bias, source):
        seen.append((x.dtype, weight.dtype, bias.dtype))
        return gather_convolve(x, voxels, weight, bias, source)

    for dtype in (torch.float16, torch.bfloat16):
        networks.dtype = dtype
        networks.drop()
        generate(Generator(networks, Limits(), convolve))
        assert len(seen) > 8 and {kind for three in seen for kind in three} == {dtype}
        seen.clear()


def test_no_compiled_extension_is_asked_for(generator):
    import sys

    generate(generator)
    unwanted = {"spconv", "flash_attn", "xformers", "kaolin", "nvdiffrast", "diffoctreerast", "torchsparse"}
    assert not unwanted & {name.partition(".")[0] for name in sys.modules}


def ball(size: int, radius: float) -> tuple[Voxels, RawGaussians]:
    """A hollow ball's surface voxels; red below, blue above."""
    axis = (torch.arange(size) + 0.5) / size - 0.5
    far = torch.stack(torch.meshgrid(axis, axis, axis, indexing="ij"), dim=-1).norm(dim=-1)
    voxels = Voxels(((far - radius).abs() < 0.8 / size).nonzero(), size)
    high = (voxels.coords[:, 2] >= size // 2).float().repeat_interleave(2)
    color = torch.stack([1 - high, torch.zeros_like(high), high], dim=1)
    one = torch.ones(len(high), 4)
    return voxels, RawGaussians(one[:, :3], one[:, :3], one, one[:, 0], color)


def test_the_coarse_mesh_of_a_ball_is_a_ball():
    import trimesh

    voxels, gaussians = ball(32, 0.35)
    vertices, faces, attrs = coarse_mesh(voxels, gaussians)
    mesh = trimesh.Trimesh(vertices.numpy(), faces.numpy(), process=False)
    assert mesh.is_watertight and mesh.is_winding_consistent and mesh.euler_number == 2
    # the voxels' outer faces lie about half a voxel outside the surface they were cut from
    assert mesh.volume == pytest.approx(4 / 3 * np.pi * (0.35 + 0.5 / 32) ** 3, rel=0.08)
    assert np.abs(mesh.vertices.mean(0)).max() < 0.01
    low, high = attrs[vertices[:, 2] < -0.1], attrs[vertices[:, 2] > 0.1]
    assert (low[:, 0] > 0.9).all() and (high[:, 2] > 0.9).all()


def test_the_coarse_mesh_of_a_single_voxel_is_closed_and_outward():
    import trimesh

    one = Voxels(torch.tensor([[5, 0, 15]]), 16)
    single = RawGaussians(torch.zeros(1, 3), torch.ones(1, 3), torch.ones(1, 4), torch.ones(1), torch.ones(1, 3))
    vertices, faces, _ = coarse_mesh(one, single)
    mesh = trimesh.Trimesh(vertices.numpy(), faces.numpy(), process=False)
    assert mesh.is_watertight and mesh.volume > 0
    assert np.allclose(mesh.bounds.mean(0), (np.array([5, 0, 15]) + 0.5) / 16 - 0.5, atol=0.01)
