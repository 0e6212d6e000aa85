"""The API budget: bulk work leaves live traffic its reserve, and what is left is spread over the day."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import boto3
import pytest
from moto import mock_aws

from omsync.platform.errors import Retryable
from omsync.platform.settings import Migration
from omsync.sync.budget import FRESH_SECONDS, Noted, spread
from omsync.sync.limits import DAY_SECONDS, REQUESTS_PER_WINDOW, SHORT, WINDOWS, Usage, window
from omsync.sync.stores import DynamoBudget, EventSourceWindows


@dataclass
class House:
    """A round's surroundings."""

    noted: Noted | None = None
    asked: int = 0
    windows: list[int] = field(default_factory=list)
    gauged: list[Usage] = field(default_factory=list)

    def read(self) -> Noted | None:
        return self.noted

    def note(self, usage: Usage) -> None:
        self.noted = Noted(usage, 10_000.0)

    def stretch(self, seconds: int) -> None:
        self.windows.append(seconds)

    def budget(self, usage: Usage) -> None:
        self.gauged.append(usage)

    def ask(self) -> Usage:
        self.asked += 1
        return Usage(50, 100_000)

    def round(self, ask: Callable[[], Usage] | None = None) -> int:
        return spread(self, ask or self.ask, self, self, lambda: 10_000.0)


def test_bulk_work_pauses_first() -> None:
    """With live traffic as quick as ever; that it pauses is the migration's own test."""
    assert Migration.model_fields["api_reserve"].default > SHORT
    assert [window(Usage(used, 100_000)) for used in (0, 80_001, 90_000)] == [1, 1, 1]
    assert window(Usage(90_001, 100_000)) > 1


@pytest.mark.parametrize("total", [15_000, 100_000, 1_000_000, 5_000_000])
def test_what_is_left_lasts_for_the_day(total: int) -> None:
    """As long as SQS's longest window allows it."""
    for used in range(total - total // 10 + 1, total, max(1, total // 1000)):
        usage = Usage(used, total)
        cost = DAY_SECONDS / window(usage) * REQUESTS_PER_WINDOW
        assert cost <= usage.left or window(usage) == WINDOWS[-1]


def test_the_less_is_left_the_longer_the_window() -> None:
    windows = [window(Usage(used, 100_000)) for used in range(100_001)]
    assert windows == sorted(windows)
    assert set(windows) <= set(WINDOWS)


def test_an_exhausted_org_is_not_usable_until_some_is_free_again() -> None:
    assert [Usage(used, 1000).usable for used in (1000, 999, 991, 990)] == [False, False, False, True]
    assert not Usage(0, 0).usable


def test_the_round_spends_no_request_on_what_an_answer_has_just_told() -> None:
    house = House(noted=Noted(Usage(95_000, 100_000), 10_000.0 - FRESH_SECONDS))
    assert house.round() == 300
    assert (house.asked, house.windows, house.gauged) == (0, [300], [Usage(95_000, 100_000)])


def test_what_was_noted_long_ago_is_asked_again() -> None:
    house = House(noted=Noted(Usage(99_000, 100_000), 10_000.0 - FRESH_SECONDS - 1))
    assert house.round() == 1
    assert (house.asked, house.windows) == (1, [1])
    assert house.noted == Noted(Usage(50, 100_000), 10_000.0)


def test_an_org_that_does_not_answer_leaves_the_windows_as_they_are() -> None:
    def away() -> Usage:
        raise Retryable("away", code="HTTP_503")

    house = House()
    with pytest.raises(Retryable):
        house.round(away)
    assert house.windows == []


@pytest.fixture
def session(monkeypatch: pytest.MonkeyPatch) -> Iterator[boto3.Session]:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    with mock_aws():
        yield boto3.Session(region_name="us-east-1")


def test_the_note_is_kept_in_the_state_table(session: boto3.Session) -> None:
    dynamodb = session.client("dynamodb")
    dynamodb.create_table(
        TableName="state",
        KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "pk", "AttributeType": "S"}],
        BillingMode="PAY_PER_REQUEST",
    )
    store = DynamoBudget(dynamodb, "state", lambda: 12.5)
    assert store.read() is None
    store.note(Usage(1, 100))
    store.note(Usage(2, 100))
    assert store.read() == Noted(Usage(2, 100), 12.5)


class Busy(Exception):
    """A mapping is being changed."""


class Lambda:
    """Event source mappings of one queue each."""

    class exceptions:  # noqa: N801  (boto3's name)
        ResourceInUseException = Busy

    def __init__(self, **windows: int) -> None:
        self.windows, self.busy, self.updates = windows, set[str](), 0

    def list_event_source_mappings(self, *, EventSourceArn: str) -> dict[str, Any]:  # noqa: N803
        return {"EventSourceMappings": [{"UUID": EventSourceArn, "MaximumBatchingWindowInSeconds": self.windows[EventSourceArn]}]}

    def update_event_source_mapping(self, *, UUID: str, MaximumBatchingWindowInSeconds: int) -> None:  # noqa: N803
        if UUID in self.busy:
            raise Busy
        self.updates += 1
        self.windows[UUID] = MaximumBatchingWindowInSeconds


def test_windows_are_set_where_they_differ_and_isolation_has_none() -> None:
    api: Any = Lambda(mirror=1, sync=1, isolation=0)
    windows = EventSourceWindows(api, ["mirror", "sync", "isolation"])
    api.busy.add("sync")
    windows.stretch(40)
    assert api.windows == {"mirror": 40, "sync": 1, "isolation": 0}
    api.busy.clear()
    windows.stretch(40)
    windows.stretch(40)
    assert (api.windows, api.updates) == ({"mirror": 40, "sync": 40, "isolation": 0}, 2)
