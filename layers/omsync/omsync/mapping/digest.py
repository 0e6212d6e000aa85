"""Hashes of normal values: a row as a whole for reconciliation, a single value (keyed) for the ledger."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Collection, Mapping

from omsync.mapping.model import Json, Target

#: of the derived fields, those that say when and how often, not what
STAMPS = frozenset({"OMS_Version__c", "OMS_Updated_At__c"})

#: made once: json.dumps would make another for each value
_TEXT = json.JSONEncoder(ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode


def canonical(value: Json) -> bytes:
    """The one text of a normal value."""
    return _TEXT(value).encode("utf-8", "surrogatepass")


def compared_fields(target: Target) -> tuple[str, ...]:
    """The fields that reconciliation compares, sorted: neither the stamps nor what Salesforce may change by itself."""
    return tuple(sorted(name for name, field in target.fields.items() if field.compared and name not in STAMPS))


def row_hash(values: Mapping[str, Json], fields: Collection[str]) -> str:
    """SHA-256 (hex) of the fields' normal values; a field that is missing counts as null."""
    return hashlib.sha256(canonical([[name, values.get(name)] for name in sorted(fields)])).hexdigest()


def differences(ours: Mapping[str, Json], theirs: Mapping[str, Json], fields: Collection[str]) -> tuple[str, ...]:
    """Names of the fields whose normal values differ."""
    return tuple(sorted(name for name in fields if ours.get(name) != theirs.get(name)))


def keyed(value: Json, key: bytes) -> str:
    """HMAC-SHA256 (hex) of a normal value: tells whether it changed, and nothing else."""
    return hmac.new(key, canonical(value), hashlib.sha256).hexdigest()
