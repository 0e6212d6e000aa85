"""Ids: checksum, order, refusals."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from local.salesforce.ids import MalformedId, id_range, make_id, normalise


@pytest.mark.parametrize("known", ["a00B000000FSkcvIAD", "001B000001Lp1G2IAJ", "003ak00000luKU1AAM"])
def test_checksums_agree_with_ids_of_live_orgs(known: str) -> None:
    assert normalise(known[:15]) == known
    assert normalise(known) == known


@pytest.mark.parametrize(
    "bad", ["", "001", "001B000001Lp1G2IAK", "001B000001Lp1G2IA", "001B000001Lp1G2IAJ0", "001B000001Lp1-2IAJ", "x" * 18]
)
def test_a_wrong_length_character_or_checksum_is_malformed(bad: str) -> None:
    with pytest.raises(MalformedId):
        normalise(bad)


@given(st.integers(0, 10**9), st.integers(1, 9000))
def test_a_range_is_the_single_ids_in_ascending_order(first: int, count: int) -> None:
    ids = id_range("001", first, count)
    assert ids == sorted(ids)
    assert len(set(ids)) == count
    assert ids[0] == make_id("001", first)
    assert ids[-1] == make_id("001", first + count - 1)
