"""Speed and memory of TRELLIS on a GPU, with random weights of the official sizes and voxels on a shell.

    python -m bench.gpu.trellis [path/to/TRELLIS] [--voxels 20000] [--tiny] [--device cuda]

Measures: a large matrix product (the card's arithmetic floor), both flows by evaluation, beside the checkout's own code
where one is given (with PyTorch's attention and our convolution in the place of flash-attn and spconv), the decoders,
a whole prop in every tier with its peak memory, 100,000 voxels, ten props in a row, and parity in 32 and 16 bits.
Writes trellis.json to $OUT. Each part stands alone: one that fails is told, and the next goes on.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import shutil
import tempfile
import time
import traceback
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bench.parity import trellis_upstream
from bench.parity.trellis import Theirs, compare
from bench.parity.trellis_cases import TINY, Cases, shell
from worker.engines.trellis import manifest
from worker.engines.trellis import networks as parts
from worker.engines.trellis.config import TrellisConfig
from worker.engines.trellis.generate import Generated, Generator
from worker.engines.trellis.networks import Networks
from worker.engines.trellis.spconv_choice import own_convolution
from worker.engines.trellis.tiers import TIERS
from worker.nn.checkpoint import open_checkpoint
from worker.nn.flexicubes import extract
from worker.nn.sizes import Sampling
from worker.nn.sparse import Voxels, gather_convolve

MB = 2**20


class OnShell(Generator):
    """Runs both networks of the first stage, then takes fixed voxels: random weights know no object."""

    coords: Tensor

    def structure(self, *args: Any) -> Voxels:
        found = super().structure(*args)
        return Voxels(self.coords.to(found.device), self.config.resolution, self.convolve)


class Bench:
    def __init__(self, args: argparse.Namespace) -> None:
        self.device, self.args = args.device, args
        self.config = TINY if args.tiny else TrellisConfig()
        self.voxels = args.voxels if not args.tiny else 200
        self.cuda = self.device == "cuda"
        self.convolve = own_convolution(self.device)
        self.results: dict[str, Any] = {
            "torch": torch.__version__,
            "device": torch.cuda.get_device_name() if self.cuda else "cpu",
            "convolution": self.convolve.__name__,
        }
        self.folder = Path(tempfile.mkdtemp())
        self.picture = np.random.default_rng(0).integers(0, 255, (self.config.image.image,) * 2 + (3,), np.uint8)

    # --- tools ------------------------------------------------------------------------------------------------------
    def sync(self) -> None:
        if self.cuda:
            torch.cuda.synchronize()

    def ms(self, call: Callable[[], Any], repeats: int = 10) -> float:
        """Median of `repeats` after two."""
        times = []
        for turn in range((repeats + 2) if self.cuda else 2):
            self.sync()
            start = time.perf_counter()
            call()
            self.sync()
            if turn >= 2 or not self.cuda:
                times.append(1e3 * (time.perf_counter() - start))
        return round(float(np.median(times)), 3)

    def launch_ms(self, call: Callable[[], Any]) -> float:
        """Until the call returns, its kernels still running: what the processor takes to start them."""
        self.sync()
        start = time.perf_counter()
        call()
        passed = 1e3 * (time.perf_counter() - start)
        self.sync()
        return round(passed, 3)

    def clear(self) -> None:
        gc.collect()
        if self.cuda:
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()

    def memory(self) -> dict[str, float]:
        if not self.cuda:
            return {}
        free, total = torch.cuda.mem_get_info()
        return {
            "peak_allocated_mb": torch.cuda.max_memory_allocated() // MB,
            "peak_reserved_mb": torch.cuda.max_memory_reserved() // MB,
            "on_the_card_mb": (total - free) // MB,
            "peak_with_driver_mb": torch.cuda.max_memory_reserved() // MB + self.results.get("driver_mb", 0),
        }

    def files(self) -> Callable[[str], Any]:
        """Random weights in files of the official layout."""
        from safetensors.torch import save_file

        for part in parts.PARTS:
            path = self.folder / f"{part}.safetensors"
            if path.exists():
                continue
            random = torch.Generator(self.device).manual_seed(len(part))
            tensors = {}
            for name, spec in getattr(manifest, part)(self.config).items():
                value = torch.randn(spec.shape, generator=random, device=self.device)
                if len(spec.shape) > 1:
                    value /= max(1.0, float(np.prod(spec.shape[1:]))) ** 0.5
                else:
                    value *= 0.02
                value += float(name.endswith("gamma") or (len(spec.shape) == 1 and name.endswith("weight")))
                tensors[name] = value.to(getattr(torch, spec.dtype)).cpu()
            save_file(tensors, path)
        return lambda part: open_checkpoint(self.folder / f"{part}.safetensors")

    def generator(self, tier: str, voxels: int) -> OnShell:
        resident, limits = TIERS[tier]
        networks = Networks(self.config, self.files(), torch.device(self.device), resident)
        made = OnShell(networks, limits, self.convolve)
        made.coords = shell(self.config.resolution, voxels)
        return made

    # --- parts ------------------------------------------------------------------------------------------------------
    def floor(self) -> dict[str, float]:
        side = 8192 if self.cuda else 256
        dtype = torch.float16 if self.cuda else torch.float32
        a, b = torch.randn(2, side, side, device=self.device, dtype=dtype)
        ms = self.ms(lambda: a @ b)
        return {"ms": ms, "tflops": round(2 * side**3 / ms / 1e9, 1)}

    def flow_inputs(self, batch: int) -> tuple[Tensor, Tensor]:
        times = torch.full((batch,), 700.0, device=self.device)
        tokens, width = self.config.image.tokens, self.config.structure_flow.context
        return times, torch.randn(batch, tokens, width, device=self.device)

    def structure_flow(self) -> dict[str, Any]:
        size = self.config.structure_flow
        found: dict[str, Any] = {"tflop": round(self._transformer_tflop(size.grid**3), 2)}
        networks = Networks(self.config, self.files(), torch.device(self.device), True)
        with networks.use(parts.STRUCTURE_FLOW) as network:
            for batch in (1, 2):
                x = torch.randn(batch, size.latent, *[size.grid] * 3, device=self.device)
                t, context = self.flow_inputs(batch)
                prepared = network.prepare(context[:1])
                found[f"ms_batch_{batch}"] = self.ms(lambda: network(x, t, prepared))  # noqa: B023
                found[f"launch_ms_batch_{batch}"] = self.launch_ms(lambda: network(x, t, prepared))  # noqa: B023
        if self.args.checkout:
            a = self.upstream_network("structure_flow")
            x = torch.randn(1, size.latent, *[size.grid] * 3, device=self.device)
            t, context = self.flow_inputs(1)
            found["upstream_ms_batch_1"] = self.ms(lambda: a(x, t, context))
        return self.against_floor(found)

    def latent_flow(self) -> dict[str, Any]:
        coords = shell(self.config.resolution, self.voxels).to(self.device)
        coarse = len(Voxels(coords, self.config.resolution).coarser.voxels)
        found: dict[str, Any] = {
            "voxels": len(coords), "tokens": coarse,
            "tflop": round(self._transformer_tflop(coarse) + self._convolution_tflop(len(coords), coarse), 2),
        }  # fmt: skip
        networks = Networks(self.config, self.files(), torch.device(self.device), True)
        with networks.use(parts.LATENT_FLOW) as network:
            for way in dict.fromkeys((self.convolve, gather_convolve)):
                voxels = Voxels(coords, self.config.resolution, way)
                for batch in (1, 2):
                    x = torch.randn(batch, len(coords), self.config.latent_flow.latent, device=self.device)
                    t, context = self.flow_inputs(batch)
                    prepared = network.prepare(context[:1])
                    key = f"ms_batch_{batch}" + ("" if way is self.convolve else f"_{way.__name__}")
                    found[key] = self.ms(lambda: network(x, voxels, t, prepared))  # noqa: B023
                    found[f"launch_{key}"] = self.launch_ms(lambda: network(x, voxels, t, prepared))  # noqa: B023
        if self.args.checkout:
            a = self.upstream_network("latent_flow")
            x = self.theirs.sparse(torch.randn(len(coords), self.config.latent_flow.latent, device=self.device))
            t, context = self.flow_inputs(1)
            found["upstream_ms_batch_1"] = self.ms(lambda: a(x, t, context))
        return self.against_floor(found)

    def against_floor(self, found: dict[str, Any]) -> dict[str, Any]:
        speed = self.results.get("floor", {}).get("tflops")
        if speed:
            found["floor_ms"] = round(1e3 * found["tflop"] / speed, 2)
            found["times_floor_batch_1"] = round(found["ms_batch_1"] / found["floor_ms"], 2)
            found["times_floor_batch_2"] = round(found["ms_batch_2"] / found["floor_ms"] / 2, 2)
        return found

    def _transformer_tflop(self, tokens: int) -> float:
        """One evaluation's products in the blocks: layers and both attentions."""
        size, seen = self.config.structure_flow, self.config.image.tokens
        c, hidden = size.channels, size.channels * size.mlp_ratio
        layers = tokens * (4 * c * c + 2 * c * c + 2 * c * hidden) + seen * 2 * c * size.context
        attention = 2 * tokens * tokens * c + 2 * tokens * seen * c
        return 2 * size.blocks * (layers + attention) / 1e12

    def _convolution_tflop(self, fine: int, coarse: int) -> float:
        e, c = self.config.latent_flow.edge_channels, self.config.latent_flow.channels
        return 2 * 27 * (fine * (2 * e * e + 2 * c * e + e * e + 2 * e * e + e * e) + coarse * (e * c + c * c)) / 1e12

    def convolutions(self) -> dict[str, Any]:
        """Each way at the shapes of the flow and the mesh decoder."""
        found: dict[str, Any] = {}
        edge, full = self.config.latent_flow.edge_channels, self.config.latent_flow.channels
        wide = self.config.decoder.channels
        fine = Voxels(shell(self.config.resolution, self.voxels).to(self.device), self.config.resolution)
        finer = fine.subdivide()
        finest = finer.subdivide()
        dtype = torch.float16 if self.cuda else torch.float32
        shapes = [
            (fine, edge, edge), (fine.coarser.voxels, full, full), (fine, 2 * full, edge),
            (finer, wide, wide // 4), (finest, wide // 4, wide // 8), (finest, wide // 8, wide // 8),
        ]  # fmt: skip
        for voxels, cin, cout in shapes:
            x = torch.randn(len(voxels), cin, device=self.device, dtype=dtype)
            weight = torch.randn(cout, 3, 3, 3, cin, device=self.device, dtype=dtype)
            bias = torch.randn(cout, device=self.device, dtype=dtype)
            pairs = int((voxels.neighbours(0, min(len(voxels), 20_000)) < len(voxels)).sum())
            row: dict[str, Any] = {"neighbours": round(pairs / min(len(voxels), 20_000), 1)}
            for way in dict.fromkeys((gather_convolve, self.convolve)):
                row[way.__name__] = self.ms(lambda: way(x, voxels, weight, bias, None), 5)  # noqa: B023
            found[f"{len(voxels)} voxels {cin}->{cout}"] = row
        return found

    def decoders(self) -> dict[str, Any]:
        found: dict[str, Any] = {}
        coords = shell(self.config.resolution, self.voxels).to(self.device)
        networks = Networks(self.config, self.files(), torch.device(self.device), False)
        latents = torch.randn(len(coords), self.config.decoder.latent, device=self.device)
        for part in (parts.GAUSSIAN_DECODER, parts.MESH_DECODER):
            with networks.use(part) as network:
                found[part] = {"ms": self.ms(
                    lambda: network(latents, Voxels(coords, self.config.resolution, self.convolve)), 3
                )}  # fmt: skip
                self.clear()
                network(latents, Voxels(coords, self.config.resolution, self.convolve))
                found[part].update(self.memory())
        return found

    def prop(self, tier: str, voxels: int, sampling: Sampling | None = None) -> dict[str, Any]:
        """One prop from picture to raw surface. A second one follows on the warm networks, for the time."""
        self.clear()
        made = self.generator(tier, voxels)
        if sampling:
            made.config = made.networks.config = replace(
                made.config, structure_sampling=sampling, latent_sampling=sampling
            )
        found: dict[str, Any] = {}
        for turn in ("first_s", "second_s"):
            start = time.perf_counter()
            shape = made.run(self.picture, 0, "shell", lambda _: None)
            found["vertices"] = self.surface(shape)
            self.sync()
            found[turn] = round(time.perf_counter() - start, 2)
            found["notices"] = [notice.code for notice in shape.notices]
            del shape
        found.update(self.memory())
        return found

    def surface(self, shape: Generated) -> int:
        """Extraction on an ellipsoid's distances: those of random weights would cross every cube there is."""
        if shape.mesh is None:
            return 0
        mesh, size = shape.mesh, shape.mesh.voxels.size
        from worker.nn.flexicubes import CORNERS

        stretch = torch.tensor([1.0, 1.2, 1.4], device=mesh.sdf.device)
        for corner, step in enumerate(CORNERS):
            place = (mesh.voxels.coords.to(mesh.sdf.device) + torch.tensor(step, device=mesh.sdf.device)) / size - 0.5
            mesh.sdf[:, corner] = (place * stretch).norm(dim=1) - 0.42
        coords = mesh.voxels.coords.to(mesh.sdf.device)
        vertices, _, _ = extract(coords, mesh.sdf, mesh.deform, mesh.weights, mesh.colour, size)
        return len(vertices)

    def in_a_row(self) -> dict[str, Any]:
        """Ten props on warm networks: what stays allocated after each."""
        made = self.generator("full", self.voxels)
        short = Sampling(steps=2)
        made.config = made.networks.config = replace(made.config, structure_sampling=short, latent_sampling=short)
        left = []
        for number in range(10):
            made.coords = shell(self.config.resolution, int(self.voxels * (0.5 + 0.05 * number)))
            self.surface(made.run(self.picture, number, "shell", lambda _: None))
            gc.collect()
            left.append(torch.cuda.memory_allocated() // 1024 if self.cuda else 0)
        return {"allocated_kb": left, "leak_kb": left[-1] - left[1]}

    def parities(self) -> dict[str, Any]:
        found: dict[str, Any] = {}
        torch.backends.cudnn.allow_tf32 = False
        for half in (False, True):
            cases = Cases(self.config, 1000 if self.cuda else 100, half, self.device)
            theirs = Theirs(cases, self.args.checkout)
            for case in parts.PARTS[1:]:
                key = f"{case} {'16' if half else '32'} bits"
                try:
                    found[key] = compare(cases, theirs, case)[0]
                except Exception:
                    traceback.print_exc()
                    found[key] = "failed"
                self.clear()
        return found

    # --- upstream ---------------------------------------------------------------------------------------------------
    def upstream_network(self, name: str) -> torch.nn.Module:
        """The checkout's flow as it stands, its convolutions computed our way; `theirs` makes its tensors."""
        convolve, size = self.convolve, self.config.resolution

        def forward(layer: Any, x: Any) -> Any:
            table = x.indice_dict.setdefault(len(x.indices), Voxels(x.indices[:, 1:], size))
            return x.replace_feature(convolve(x.features, table, layer.weight, layer.bias, None))

        self.theirs = Theirs(Cases(self.config, self.voxels, self.cuda, self.device), self.args.checkout)
        network = self.theirs.build(name).to(self.device).eval()
        for tensor in network.parameters():
            torch.nn.init.normal_(tensor, std=0.02)
        for module in network.modules():
            if isinstance(module, trellis_upstream.SubMConv3d):
                module.forward = forward.__get__(module)  # type: ignore[method-assign]
        return network

    def run(self) -> None:
        if self.cuda:
            torch.zeros(1, device="cuda")
            free, total = torch.cuda.mem_get_info()
            self.results["driver_mb"] = (total - free - torch.cuda.memory_reserved()) // MB
        many = 100_000 if not self.args.tiny else 300
        plan: dict[str, Callable[[], Any]] = {
            "floor": self.floor,
            "files": lambda: self.files() and None,
            "structure_flow": self.structure_flow,
            "latent_flow": self.latent_flow,
            "convolutions": self.convolutions,
            "decoders": self.decoders,
            **{f"tier {tier}": (lambda tier=tier: self.prop(tier, self.voxels)) for tier in TIERS if tier != "cpu"},
            "100k voxels": lambda: self.prop("full", many, Sampling(steps=2)),
            "100k voxels low": lambda: self.prop("low", many, Sampling(steps=2)),
            "ten in a row": self.in_a_row,
        }
        if self.args.checkout:
            plan["parity"] = self.parities
        self.carry_out(plan, "trellis.json")

    def carry_out(self, plan: dict[str, Callable[[], Any]], file: str) -> None:
        """Each part by itself; one that fails is told and left. What is known goes to `file` in $OUT after each."""
        for name, part in plan.items():
            if self.args.only and name not in self.args.only:
                continue
            start = time.perf_counter()
            self.clear()
            try:
                with torch.no_grad():
                    self.results[name] = part()
            except Exception:
                traceback.print_exc()
                self.results[name] = "failed"
            print(f"{name}: {json.dumps(self.results[name])}  [{time.perf_counter() - start:.1f} s]", flush=True)
            out = Path(os.environ.get("OUT", "."))
            (out / file).write_text(json.dumps(self.results, indent=1) + "\n", "utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkout", type=Path, nargs="?")
    parser.add_argument("--voxels", type=int, default=20_000)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--only", nargs="*", help="parts by name")
    parser.add_argument("--tiny", action="store_true")
    bench = Bench(parser.parse_args())
    try:
        bench.run()
    finally:
        shutil.rmtree(bench.folder, ignore_errors=True)
    print(json.dumps(bench.results, indent=1))


if __name__ == "__main__":
    main()
