from __future__ import annotations

import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.metadata import identifiers

EIDR = "10.5240/7290-C8AD-12BA-4F93-3B07-7"  # an identifier in use; read in a source
ISAN = "0000-0000-3A8D-0000-Z-0000-0000-6"  # the worked example of the ISAN user guide


def test_known_numbers_check():
    assert identifiers.is_eidr(EIDR) and identifiers.is_eidr(EIDR.lower())
    assert identifiers.is_isan(ISAN) and identifiers.is_isan(f"ISAN {ISAN}") and identifiers.is_isan(ISAN[:21])


@pytest.mark.parametrize(
    "number", ["", "10.5240/", EIDR[:-1], EIDR + "7", EIDR.replace("10.5240", "10.5241"), "7290" * 5]
)
def test_other_shapes_do_not(number):
    assert not identifiers.is_eidr(number) and not identifiers.is_isan(number)


@given(st.integers(0, 19), st.sampled_from("0123456789ABCDEF"))
def test_one_wrong_digit_is_always_caught(place, digit):
    """ISO 7064 Mod 37,36 catches every single substitution."""
    head, body, check = EIDR[:8], EIDR[8:-2].replace("-", ""), EIDR[-1]
    changed = body[:place] + digit + body[place + 1 :]
    number = head + "-".join(changed[i : i + 4] for i in range(0, 20, 4)) + "-" + check
    assert identifiers.is_eidr(number) == (changed == body)


@pytest.mark.parametrize("prefix", ["10.1000", "10.1000.5", "10.5072", "10.5555", "10.5000.1", "10.5240"])
def test_prefixes_that_belong_to_nobody_here(prefix):
    assert identifiers.prefix_fault(prefix)


@pytest.mark.parametrize("prefix", ["", "10", "10.", "11.12345", "10.12a45", "10.12345/x", "doi:10.12345", " 10.12345"])
def test_prefixes_of_a_wrong_shape(prefix):
    assert identifiers.prefix_fault(prefix) == "not of the form 10.NNNN"


def test_a_studios_own_prefix_passes():
    assert identifiers.prefix_fault("10.12345") is None and identifiers.prefix_fault("10.12345.6") is None


def test_uuids_are_stable_and_distinct():
    session = "7a1f4c52-3c0e-5a55-9a39-0d6d0a3b1c11"
    first = identifiers.asset_uuid(session, "prop_01")
    assert first == identifiers.asset_uuid(session, "prop_01") != identifiers.asset_uuid(session, "prop_02")
    assert uuid.UUID(first).version == 5
