"""The part of EventBridge's event patterns that our rules use, matched as EventBridge does.

Source: EventBridge user guide, "Creating Amazon EventBridge event patterns": a list holds alternatives; an event's list matches if the two
have a member in common; nested objects all have to match; a missing key matches nothing, null only null.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

#: nested names, at whose ends are lists of alternatives (text or null)
type Pattern = dict[str, Any]


def matches(pattern: Mapping[str, Any], event: Mapping[str, Any]) -> bool:
    """Does the rule see the event?"""
    return all(key in event and _one(wanted, event[key]) for key, wanted in pattern.items())


def _one(wanted: object, found: object) -> bool:
    if isinstance(wanted, Mapping):
        return isinstance(found, Mapping) and matches(wanted, found)
    alternatives = wanted if isinstance(wanted, list) else []
    return any(member in alternatives for member in (found if isinstance(found, list) else [found]))
