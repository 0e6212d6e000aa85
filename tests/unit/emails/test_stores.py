"""The emails' tables against DynamoDB as moto plays it, held to what their fakes promise in the other tests."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError
from moto import mock_aws

from omsync.emails.claims import LEASE_SECONDS, Claim
from omsync.emails.stores import (
    BOUNCES,
    COMPLAINTS,
    ENOUGH,
    PUBLISH_SECONDS,
    REMEMBERED_SECONDS,
    SKIP_SECONDS,
    DynamoClaims,
    DynamoPublished,
    DynamoReputation,
    DynamoSkips,
    DynamoSuppressions,
)
from omsync.platform.errors import Retryable

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

CLAIM, DAY = "finish-intake:7:3", "patient/2026-03-02"
AT = "2026-03-02T18:00:00+00:00"


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> Iterator[DynamoDBClient]:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    with mock_aws():
        dynamo = boto3.client("dynamodb", region_name="us-east-1", config=Config(retries={"total_max_attempts": 1}))
        for name, keys in (("claims", ["pk"]), ("state", ["pk"]), ("suppressed", ["pk"]), ("skips", ["pk", "sk"])):
            dynamo.create_table(
                TableName=name,
                KeySchema=[{"AttributeName": key, "KeyType": kind} for key, kind in zip(keys, ("HASH", "RANGE"), strict=False)],
                AttributeDefinitions=[{"AttributeName": key, "AttributeType": "S"} for key in keys],
                BillingMode="PAY_PER_REQUEST",
            )
        yield dynamo


@pytest.fixture
def claims(client: DynamoDBClient) -> DynamoClaims:
    return DynamoClaims(client, "claims")


# ------------------------------------------------------------------------------------------------------------- claims
def test_a_claim_has_one_owner(claims: DynamoClaims) -> None:
    assert claims.read(CLAIM) is None
    assert claims.take(CLAIM, "me", 1000.0, cap=None) == "taken"
    assert claims.take(CLAIM, "you", 1000.0 + 10 * LEASE_SECONDS, cap=None) == "held", "an expired claim is never taken again"
    assert claims.take(CLAIM, "me", 1000.0, cap=None) == "held", "not by its owner either"
    assert claims.read(CLAIM) == Claim(CLAIM, "claimed", "me", 1000.0 + LEASE_SECONDS)


def test_of_many_takers_one_gets_it(claims: DynamoClaims) -> None:
    start = threading.Barrier(8)

    def take(number: int) -> str:
        start.wait(10)
        return claims.take(CLAIM, f"taker {number}", 1000.0, cap=DAY)

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(take, range(8)))
    assert answers.count("taken") == 1
    assert set(answers) == {"taken", "held"}


def test_only_the_owner_marks_it_sent(claims: DynamoClaims) -> None:
    claims.take(CLAIM, "me", 1000.0, cap=None)
    claims.sent(CLAIM, "you", message_id="m-0", at=AT)
    assert state(claims) == "claimed"
    claims.sent(CLAIM, "me", message_id="m-1", at=AT)
    assert claims.read(CLAIM) == Claim(CLAIM, "sent", "me", 1000.0 + LEASE_SECONDS, "m-1", AT)
    claims.logged(CLAIM)
    held = claims.read(CLAIM)
    assert held is not None
    assert held.logged


def test_a_refusal_gives_the_claim_and_its_day_back(claims: DynamoClaims) -> None:
    claims.take(CLAIM, "me", 1000.0, cap=DAY)
    claims.release(CLAIM, "you", cap=DAY)
    assert state(claims) == "claimed", "it is not yours"
    assert claims.take("other:1:1", "me", 1000.0, cap=DAY) == "capped", "nor is the day"
    claims.release(CLAIM, "me", cap=DAY)
    assert claims.read(CLAIM) is None
    assert claims.take("other:1:1", "me", 1000.0, cap=DAY) == "taken"


@pytest.mark.parametrize("end", ["sent", "confirmed", "given up"])
def test_what_is_settled_is_released_no_more(claims: DynamoClaims, end: str) -> None:
    claims.take(CLAIM, "me", 1000.0, cap=DAY)
    settle: dict[str, Callable[[], object]] = {
        "sent": lambda: claims.sent(CLAIM, "me", message_id="m", at=AT),
        "confirmed": lambda: claims.confirm(CLAIM, message_id="m", at=AT),
        "given up": lambda: claims.give_up(CLAIM, "me"),
    }
    settle[end]()
    before = claims.read(CLAIM)
    claims.release(CLAIM, "me", cap=DAY)
    assert claims.read(CLAIM) == before
    assert claims.take(CLAIM, "you", 1000.0, cap=DAY) == "held"


def test_a_cap_is_a_patients_day_and_taken_with_the_claim(claims: DynamoClaims) -> None:
    assert claims.take("a:1:1", "me", 1000.0, cap=DAY) == "taken"
    assert claims.take("b:1:1", "me", 1000.0, cap=DAY) == "capped"
    assert claims.read("b:1:1") is None, "a skip takes no claim"
    assert claims.take("b:1:1", "me", 1000.0, cap="patient/2026-03-03") == "taken"
    assert claims.take("c:1:1", "me", 1000.0, cap="other/2026-03-02") == "taken"


def test_ses_settles_a_claim_and_only_one_that_is_there(claims: DynamoClaims) -> None:
    assert not claims.confirm(CLAIM, message_id="m", at=AT)
    assert claims.read(CLAIM) is None, "another system's email makes no claim"
    claims.take(CLAIM, "me", 1000.0, cap=None)
    assert claims.confirm(CLAIM, message_id="m-ses", at=AT)
    assert not claims.confirm(CLAIM, message_id="m-late", at=AT)
    claims.sent(CLAIM, "me", message_id="m-mine", at=AT)
    held = claims.read(CLAIM)
    assert held is not None
    assert (held.state, held.message_id) == ("sent", "m-ses")


def test_who_gives_up_does_so_once_and_ses_may_still_know_better(claims: DynamoClaims) -> None:
    claims.take(CLAIM, "me", 1000.0, cap=None)
    assert not claims.give_up(CLAIM, "you")
    assert claims.give_up(CLAIM, "me")
    assert not claims.give_up(CLAIM, "me")
    assert state(claims) == "unknown"
    assert claims.confirm(CLAIM, message_id="m", at=AT)
    assert state(claims) == "sent"


def test_the_newest_trigger_is_remembered(claims: DynamoClaims) -> None:
    assert [claims.newest_trigger("f", "e", version) for version in (3, 5, 4)] == [3, 5, 5]
    assert claims.newest_trigger("f", "other", 1) == 1


def test_a_link_is_used_once(claims: DynamoClaims) -> None:
    assert not claims.token_used("t")
    claims.use_token("t")
    claims.use_token("t")
    assert claims.token_used("t")
    assert claims.read(CLAIM) is None


def state(claims: DynamoClaims) -> str:
    held = claims.read(CLAIM)
    assert held is not None
    return held.state


# -------------------------------------------------------------------------------------------- published transitions
def test_a_transition_is_published_once(client: DynamoDBClient) -> None:
    now = [1000.0]
    published = DynamoPublished(client, "state", lambda: now[0])
    assert published.begin("orders/1@2") == "mine"
    assert published.begin("orders/1@2") == "busy"
    now[0] += PUBLISH_SECONDS + 1
    assert published.begin("orders/1@2") == "mine", "its publisher died"
    published.done("orders/1@2")
    now[0] += 10 * PUBLISH_SECONDS
    assert published.begin("orders/1@2") == "done"
    item = client.get_item(TableName="state", Key={"pk": {"S": "transition/orders/1@2"}})["Item"]
    assert int(item["expires_at"]["N"]) == 1000 + PUBLISH_SECONDS + 1 + REMEMBERED_SECONDS


def test_what_the_bus_refused_is_taken_on_again(client: DynamoDBClient) -> None:
    published = DynamoPublished(client, "state")
    assert published.begin("orders/1@2") == "mine"
    published.undo("orders/1@2")
    assert published.begin("orders/1@2") == "mine"


# ---------------------------------------------------------------------------------------- suppressions, skips, reputation
def test_a_suppressed_address_is_known_in_any_case_and_the_first_reason_stays(client: DynamoDBClient) -> None:
    suppressions = DynamoSuppressions(client, "suppressed", (b"key",), lambda: 0.0)
    suppressions.add("Zoe@Example.com ", "bounce")
    suppressions.add("zoe@example.com", "complaint")
    assert suppressions.reason(["ZOE@example.com", "ada@example.com"]) == {"ZOE@example.com": "bounce"}
    assert "example" not in str(client.scan(TableName="suppressed")["Items"]).lower(), "the table is no list of addresses"


def test_what_was_suppressed_before_a_rotation_stays_suppressed(client: DynamoDBClient) -> None:
    DynamoSuppressions(client, "suppressed", (b"old",)).add("zoe@example.com", "complaint")
    rotated = DynamoSuppressions(client, "suppressed", (b"new", b"old"))
    assert rotated.reason(["zoe@example.com"]) == {"zoe@example.com": "complaint"}
    rotated.add("ada@example.com", "bounce")
    assert DynamoSuppressions(client, "suppressed", (b"new",)).reason(["ada@example.com", "zoe@example.com"]) == {
        "ada@example.com": "bounce"
    }


def test_a_skip_is_noted_as_often_as_it_happens(client: DynamoDBClient) -> None:
    now = [0.0]
    skips = DynamoSkips(client, "skips", lambda: now[0])
    for now[0] in (10.0, 20.0):
        skips.note(CLAIM, "finish-intake", "opted_out")
    items = client.scan(TableName="skips")["Items"]
    assert {(item["pk"]["S"], item["flow"]["S"], item["reason"]["S"]) for item in items} == {(CLAIM, "finish-intake", "opted_out")}
    assert sorted(int(item["expires_at"]["N"]) for item in items) == [10 + SKIP_SECONDS, 20 + SKIP_SECONDS]


@pytest.mark.parametrize(
    ("sent", "bounced", "complained", "endangered"),
    [
        (ENOUGH, 0, 0, False),
        (ENOUGH, int(BOUNCES * ENOUGH), 0, True),
        (ENOUGH, int(BOUNCES * ENOUGH) - 1, 0, False),
        (ENOUGH - 1, ENOUGH // 2, 0, False),
        (10_000, 0, int(COMPLAINTS * 10_000), True),
        (10_000, 0, int(COMPLAINTS * 10_000) - 1, False),
    ],
)
def test_marketing_stops_below_what_makes_ses_review(
    client: DynamoDBClient, sent: int, bounced: int, complained: int, endangered: bool
) -> None:
    now = [86_400.0 * 100]
    reputation = DynamoReputation(client, "state", lambda: now[0])
    reputation.count("sent", sent)
    now[0] += 3 * 86_400  # a week counts
    reputation.count("bounced", bounced)
    reputation.count("complained", complained)
    assert reputation.endangered() is endangered
    now[0] += 8 * 86_400
    assert not reputation.endangered(), "long ago"


def test_what_was_looked_at_is_believed_for_a_minute(client: DynamoDBClient) -> None:
    now = [86_400.0]
    reputation = DynamoReputation(client, "state", lambda: now[0])
    assert not reputation.endangered()
    reputation.count("sent", ENOUGH)
    reputation.count("complained", ENOUGH)
    now[0] += 59
    assert not reputation.endangered()
    now[0] += 2
    assert reputation.endangered()


# ----------------------------------------------------------------------------------------------------------- no answer
@pytest.mark.parametrize(
    "ask",
    [
        lambda c: DynamoClaims(c, "claims").take(CLAIM, "me", 0.0, cap=DAY),
        lambda c: DynamoClaims(c, "claims").read(CLAIM),
        lambda c: DynamoClaims(c, "claims").sent(CLAIM, "me", message_id="m", at=AT),
        lambda c: DynamoClaims(c, "claims").release(CLAIM, "me", cap=DAY),
        lambda c: DynamoClaims(c, "claims").use_token("t"),
        lambda c: DynamoPublished(c, "state").begin("k"),
        lambda c: DynamoPublished(c, "state").done("k"),
        lambda c: DynamoPublished(c, "state").undo("k"),
        lambda c: DynamoSuppressions(c, "suppressed", (b"key",)).reason(["a@example.com"]),
        lambda c: DynamoSuppressions(c, "suppressed", (b"key",)).add("a@example.com", "bounce"),
        lambda c: DynamoSkips(c, "skips").note(CLAIM, "f", "r"),
        lambda c: DynamoReputation(c, "state").endangered(),
    ],
)
def test_a_table_that_throttles_is_asked_again_later(client: DynamoDBClient, ask: Callable[[Any], object]) -> None:
    with pytest.raises(Retryable):
        ask(Throttled(client))


def test_counting_may_fail(client: DynamoDBClient) -> None:
    """A figure is lost, not an email."""
    DynamoReputation(Throttled(client), "state").count("sent")  # type: ignore[arg-type]


class Throttled:
    """A client every call of which is throttled."""

    def __init__(self, client: DynamoDBClient) -> None:
        self.exceptions = client.exceptions

    def __getattr__(self, name: str) -> Callable[..., object]:
        def refuse(**_request: object) -> object:
            raise ClientError({"Error": {"Code": "ThrottlingException"}, "ResponseMetadata": {"HTTPStatusCode": 400}}, name)  # type: ignore[typeddict-item]

        return refuse
