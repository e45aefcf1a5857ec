"""The outline network: one thing, pointed at by a rough mask, cut out whole with its legs and handles.

Input: a square sRGB crop in [0, 255], (n, 3, S, S), S a multiple of 16, and a rough mask of the thing in it, 0..1,
(n, 1, S, S): with parts missing, parts of its neighbours, or only its middle. Outputs:

- `outline` (n, 1, S, S): logit of "this pixel is the thing";
- `verdict` (n, 2): logits of "the outline is right" (its expected IoU; 0 where there is no thing) and "a person".

The first blocks of the geometry network's encoder, attention at 1/16, a U-Net back to full size. Prompting by a mask as
in interactive segmentation (Sofiiuk et al., RITM, 2021) and CascadePSP (Cheng et al., 2020).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from model import Attention, Encoder, conv_bn
from torch import Tensor, nn

OUTPUTS = ("outline", "verdict")
SIZE = 256
TAPS = (0, 3, 6, 13)  # blocks at 1/2, 1/4, 1/8 and 1/16, the last of those kept


class Up(nn.Module):
    def __init__(self, cin: int, skip: int, width: int):
        super().__init__()
        self.enter, self.skip = conv_bn(cin, width, 1), conv_bn(skip + 1, width, 1)
        self.a, self.b = conv_bn(width, width), conv_bn(width, width)

    def forward(self, x: Tensor, skip: Tensor, prompt: Tensor) -> Tensor:
        prompt = F.avg_pool2d(prompt, prompt.shape[3] // skip.shape[3])
        x = F.interpolate(self.enter(x), scale_factor=2.0, mode="bilinear", align_corners=False)
        x = F.relu(x + self.skip(torch.cat([skip, prompt], 1)))
        return F.relu(x + self.b(F.relu(self.a(x))))


class OutlineNet(nn.Module):
    def __init__(self, tokens: int = 192, layers: int = 3):
        super().__init__()
        self.encoder = Encoder()
        self.encoder.taps = list(TAPS)
        self.encoder._blocks = self.encoder._blocks[: TAPS[-1] + 1]
        del self.encoder._conv_head, self.encoder._bn1
        self.point = nn.Conv2d(1, 32, 3, 2, 1)
        nn.init.zeros_(self.point.weight)
        nn.init.zeros_(self.point.bias)
        self.enter = nn.Conv2d(120 + 3, tokens, 1)
        self.place = nn.Conv2d(tokens, tokens, 3, 1, 1, groups=tokens)
        self.layers = nn.ModuleList(Attention(tokens) for _ in range(layers))
        self.norm = nn.LayerNorm(tokens)
        self.verdict = nn.Sequential(nn.Linear(tokens * 3, 96), nn.GELU(), nn.Linear(96, 2))
        self.up8, self.up4, self.up2 = Up(tokens, 48, 96), Up(96, 24, 64), Up(64, 16, 32)
        self.outline = nn.Conv2d(32, 4, 3, 1, 1)

    def forward(self, image: Tensor, prompt: Tensor) -> tuple[Tensor, Tensor]:
        e = self.encoder
        x = F.relu6(e._bn0(e._conv_stem((image - 127.0) / 128.0)) + self.point(prompt * 2 - 1))
        (c1, c2, c3, c4), _ = e.through(x)
        n, _, h, w = c4.shape
        y = torch.linspace(-1, 1, h, device=x.device, dtype=x.dtype).reshape(1, 1, h, 1).expand(n, 1, h, w)
        x = torch.linspace(-1, 1, w, device=x.device, dtype=x.dtype).reshape(1, 1, 1, w).expand(n, 1, h, w)
        there = F.avg_pool2d(prompt, prompt.shape[3] // w)
        t = self.enter(torch.cat([c4, there, x, y], 1))
        t = (t + self.place(t)).flatten(2).transpose(1, 2)
        for layer in self.layers:
            t = layer(t)
        t = self.norm(t)
        share = there.flatten(2).transpose(1, 2)
        inside = (t * share).sum(1) / share.sum(1).clamp_min(1e-3)
        verdict = self.verdict(torch.cat([t.mean(1), t.amax(1), inside], 1))
        p = self.up8(t.transpose(1, 2).reshape(n, -1, h, w), c3, prompt)
        p = self.up2(self.up4(p, c2, prompt), c1, prompt)
        return F.pixel_shuffle(self.outline(p), 2), verdict

    def load_encoder(self, state: dict[str, Tensor]) -> None:
        """The first blocks of a geometry checkpoint's encoder. Raises ValueError where some are missing."""
        own = self.encoder.state_dict()
        wanted = {k: state[f"encoder.{k}"].float() for k in own if f"encoder.{k}" in state}
        if missing := sorted(k for k in set(own) - set(wanted) if not k.endswith("num_batches_tracked")):
            raise ValueError(f"The checkpoint lacks {missing[:3]}.")
        self.encoder.load_state_dict(wanted, strict=False)
