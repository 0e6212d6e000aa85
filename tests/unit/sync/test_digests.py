"""What the ledger keeps instead of values."""

import pytest

from omsync.platform.errors import Permanent
from omsync.sync.digests import Digests
from omsync.sync.records import RecordKey

KEY = RecordKey("patients", "1")


def test_a_digest_tells_equal_values_and_nothing_else() -> None:
    digests = Digests({"k1": b"secret"}, "k1")
    digest = digests.of(KEY, "phone", {"Phone": "+15550001"})
    assert digests.same(digest, KEY, "phone", {"Phone": "+15550001"})
    assert not digests.same(digest, KEY, "phone", {"Phone": "+15550002"})
    assert "5550001" not in digest
    assert digests.same(digests.of(KEY, "phone", {"Phone": None}), KEY, "phone", {"Phone": ""}) is False
    assert digests.same(digests.of(KEY, "phone", {"Phone": "half a pair: \ud83d"}), KEY, "phone", {"Phone": "half a pair: \ud83d"})
    assert len(digest) < 30


@pytest.mark.parametrize(("key", "unit"), [(RecordKey("patients", "2"), "phone"), (RecordKey("orders", "1"), "phone"), (KEY, "mobile")])
def test_equal_values_elsewhere_have_another_digest(key: RecordKey, unit: str) -> None:
    digests = Digests({"k1": b"secret"}, "k1")
    assert digests.of(key, unit, {"f": "x"}) != digests.of(KEY, "phone", {"f": "x"})


def test_the_order_of_an_address_s_fields_does_not_matter() -> None:
    digests = Digests({"k1": b"secret"}, "k1")
    assert digests.of(KEY, "ship", {"a": "1", "b": None}) == digests.of(KEY, "ship", {"b": None, "a": "1"})


def test_an_old_key_still_compares_and_a_lost_one_says_so() -> None:
    old = Digests({"k1": b"one"}, "k1").of(KEY, "phone", {"f": "x"})
    rotated = Digests({"k1": b"one", "k2": b"two"}, "k2")
    assert rotated.same(old, KEY, "phone", {"f": "x"}) is True
    assert not rotated.is_current(old)
    assert Digests({"k2": b"two"}, "k2").same(old, KEY, "phone", {"f": "x"}) is None


def test_a_current_key_that_is_not_there_is_an_error() -> None:
    with pytest.raises(Permanent, match="current key 'k2' is not among"):
        Digests({"k1": b"one"}, "k2")
