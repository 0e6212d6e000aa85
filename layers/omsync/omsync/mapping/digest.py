"""Hashes of normal values, and the one text that is hashed: of a row as a whole here, of a unit in `sync.digests`."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping, Sequence

from pydantic_core import PydanticSerializationError, to_json

from omsync.mapping.model import Json, Target

#: of the derived fields, those that say when and how often, not what
STAMPS = frozenset({"OMS_Version__c", "OMS_Updated_At__c"})


def canonical(value: object) -> bytes:
    """The one text of normal values: compact JSON. Mappings keep the order that they have: what is hashed is given as a list of pairs."""
    try:
        return to_json(value)  # five times as fast as json.dumps, and every value of a migration comes by here twice
    except PydanticSerializationError:  # half a surrogate pair, which UTF-8 has no text for
        return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "surrogatepass")


def compared_fields(target: Target) -> tuple[str, ...]:
    """The fields that reconciliation compares, sorted: neither the stamps nor what Salesforce may change by itself."""
    return tuple(sorted(name for name, field in target.fields.items() if field.compared and name not in STAMPS))


def row_hash(values: Mapping[str, Json], fields: Sequence[str]) -> str:
    """SHA-256 (hex) of the fields' normal values, in the order of `fields`; a field that is missing counts as null."""
    return hashlib.sha256(canonical([values.get(name) for name in fields])).hexdigest()


def differences(ours: Mapping[str, Json], theirs: Mapping[str, Json], fields: Collection[str]) -> tuple[str, ...]:
    """Names of the fields whose normal values differ."""
    return tuple(sorted(name for name in fields if ours.get(name) != theirs.get(name)))
