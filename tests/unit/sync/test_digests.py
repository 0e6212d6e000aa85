"""What the ledger keeps instead of values."""

import hashlib
import hmac
from base64 import b64encode

import pytest

from omsync.mapping import canonical
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


@pytest.mark.parametrize("secret", [b"secret", b"s" * 64, b"s" * 65])
def test_a_digest_is_hmac_sha256_of_the_canonical_value(secret: bytes) -> None:
    text = canonical(["patients", "1", "ship", [["a", "1"], ["b", None]]])
    whole = hmac.digest(secret, text, hashlib.sha256)
    assert Digests({"k1": secret}, "k1").of(KEY, "ship", {"b": None, "a": "1"}) == f"k1:{b64encode(whole[:16]).decode().rstrip('=')}"


def test_a_record_s_units_have_the_digests_that_each_has_alone() -> None:
    digests = Digests({"k1": b"secret"}, "k1")
    values = {"phone": {"Phone": "+1"}, "ship": {"b": None, "a": 1.5}, "none": {}, "odd": {"f": "half a pair: \ud83d"}}
    assert digests.of_units(KEY, values) == {unit: digests.of(KEY, unit, value) for unit, value in values.items()}
