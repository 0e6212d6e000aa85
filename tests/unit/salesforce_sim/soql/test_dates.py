"""Date literals cover the days that the SOQL reference says."""

import datetime as dt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from local.salesforce.soql.dates import bounds
from local.salesforce.soql.nodes import DateLiteral
from local.salesforce.soql.parser import COUNTED_DATES, PLAIN_DATES

WEDNESDAY = dt.date(2026, 2, 18)


@pytest.mark.parametrize(
    ("name", "n", "first", "end"),
    [
        ("TODAY", None, "2026-02-18", "2026-02-19"),
        ("YESTERDAY", None, "2026-02-17", "2026-02-18"),
        ("TOMORROW", None, "2026-02-19", "2026-02-20"),
        ("THIS_WEEK", None, "2026-02-15", "2026-02-22"),
        ("LAST_WEEK", None, "2026-02-08", "2026-02-15"),
        ("NEXT_MONTH", None, "2026-03-01", "2026-04-01"),
        ("LAST_MONTH", None, "2026-01-01", "2026-02-01"),
        ("LAST_QUARTER", None, "2025-10-01", "2026-01-01"),
        ("THIS_FISCAL_QUARTER", None, "2026-01-01", "2026-04-01"),
        ("LAST_YEAR", None, "2025-01-01", "2026-01-01"),
        ("LAST_90_DAYS", None, "2025-11-20", "2026-02-19"),
        ("LAST_N_DAYS", 1, "2026-02-17", "2026-02-19"),
        ("NEXT_N_DAYS", 2, "2026-02-19", "2026-02-21"),
        ("N_DAYS_AGO", 3, "2026-02-15", "2026-02-16"),
        ("LAST_N_MONTHS", 2, "2025-12-01", "2026-02-01"),
        ("NEXT_N_FISCAL_YEARS", 1, "2027-01-01", "2028-01-01"),
        ("N_WEEKS_AGO", 1, "2026-02-08", "2026-02-15"),
    ],
)
def test_a_literal_covers_its_days(name: str, n: int | None, first: str, end: str) -> None:
    assert bounds(DateLiteral(name, n), WEDNESDAY) == (dt.date.fromisoformat(first), dt.date.fromisoformat(end))


@given(st.sampled_from(sorted(PLAIN_DATES)), st.dates())
def test_every_plain_literal_is_a_range(name: str, today: dt.date) -> None:
    first, end = bounds(DateLiteral(name, None), today)
    assert first <= end


@given(st.sampled_from(sorted(COUNTED_DATES)), st.integers(0, 999_999_999), st.dates())
def test_a_counted_literal_never_overflows(name: str, n: int, today: dt.date) -> None:
    first, end = bounds(DateLiteral(name, n), today)
    assert first <= end
