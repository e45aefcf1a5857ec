"""The geometry network: EfficientNet-Lite2, a few attention layers at 1/32, a feature pyramid up to 1/4, several heads.

Input: sRGB in [0, 255], (n, 3, H, W), H and W multiples of 32, any aspect. Outputs, in one pass:

- `log_disparity` (n, 1, H, W): logarithm of inverse depth up to an unknown constant (so depth up to scale);
- `dense` (n, 11, H/4, W/4): normal 3 (camera axes: x right, y down, z forward; not normalised), class logits 4
  (object, stuff, sky, person), centre offset 2 (x and y as shares of the diagonal), boundary logit 1, log spread 1;
- `lens` (n, 4): log(focal length / diagonal), both in pixels, and the up direction in camera axes (not normalised);
- `coarse` (n, 13, H/8, W/8): what varies slowly. 0-2: the sine of the pixel ray's elevation over the horizon and the up
  direction as it appears in the picture there (x, y; not normalised) - the perspective field of Jin et al., CVPR 2023.
  3-12: the upright box of the object the pixel lies on, see `boxes.py`.

Encoder: Tan and Le, EfficientNet, 2019, "lite" variant; upsampling: Teed and Deng, RAFT, 2020 (each fine pixel a convex
combination of its coarse neighbours).
"""

from __future__ import annotations

import boxes
import torch
import torch.nn.functional as F
from torch import Tensor, nn

# repeats, kernel, stride, expansion, channels of EfficientNet-Lite2
STAGES = (
    (1, 3, 1, 1, 16),
    (3, 3, 2, 6, 24),
    (3, 5, 2, 6, 48),
    (4, 3, 2, 6, 88),
    (4, 5, 1, 6, 120),
    (5, 5, 2, 6, 208),
    (1, 3, 1, 6, 352),
)
TAPS = (0, 1, 2, 4, 6)
OUTPUTS = ("log_disparity", "dense", "lens", "coarse")  # in the order of `GeometryNet.forward`


class MBConv(nn.Module):
    def __init__(self, cin: int, cout: int, kernel: int, stride: int, expand: int):
        super().__init__()
        mid = cin * expand
        self.expand, self.residual = expand > 1, stride == 1 and cin == cout
        if self.expand:
            self._expand_conv, self._bn0 = nn.Conv2d(cin, mid, 1, bias=False), nn.BatchNorm2d(mid, eps=1e-3)
        self._depthwise_conv = nn.Conv2d(mid, mid, kernel, stride, kernel // 2, groups=mid, bias=False)
        self._bn1 = nn.BatchNorm2d(mid, eps=1e-3)
        self._project_conv, self._bn2 = nn.Conv2d(mid, cout, 1, bias=False), nn.BatchNorm2d(cout, eps=1e-3)

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu6(self._bn0(self._expand_conv(x))) if self.expand else x
        y = self._bn2(self._project_conv(F.relu6(self._bn1(self._depthwise_conv(y)))))
        return x + y if self.residual else y


class Encoder(nn.Module):
    """Names follow the weight file, so that it loads as it is."""

    def __init__(self) -> None:
        super().__init__()
        self._conv_stem, self._bn0 = nn.Conv2d(3, 32, 3, 2, 1, bias=False), nn.BatchNorm2d(32, eps=1e-3)
        blocks, cin, ends = [], 32, []
        for repeats, kernel, stride, expand, cout in STAGES:
            for k in range(repeats):
                blocks.append(MBConv(cin, cout, kernel, stride if k == 0 else 1, expand))
                cin = cout
            ends.append(len(blocks) - 1)
        self._blocks = nn.ModuleList(blocks)
        self._conv_head, self._bn1 = nn.Conv2d(352, 1280, 1, bias=False), nn.BatchNorm2d(1280, eps=1e-3)
        self.taps = [ends[t] for t in TAPS]

    def through(self, x: Tensor) -> tuple[list[Tensor], Tensor]:
        """The stem's output through all blocks: what is tapped, and the last block's output."""
        out = []
        for i, block in enumerate(self._blocks):
            x = block(x)
            if i in self.taps:
                out.append(x)
        return out, x

    def forward(self, x: Tensor) -> list[Tensor]:
        out, x = self.through(F.relu6(self._bn0(self._conv_stem(x))))
        return [*out, F.relu6(self._bn1(self._conv_head(x)))]


class Attention(nn.Module):
    def __init__(self, width: int, heads: int = 8):
        super().__init__()
        self.heads = heads
        self.norm1, self.qkv, self.out = nn.LayerNorm(width), nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.norm2, self.mlp = (
            nn.LayerNorm(width),
            nn.Sequential(nn.Linear(width, 3 * width), nn.GELU(), nn.Linear(3 * width, width)),
        )

    def forward(self, x: Tensor) -> Tensor:
        n, t, c = x.shape
        q, k, v = self.qkv(self.norm1(x)).reshape(n, t, 3, self.heads, c // self.heads).permute(2, 0, 3, 1, 4)
        a = torch.softmax(q @ k.transpose(-1, -2) * (c // self.heads) ** -0.5, -1) @ v
        x = x + self.out(a.transpose(1, 2).reshape(n, t, c))
        return x + self.mlp(self.norm2(x))


def conv_bn(cin: int, cout: int, kernel: int = 3) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(cin, cout, kernel, 1, kernel // 2, bias=False), nn.BatchNorm2d(cout))


class Refine(nn.Module):
    """Residual pair of 3x3 convolutions on the sum of a skip and the upsampled coarser level."""

    def __init__(self, skip: int, width: int):
        super().__init__()
        self.skip, self.a, self.b = conv_bn(skip, width, 1), conv_bn(width, width), conv_bn(width, width)

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        x = F.relu(F.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False) + self.skip(skip))
        return F.relu(x + self.b(F.relu(self.a(x))))


class GeometryNet(nn.Module):
    def __init__(self, width: int = 128, tokens: int = 256, layers: int = 4):
        super().__init__()
        self.encoder = Encoder()
        self.enter = nn.Conv2d(1280 + 2, tokens, 1)
        self.place = nn.Conv2d(tokens, tokens, 3, 1, 1, groups=tokens)
        self.layers = nn.ModuleList(Attention(tokens) for _ in range(layers))
        self.norm = nn.LayerNorm(tokens)
        self.lens = nn.Sequential(nn.Linear(tokens * 2, 128), nn.GELU(), nn.Linear(128, 4))
        self.top = conv_bn(tokens + 352, width, 1)
        self.refine16, self.refine8 = Refine(120, width), Refine(48, width)
        self.refine4 = Refine(24 + 64, width)
        self.depth = nn.Sequential(conv_bn(width, 64), nn.ReLU(), nn.Conv2d(64, 1, 1))
        self.mask = nn.Conv2d(width, 9 * 16, 1)
        self.dense = nn.Sequential(conv_bn(width, 64), nn.ReLU(), nn.Conv2d(64, 11, 1))
        self.coarse = nn.Sequential(conv_bn(width, width), nn.ReLU(), nn.Conv2d(width, 3 + boxes.CHANNELS, 1))

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        c1, c2, c3, c4, c5, head = self.encoder((image - 127.0) / 128.0)
        n, _, h, w = head.shape
        y = torch.arange(h, device=head.device, dtype=head.dtype).reshape(1, 1, h, 1).expand(n, 1, h, w)
        x = torch.arange(w, device=head.device, dtype=head.dtype).reshape(1, 1, 1, w).expand(n, 1, h, w)
        half = 0.5 * (h * h + w * w) ** 0.5
        t = self.enter(torch.cat([head, (x - (w - 1) / 2) / half, (y - (h - 1) / 2) / half], 1))
        t = t + self.place(t)
        t = t.flatten(2).transpose(1, 2)
        for layer in self.layers:
            t = layer(t)
        t = self.norm(t)
        lens = self.lens(torch.cat([t.mean(1), t.amax(1)], 1))
        p = F.relu(self.top(torch.cat([t.transpose(1, 2).reshape(n, -1, h, w), c5], 1)))
        p = self.refine8(self.refine16(p, c4), c3)
        coarse = self.coarse(p)
        p = self.refine4(p, torch.cat([c2, F.pixel_unshuffle(c1, 2)], 1))
        r = self.depth(p)
        pad = F.pad(r, (1, 1, 1, 1), mode="replicate")
        hh, ww = r.shape[2], r.shape[3]
        near = torch.cat([pad[:, :, i : i + hh, j : j + ww] for i in range(3) for j in range(3)], 1)
        weight = torch.softmax(self.mask(p).reshape(n, 9, 16, hh, ww), 1)
        fine = F.pixel_shuffle((weight * near.unsqueeze(2)).sum(1), 4)
        return fine, self.dense(p), lens, coarse

    def load_backbone(self, path: str) -> None:
        state = torch.load(path, map_location="cpu")
        missing, _ = self.encoder.load_state_dict(
            {k: v.float() if v.is_floating_point() else v for k, v in state.items() if not k.startswith("_fc")},
            strict=False,
        )
        if missing:
            raise ValueError(f"The backbone file lacks {missing[:3]}.")
