"""Values as keyed hashes: what the ledger keeps instead of values.

HMAC-SHA256, cut to 128 bits, over record, unit and canonical JSON: equal values of two records or two units hash differently, so the
ledger tells nobody who shares an address. A digest names its key (`k2:...`); a digest whose key is gone compares with nothing, and the
marks' counts and times go on deciding.
"""

from __future__ import annotations

import hashlib
import hmac
from binascii import b2a_base64
from collections.abc import Mapping

from omsync.mapping.digest import canonical
from omsync.platform.errors import Permanent
from omsync.sync.records import RecordKey, UnitValue

BYTES, CHARACTERS = 16, 22  # in base64, without the padding


class Digests:
    """Hashes with the current key, compares with any key still held."""

    def __init__(self, keys: Mapping[str, bytes], current: str) -> None:
        if current not in keys:
            raise Permanent(f"the ledger's current key {current!r} is not among {sorted(keys)}", code="ledger.key")
        if any(":" in name for name in keys):
            raise Permanent("a key's name holds no colon", code="ledger.key")
        self._keys = {name: hmac.new(key, digestmod=hashlib.sha256) for name, key in keys.items()}  # copied for each value
        self._current = current

    def of(self, key: RecordKey, unit: str, value: UnitValue) -> str:
        return self._digests(self._current, key, {unit: value})[unit]

    def of_units(self, key: RecordKey, values: Mapping[str, UnitValue]) -> dict[str, str]:
        """unit -> digest: what `of` says of each, for less."""
        return self._digests(self._current, key, values)

    def is_current(self, digest: str) -> bool:
        """Is it of the key that is used now?"""
        return digest.partition(":")[0] == self._current

    def same(self, digest: str, key: RecordKey, unit: str, value: UnitValue) -> bool | None:
        """Is it this value's digest? None: its key is gone."""
        name = digest.partition(":")[0]
        if name not in self._keys:
            return None
        return hmac.compare_digest(digest, self._digests(name, key, {unit: value})[unit])

    def _digests(self, name: str, key: RecordKey, values: Mapping[str, UnitValue]) -> dict[str, str]:
        """The hash is over the canonical [table, id, unit, pairs]; where that begins is the same for all units of a record."""
        head = self._keys[name].copy()
        head.update(canonical([key.table, key.id])[:-1] + b",")
        found: dict[str, str] = {}
        for unit, value in values.items():
            keyed = head.copy()
            keyed.update(canonical([unit, sorted(value.items())])[1:])
            found[unit] = f"{name}:{b2a_base64(keyed.digest()[:BYTES])[:CHARACTERS].decode()}"
        return found
