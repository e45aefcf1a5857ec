"""Train the geometry or the outline network on pictures rendered as it goes, on all GPUs of one machine. Resumable.

python train.py --assets assets.npz --backbone efficientnet-lite2.pth --out OUT --seconds 540
python train.py ... --resume OUT --rate 4e-4 --end-rate 1e-5
python train.py ... --network outline --encoder OUT --out OUTLINE

`--seconds` is the whole run from start to the last file written, so that a machine lent by the minute wastes none.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from pathlib import Path


def options() -> argparse.Namespace:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--assets", type=Path, required=True)
    p.add_argument("--network", choices=["geometry", "outline"], default="geometry")
    p.add_argument("--backbone", type=Path)
    p.add_argument("--encoder", type=Path, help="folder of the geometry checkpoint that an outline network starts from")
    p.add_argument("--resume", type=Path, help="folder with the weights_*.pt of an earlier run")
    p.add_argument("--out", type=Path, required=True)
    p.add_argument("--kernels", type=Path, default=Path(tempfile.gettempdir()), help="where the ray caster is built")
    p.add_argument("--fresh", nargs="*", default=[], help="heads that a resumed checkpoint may lack, as `coarse.`")
    p.add_argument("--seconds", type=float, default=480)
    p.add_argument("--gpus", type=int, default=0, help="0: all there are; with --device cpu: processes")
    p.add_argument("--rate", type=float, default=8e-4)
    p.add_argument("--end-rate", type=float, default=1e-5)
    p.add_argument("--encoder-share", type=float, default=0.12, help="of the learning rate")
    p.add_argument("--warm", type=int, default=200, help="steps until the full learning rate")
    p.add_argument("--batch", type=int, default=48, help="pictures of 384x512 per GPU and step")
    p.add_argument("--render", type=int, default=50, help="pictures rendered at once")
    p.add_argument("--reuse", type=int, default=3, help="training steps per rendered batch")
    p.add_argument("--ring", type=int, default=32, help="rendered batches kept")
    p.add_argument("--area", type=float, default=230_000, help="pixels of a render")
    p.add_argument("--shrink", type=float, default=1, help="make all pictures this much smaller; below 1 larger")
    p.add_argument("--crops", type=int, default=288, help="things the outline network looks at per GPU and step")
    p.add_argument("--seed", type=int, default=1)
    p.add_argument("--processes", type=int, default=14, help="scene makers per GPU")
    p.add_argument("--save-every", type=float, default=60)
    p.add_argument("--device", default="cuda")
    p.add_argument("--layout", choices=["channels_last", "contiguous"], default="channels_last")
    args = p.parse_args()
    if args.network == "outline" and (args.backbone or not (args.encoder or args.resume)):
        p.error("an outline network starts from --encoder (the folder of a geometry checkpoint) or from --resume")
    return args


def rank_main(rank: int, ranks: int, meeting: str, begin: float, args: argparse.Namespace) -> None:
    if args.device == "cuda":
        # One GPU in sight of each rank, so that the ray caster's own CUDA runtime cannot take another's.
        ids = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")
        os.environ["CUDA_VISIBLE_DEVICES"] = ids[rank] if len(ids) >= ranks and all(ids) else str(rank)
    from loop import run

    run(rank, ranks, meeting, begin, args)


def main() -> None:
    begin, args = time.time(), options()
    import torch
    import torch.multiprocessing as mp
    from render import compile_kernel

    args.out.mkdir(parents=True, exist_ok=True)
    args.kernels.mkdir(parents=True, exist_ok=True)
    cuda = args.device == "cuda"
    compile_kernel(cuda, args.kernels)  # once, before the ranks look for it
    ranks = args.gpus or (torch.cuda.device_count() if cuda else 1)
    with tempfile.TemporaryDirectory() as folder:
        meeting = str(Path(folder) / "ranks")
        if ranks == 1:
            rank_main(0, 1, meeting, begin, args)
            return
        context = mp.spawn(rank_main, (ranks, meeting, begin, args), ranks, join=False)
        while not context.join(timeout=5):
            if time.time() - begin > args.seconds + 30:  # a rank hangs: the last checkpoint is on disk
                print("A rank did not end in time; stopping with the last checkpoint.", flush=True)
                for process in context.processes:
                    process.kill()
                os._exit(3)


if __name__ == "__main__":
    main()
