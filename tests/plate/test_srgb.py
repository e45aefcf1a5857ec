from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.formats import srgb


def test_golden_values():
    """IEC 61966-2-1: code 128 is linear 0.21586, 18 % grey is code 118, the toe ends at 0.04045."""
    assert srgb.LINEAR_OF_CODE[128] == pytest.approx(0.2158605, abs=1e-6)
    assert srgb.LINEAR_OF_CODE[10] == pytest.approx(10 / 255 / 12.92, abs=1e-7)
    assert srgb.srgb8_from_linear(np.full((1, 1, 3), 0.18, np.float32))[0, 0, 0] == 118


def test_every_code_survives_the_round_trip():
    codes = np.arange(256, dtype=np.uint8).reshape(16, 16, 1).repeat(3, -1)
    assert (srgb.srgb8_from_linear(srgb.LINEAR_OF_CODE[codes]) == codes).all()


@given(st.floats(-4, 60, width=32))
def test_inverse_beyond_the_unit_range(value):
    assert float(srgb.srgb_from_linear(srgb.linear_from_srgb(value))) == pytest.approx(value, rel=2e-5, abs=1e-6)


def test_rec709_to_xyz_is_the_published_matrix():
    """ITU-R BT.709 / IEC 61966-2-1 Annex F, four decimals."""
    golden = [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
    assert np.allclose(srgb.xyz_from_rgb(srgb.REC709), golden, atol=1.5e-4)


def test_rec2020_to_rec709_is_bt2087():
    """ITU-R BT.2087-0 equation 4 inverted: first row 1.6605, -0.5876, -0.0728."""
    assert np.allclose(srgb.rec709_from(srgb.REC2020)[0], [1.6605, -0.5876, -0.0728], atol=1e-4)


def test_white_stays_white_across_spaces():
    ap1 = ((0.713, 0.293), (0.165, 0.830), (0.128, 0.044), (0.32168, 0.33767))
    assert np.allclose(srgb.rec709_from(ap1) @ np.ones(3), 1, atol=1e-6)
    assert np.allclose(srgb.rec709_from_d50() @ srgb.D50_XYZ, 1, atol=1e-6)


def test_senseless_primaries_are_refused():
    with pytest.raises(ValueError, match="luminance"):
        srgb.rec709_from(((0.6, 0.3), (0.3, 0.6), (0.1, 0.0), (0.3, 0.0)))
    with pytest.raises(ValueError, match="line"):
        srgb.rec709_from(((0.6, 0.3), (0.6, 0.3), (0.6, 0.3), (0.3, 0.3)))


def test_aces_ap0_to_rec709():
    """The ACES project's published AP0 to Rec.709 (Bradford): first row 2.5217, -1.1341, -0.3876."""
    ap0 = ((0.7347, 0.2653), (0.0, 1.0), (0.0001, -0.077), (0.32168, 0.33767))
    assert np.allclose(srgb.rec709_from(ap0)[0], [2.5217, -1.1341, -0.3876], atol=2e-3)
