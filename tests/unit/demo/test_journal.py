"""What the demo remembers, and the summary made of it: nothing is in it that was not seen."""

from __future__ import annotations

import pytest

from local.demo.journal import Journal, Lag, TableCompared, percentile


@pytest.mark.parametrize(
    ("values", "share", "found"),
    [
        ([1.0], 0.5, 1.0),
        ([1.0, 2.0], 0.5, 1.0),
        ([3.0, 1.0, 2.0], 0.5, 2.0),
        ([float(n) for n in range(1, 101)], 0.99, 99.0),
        ([1.0, 9.0], 0.99, 9.0),
    ],
)
def test_percentiles_are_values_that_were_seen(values: list[float], share: float, found: float) -> None:
    assert percentile(values, share) == found


def test_parts_that_were_not_shown_are_not_in_the_summary() -> None:
    assert set(Journal().told()) == {"promises_broken", "steps", "seconds"}


def test_the_summary_adds_up_what_was_seen() -> None:
    journal = Journal()
    journal.lag(Lag(2, 1.5, "oms_to_salesforce"))
    journal.lag(Lag(1, 0.5, "oms_to_salesforce"))
    journal.lag(Lag(1, 0.7, "salesforce_to_oms"))
    journal.summary["sync"] = {"conflicts": 1}
    journal.compared = [TableCompared("orders", 2, 40, 0), TableCompared("patients", 3, 90, 1)]
    told = journal.told()
    assert told["sync"] == {"oms_to_salesforce_seconds": [0.5, 1.5], "salesforce_to_oms_seconds": [0.7], "conflicts": 1}
    assert told["compared"] == {"values": 130, "different": 1}


@pytest.mark.parametrize(
    ("lag", "held_up"),
    [
        (Lag(5, 2, "oms_to_salesforce"), False),  # arrived before
        (Lag(9, 30, "oms_to_salesforce"), True),  # on its way when it began
        (Lag(20, 25, "oms_to_salesforce"), True),
        (Lag(42, 3, "salesforce_to_oms"), True),  # made afterwards, before all was caught up
        (Lag(51, 2, "oms_to_salesforce"), False),
    ],
)
def test_what_the_outage_held_up_is_told_apart(lag: Lag, held_up: bool) -> None:
    journal = Journal(outage=(10, 40), caught_up=50)
    journal.lag(lag)
    assert journal.held_up(lag) == held_up
    assert journal.seconds(lag.direction) == ([] if held_up else [lag.seconds])


def test_broken_promises_name_their_step() -> None:
    journal = Journal()
    journal.begin("pays", "She pays").broken.append("not within 45 s")
    assert journal.broken == ["She pays: not within 45 s"]
    assert journal.told()["steps"] == [{"name": "pays", "seconds": 0.0, "ok": False}]
