"""Runs inside the user's environment for SAM 3D Objects: python child.py CHECKOUT CONFIG.

Needs nothing of Assetize. Requests come as lines of JSON on stdin, answers go as lines of JSON to what was stdout;
arrays pass through files. Whatever the libraries print goes to stderr. Ends with its parent.
"""

import contextlib
import json
import os
import sys
import traceback
from pathlib import Path


def arrays_of(output):
    """What comes back of one object, as numpy arrays."""
    import numpy as np

    def array(value):
        value = value.detach().cpu().numpy() if hasattr(value, "detach") else value
        return np.asarray(value, dtype=np.float64).reshape(-1)

    mesh = output.get("glb")
    if mesh is None:
        raise RuntimeError("no mesh came back")
    found = {name: array(output[name]) for name in ("rotation", "translation", "scale")}
    found["vertices"] = np.asarray(mesh.vertices, dtype=np.float32)
    found["faces"] = np.asarray(mesh.faces, dtype=np.int32)
    found["colours"] = np.asarray(mesh.visual.vertex_colors)[:, :3].astype(np.uint8)
    if output.get("iou") is not None:
        found["iou"] = array(output["iou"])
    return found


def answer(inference, request):
    import numpy as np
    import torch

    cuda = torch.cuda.is_available()
    if cuda:
        torch.cuda.reset_peak_memory_stats()
    given = np.load(request["given"])
    pointmap = torch.from_numpy(given["pointmap"]) if "pointmap" in given else None
    output = inference(given["image"], given["mask"], seed=request["seed"], pointmap=pointmap)
    np.savez(request["made"], **arrays_of(output))
    gaussians = output.get("gs")
    if gaussians is not None:
        gaussians.save_ply(request["gaussians"])
    peak = torch.cuda.max_memory_allocated() / 2**20 if cuda else 0.0
    return {"ok": True, "gaussians": gaussians is not None, "gpu_mb": peak}


def main():
    checkout, config = Path(sys.argv[1]), sys.argv[2]
    replies = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    sys.stdout = sys.stderr
    requests = os.fdopen(os.dup(0), "r", encoding="utf-8")
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)

    def reply(message):
        replies.write(json.dumps(message) + "\n")
        replies.flush()

    def failed(fault):
        traceback.print_exc()
        reply({"ok": False, "kind": type(fault).__name__, "text": str(fault)[:600]})

    try:
        sys.path[:0] = [str(checkout / "notebook"), str(checkout)]
        from inference import Inference

        inference = Inference(config, compile=False)
    except BaseException as fault:
        failed(fault)
        return
    reply({"ok": True, "loaded": True})
    for line in requests:
        try:
            reply(answer(inference, json.loads(line)))
        except Exception as fault:
            failed(fault)


if __name__ == "__main__":
    with contextlib.suppress(BrokenPipeError, KeyboardInterrupt):
        main()
