from __future__ import annotations

import cv2
import numpy as np

from worker.harvest import matting, naming


def soft_disc() -> tuple[np.ndarray, np.ndarray]:
    """A soft-edged red disc over green: picture (uint8) and its true alpha, anti-aliased over 4 px."""
    rows, columns = np.mgrid[:200, :240]
    alpha = np.clip((60 - np.hypot(columns - 120, rows - 100)) / 4 + 0.5, 0, 1)
    picture = alpha[..., None] * np.array([200, 40, 30]) + (1 - alpha[..., None]) * np.array([40, 140, 60])
    return np.round(picture).astype(np.uint8), alpha.astype(np.float32)


def test_alpha_recovers_a_soft_edge_from_a_rough_mask() -> None:
    picture, truth = soft_disc()
    rough = cv2.erode((truth > 0.5).astype(np.uint8), np.ones((3, 3), np.uint8)).astype(bool)
    alpha = matting.soft_alpha(picture, rough)
    assert np.abs(alpha - truth).mean() < np.abs(rough - truth).mean()
    assert np.abs(alpha - truth).mean() < 0.01
    assert alpha[100, 120] == 1 and alpha[0, 0] == 0


def test_foreground_has_no_fringe_of_the_background() -> None:
    picture, truth = soft_disc()
    foreground = matting.foreground_colors(picture, truth).astype(int)
    edge = (truth > 0.1) & (truth < 0.9)
    assert np.abs(foreground[edge] - (200, 40, 30)).mean() < 12
    assert np.abs(picture[edge].astype(int) - (200, 40, 30)).mean() > 30  # so the test can fail
    assert (foreground[truth == 0].mean(axis=0)[1]) < 70  # the prop's red goes on outside, not the green


def test_names_say_what_is_seen() -> None:
    mask = np.zeros((100, 100), dtype=bool)
    mask[5:95, 40:60] = True
    image = np.full((100, 100, 3), (30, 120, 40), dtype=np.uint8)
    assert naming.describe(image, mask) == ("tall green prop", "绿色高道具")
    image[:] = (245, 245, 240)
    assert naming.describe(image, mask)[0] == "tall white prop"
