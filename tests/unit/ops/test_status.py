"""What `omsync status` calls a matter for a person, and what it makes of figures."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest
from click.testing import CliRunner

from omsync.cases import service
from ops import status as module
from ops.connections import Connections
from ops.status import Status, cli, look
from tests.unit.ops.conftest import Account

NOW = datetime.now(UTC)


def test_a_message_in_a_dlq_needs_a_person(account: Account) -> None:
    assert look(account).needs_a_person == []
    account.put("SyncDlq", {"table": "patients", "id": "1"})
    status = look(account)
    assert status.needs_a_person == ["SyncDlq holds 1 messages: omsync redrive sync --all --dry-run, docs/runbook.md#syncdlq"]
    assert status.queues["SyncDlq"]["oldest_seconds"] == pytest.approx(0, abs=5)
    assert len(account.read("SyncDlq")) == 1  # looking left it visible


def test_messages_that_wait_for_work_do_not(account: Account) -> None:
    account.put("SyncQueue", {"table": "patients", "id": "1"})
    status = look(account)
    assert (status.queues["SyncQueue"]["waiting"], status.needs_a_person) == (1, [])
    message = account.sqs.receive_message(QueueUrl=account.queues["SyncQueue"], AttributeNames=["ApproximateReceiveCount"])["Messages"][0]
    assert message["Attributes"]["ApproximateReceiveCount"] == "1"  # ours is the first: a look at the depth is no receive


@pytest.mark.parametrize(("minutes", "person"), [(5, []), (11, ["the breaker of salesforce has been open for 11m"])])
def test_a_breaker_open_for_long_needs_a_person(account: Account, minutes: int, person: list[str]) -> None:
    since = (datetime.now(UTC) - timedelta(minutes=minutes)).timestamp()
    item = {"pk": {"S": "breaker/salesforce"}, "failures": {"N": "3"}, "open_since": {"N": str(since)}}
    account.dynamodb.put_item(TableName="State", Item=item)
    assert [line.rpartition("m")[0] + "m" for line in look(account).needs_a_person] == person  # without the seconds


def test_lags_of_the_last_minutes_are_told_as_percentiles(account: Account) -> None:
    for minutes, seconds in ((1, [0.5, 1.0, 1.5]), (10, [4.0]), (30, [99.0])):
        item = {
            "pk": {"S": f"lag/oms/{datetime.now(UTC) - timedelta(minutes=minutes):%Y-%m-%dT%H:%M}"},
            "seconds": {"L": [{"N": str(one)} for one in seconds]},
        }
        account.dynamodb.put_item(TableName="State", Item=item)  # type: ignore[arg-type]
    lag = look(account).lag
    assert lag["from_oms"] == {"changes": 4, "p50": 1.0, "p95": 4.0, "p99": 4.0, "max": 4.0}
    assert lag["from_salesforce"] == {"changes": 0, "p50": None, "p95": None, "p99": None, "max": None}


def test_who_does_not_answer_is_named_and_hides_nobody(account: Account) -> None:
    status = look(account)  # this account has no CloudFormation stack, hence no Salesforce
    assert "salesforce" in status.not_read
    assert set(status.breakers) == {"salesforce", "oms"}
    assert "MirrorQueue" in status.queues


def test_the_sweeps_cursors_are_told_by_kind_with_the_oldest(account: Account) -> None:
    for feed, minutes in (("oms/patients", 2), ("oms/orders", 90), ("salesforce/Account", 3)):
        at = (NOW - timedelta(minutes=minutes)).isoformat(timespec="seconds")
        account.dynamodb.put_item(TableName="State", Item={"pk": {"S": f"cursor/{feed}"}, "position": {"S": "7"}, "moved_at": {"S": at}})
    sweep = look(account).sweep
    assert isinstance(sweep["oms"], dict)
    assert (sweep["oms"]["feeds"], sweep["oms"]["oldest_feed"]) == (2, "oms/orders")
    assert isinstance(sweep["deleted"], dict)
    assert sweep["deleted"]["feeds"] == 0


def test_the_exit_code_is_the_answer(account: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Connections, "find", classmethod(lambda cls, stack, region: account))
    assert CliRunner().invoke(cli).exit_code == 0
    account.put("MirrorDlq", {})
    done = CliRunner().invoke(cli, ["--json"])
    assert done.exit_code == 1
    [line] = json.loads(done.stdout)["needs_a_person"]
    assert line.startswith("MirrorDlq holds 1 messages: ")
    shown = CliRunner().invoke(cli).stdout
    assert "needs a person: MirrorDlq holds 1 messages" in shown
    assert "open Cases       unknown: Salesforce was not read" in shown, "none is not the same as not known"


@pytest.mark.parametrize(("seconds", "text"), [(None, "-"), (0, "0s"), (59, "59s"), (90, "1m30s"), (3_660, "1h1m"), (90_000, "1d1h")])
def test_spans_are_short(seconds: int | None, text: str) -> None:
    assert module._span(seconds) == text


@pytest.mark.parametrize(
    ("subject", "kind"),
    [
        (service._SUBJECTS["conflict"].format(unit="phone_e164"), "conflict"),
        (service._SUBJECTS["refused"].format(unit="email"), "refused"),
        (service._SUBJECTS["merged"], "merged"),
        ("Sync failure: SyncMessage/patients/X/-", "failure"),
        ("Please look: email unknown", "email_unknown"),
        ("Printer is on fire", "other"),
    ],
)
def test_cases_are_counted_by_what_they_are_about(subject: str, kind: str) -> None:
    assert service.kind_of(subject) == kind


def test_everything_told_is_json() -> None:
    assert json.loads(json.dumps(Status(NOW).as_json()))["needs_a_person"] == []
