"""From a mask to a clean cut-out: a soft alpha along the edge, and the prop's own colour under it.

PyMatting's closed form was the first choice and was measured: its first import compiles for half a minute, which a
first run cannot pay. Here the band's colours are split between the local colours of its two sides, and a guided filter
(He, Sun and Tang, "Guided Image Filtering", TPAMI 2013, section 3.5) decides where those sides look alike.
"""

from __future__ import annotations

import cv2
import numpy as np

from worker.arrays import F32, U8, Bool


def band_width(mask: Bool) -> int:
    """Half the width of the unknown band: 0.7 % of the prop's size, 2 to 15 px."""
    return int(np.clip(round(0.007 * np.sqrt(mask.sum()) * 2), 2, 15))


def soft_alpha(image: U8, mask: Bool) -> F32:
    """Alpha (h, w) in 0..1 of a crop: 1 deep inside the mask, 0 well outside, by the picture between.

    Args:
        image: (h, w, 3) uint8 sRGB.
        mask: (h, w) bool, the same crop.
    """
    reach = band_width(mask)
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * reach + 1, 2 * reach + 1))
    solid = mask.astype(np.uint8)
    inside = cv2.erode(solid, kernel, borderType=cv2.BORDER_REPLICATE).astype(bool)
    outside = ~cv2.dilate(solid, kernel).astype(bool)
    picture = _unit(image)
    smooth = cv2.ximgproc.guidedFilter(picture, solid.astype(np.float32), reach + 1, 1e-4)
    # The filter's window average never quite reaches 0 and 1: stretch so that the band meets its two sides.
    smooth = np.clip((smooth - 0.1) / 0.8, 0.0, 1.0)
    split, certainty = _unmix(picture, inside, outside, 4 * reach + 1)
    alpha = certainty * split + (1 - certainty) * smooth
    alpha[inside], alpha[outside] = 1.0, 0.0
    return alpha.astype(np.float32)


def _unmix(picture: F32, inside: Bool, outside: Bool, window: int) -> tuple[F32, F32]:
    """Share of the inner side's local colour in each pixel, and how far that is to be trusted, both (h, w) in 0..1.

    Trust is the two sides' distance in colour against their own spread: a plain ball before a plain wall is split
    exactly, foliage before foliage is left to the filter.
    """
    (front, front_spread, seen), (back, back_spread, seen_too) = (
        _local_color(picture, side, window) for side in (inside, outside)
    )
    axis = front - back
    distance = (axis**2).sum(axis=-1)
    share = ((picture - back) * axis).sum(axis=-1) / np.maximum(distance, 1e-6)
    trust = distance / (distance + 4 * (front_spread + back_spread) + 2e-3) * (seen & seen_too)
    return np.clip(share, 0, 1), trust


def _local_color(picture: F32, side: Bool, window: int) -> tuple[F32, F32, Bool]:
    """Mean colour of one side around each pixel, its variance, and where there is any of it."""
    weight = cv2.blur(side.astype(np.float32), (window, window))
    known = np.maximum(weight, 1e-6)[..., None]
    mean = np.asarray(cv2.blur(picture * side[..., None], (window, window)) / known, np.float32)
    square = np.asarray(cv2.blur(picture**2 * side[..., None], (window, window)) / known, np.float32)
    return mean, np.maximum(square - mean**2, 0).sum(axis=-1), weight > 1e-3


def foreground_colors(image: U8, alpha: F32) -> U8:
    """The prop's own colour in every pixel, also where it is half background; (h, w, 3) uint8 sRGB.

    Two passes of blur fusion (Forte, "Approximate Fast Foreground Colour Estimation", ICIP 2021), a wide one then a
    narrow one. Where nothing of the prop is near, the nearest solid colour continues: no dark fringe when filtered.
    """
    picture = _unit(image)
    weight = alpha[..., None].astype(np.float32)
    foreground = background = picture
    for radius in (max(9, band_width(alpha > 0.5) * 6) | 1, 7):
        foreground, background = _fuse(picture, foreground, background, weight, radius)
    colors = _continued(np.where(weight > 0.99, picture, foreground), np.asarray(alpha > 0.05))
    return np.clip(np.round(colors * 255), 0, 255).astype(np.uint8)


def _unit(image: U8) -> F32:
    return np.divide(image, 255, dtype=np.float32)


def _fuse(picture: F32, foreground: F32, background: F32, alpha: F32, radius: int) -> tuple[F32, F32]:
    def blur(values: F32) -> F32:
        out = cv2.blur(values, (radius, radius), borderType=cv2.BORDER_REPLICATE)
        return np.asarray(out, np.float32).reshape(*values.shape)

    mean_alpha = blur(alpha)
    f = blur(foreground * alpha) / (mean_alpha + 1e-5)
    b = blur(background * (1 - alpha)) / (1 - mean_alpha + 1e-5)
    f = f + alpha * (picture - alpha * f - (1 - alpha) * b)
    return np.clip(f, 0, 1), np.clip(b, 0, 1)


def _continued(colors: F32, known: Bool) -> F32:
    """Unknown pixels take the colour of the nearest known one."""
    if known.all() or not known.any():
        return colors
    from scipy.ndimage import distance_transform_edt

    nearest = distance_transform_edt(~known, return_distances=False, return_indices=True)
    return colors[tuple(nearest)]
