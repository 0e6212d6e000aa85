"""The ledger on DynamoDB (moto)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import boto3
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from moto import mock_aws

from omsync.platform.errors import Retryable, Stale
from omsync.sync.ledger import ITEMS_PER_TRANSACTION, DynamoLedger, _decode, _encode
from omsync.sync.records import Hold, Intent, Item, Lease, Mark, RecordKey

KEY = RecordKey("patients", "0b5c5f3e-3d55-5a5e-8a36-2f0e6a1f4c77")


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> Iterator[object]:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    with mock_aws():
        client = boto3.client("dynamodb", region_name="us-east-1")
        client.create_table(
            TableName="ledger",
            KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}],
            AttributeDefinitions=[{"AttributeName": "pk", "AttributeType": "S"}],
            BillingMode="PAY_PER_REQUEST",
        )
        yield client


@pytest.fixture
def ledger(client) -> DynamoLedger:
    return DynamoLedger(client, "ledger", sleep=lambda seconds: None)


def test_an_item_is_read_as_it_was_saved_under_the_next_revision(ledger: DynamoLedger) -> None:
    item = Item(key=KEY, object="Account", salesforce_id="001A", version=3, save=7, base={"phone": Mark("k1:x", 2, 100)})
    [saved] = ledger.save([item])
    assert saved == replace(item, revision=1)
    assert ledger.read([KEY, RecordKey("patients", "other")]) == [saved, None]


def test_a_save_from_a_revision_that_moved_is_stale_and_changes_nothing(ledger: DynamoLedger) -> None:
    [first] = ledger.save([Item(key=KEY)])
    assert isinstance(first, Item)
    [second] = ledger.save([replace(first, version=2)])
    [late] = ledger.save([replace(first, version=9)])
    assert isinstance(late, Stale)
    assert ledger.read([KEY]) == [second]


def test_of_two_that_create_an_item_one_is_stale(ledger: DynamoLedger) -> None:
    answers = [ledger.save([Item(key=KEY, version=version)])[0] for version in (1, 2)]
    assert isinstance(answers[0], Item)
    assert isinstance(answers[1], Stale)


def test_one_stale_item_stops_none_of_its_neighbours(ledger: DynamoLedger) -> None:
    ledger.save([Item(key=KEY)])
    others = [Item(key=RecordKey("orders", str(number))) for number in range(40)]
    answers = ledger.save([*others[:20], Item(key=KEY), *others[20:]])
    assert [type(answer) for answer in answers] == [Item] * 20 + [Stale] + [Item] * 20


def test_of_many_those_that_moved_are_named_and_the_others_saved_with_one_more_call(ledger: DynamoLedger) -> None:
    [mover] = ledger.save([Item(key=KEY, salesforce_id="001A", version=7)])
    calls: list[str] = []
    ledger.client.meta.events.register("before-call.dynamodb", lambda model, **_: calls.append(model.name))
    many = [Item(key=RecordKey("orders", str(number)), salesforce_id=f"801{number}") for number in range(ITEMS_PER_TRANSACTION - 1)]
    answers = ledger.save_many([*many[:20], Item(key=KEY, salesforce_id="001Z"), *many[20:]])
    assert [type(answer) for answer in answers] == [Item] * 20 + [Stale] + [Item] * 29
    assert calls == ["TransactWriteItems"] * 2
    assert ledger.read([KEY, many[40].key]) == [mover, replace(many[40], revision=1)]
    assert ledger.find(["8013", "001Z"]) == [many[3].key, None]


def test_a_transaction_that_somebody_disturbs_is_written_one_by_one(ledger: DynamoLedger, monkeypatch: pytest.MonkeyPatch) -> None:
    reasons = {"Error": {"Code": "TransactionCanceledException", "Message": ""}, "CancellationReasons": [{"Code": "TransactionConflict"}]}

    def disturbed(**_: object) -> None:
        raise ledger.client.exceptions.TransactionCanceledException(reasons, "TransactWriteItems")

    monkeypatch.setattr(ledger.client, "transact_write_items", disturbed)
    [saved, moved] = ledger.save_many([Item(key=KEY, version=3), Item(key=RecordKey("orders", "1"), revision=4)])
    assert saved == Item(key=KEY, version=3, revision=1)
    assert isinstance(moved, Stale)


def test_a_salesforce_id_finds_its_record_and_so_does_a_former_one(ledger: DynamoLedger) -> None:
    [saved] = ledger.save([Item(key=KEY, salesforce_id="001A")])
    assert isinstance(saved, Item)
    ledger.save([replace(saved, salesforce_id="001B")])
    assert ledger.find(["001B", "001A", "001C", "001B"]) == [KEY, KEY, None, KEY]


def test_a_known_pointer_is_written_once(client, ledger: DynamoLedger, monkeypatch: pytest.MonkeyPatch) -> None:
    [saved] = ledger.save([Item(key=KEY, salesforce_id="001A")])
    put, written = client.put_item, []
    monkeypatch.setattr(client, "put_item", lambda **kwargs: (written.append(kwargs["Item"]["pk"]["S"]), put(**kwargs))[1])
    fresh = DynamoLedger(client, "ledger")
    fresh.read([KEY])
    fresh.save([saved])
    assert written == [f"patients#{KEY.id}"]


def test_hundreds_of_keys_are_read_in_hundreds(ledger: DynamoLedger) -> None:
    items = [Item(key=RecordKey("orders", str(number)), version=number + 1) for number in range(250)]
    ledger.save(items)
    found = ledger.read([item.key for item in items])
    assert [item.version for item in found if isinstance(item, Item)] == list(range(1, 251))


def test_a_key_named_twice_is_read_once(ledger: DynamoLedger) -> None:
    [saved] = ledger.save([Item(key=KEY)])
    assert ledger.read([KEY, KEY]) == [saved, saved]


def test_what_dynamodb_leaves_unprocessed_for_good_is_retryable(client, ledger: DynamoLedger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "batch_get_item", lambda **asked: {"Responses": {}, "UnprocessedKeys": asked["RequestItems"]})
    with pytest.raises(Retryable):
        ledger.read([KEY])


def test_throttling_is_retryable_for_each_item(client, ledger: DynamoLedger, monkeypatch: pytest.MonkeyPatch) -> None:
    def throttled(**kwargs: object) -> None:
        raise client.exceptions.ProvisionedThroughputExceededException(
            {"Error": {"Code": "ProvisionedThroughputExceededException"}}, "PutItem"
        )

    monkeypatch.setattr(client, "put_item", throttled)
    assert [type(answer) for answer in ledger.save([Item(key=KEY), Item(key=RecordKey("orders", "1"))])] == [Retryable, Retryable]


names = st.text("abcdef_.", min_size=1, max_size=8)
counts = st.integers(0, 2**53)
times = st.none() | st.integers(-1, 2**53)
marks = st.builds(Mark, names, counts, times)
units = st.dictionaries(names, marks, max_size=3)
intents = st.builds(
    Intent,
    id=names,
    patches=st.booleans(),
    to_oms=units,
    to_salesforce=units,
    seen=counts,
    gone=st.none() | st.booleans(),
    births=st.lists(units, max_size=2).map(tuple),
)
items = st.builds(
    Item,
    key=st.just(KEY),
    revision=counts,
    object=st.none() | names,
    salesforce_id=st.none() | names,
    buried=st.none() | names,
    version=st.none() | counts,
    save=counts,
    base=units,
    held=st.dictionaries(names, st.builds(Hold, names, st.sampled_from(("conflict", "refused")), counts, times), max_size=2),
    intent=st.none() | intents,
    afloat=st.lists(intents, max_size=2).map(tuple),
    gone=st.booleans(),
    merged_into=st.none() | names,
    relink=st.booleans(),
    lease=st.none() | st.builds(Lease, names, counts),
    files=names | st.just(""),
    mapping=names | st.just(""),
)


@settings(max_examples=300, suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(items)
def test_nothing_of_an_item_is_lost(item: Item) -> None:
    assert _decode(KEY, _encode(item, item.revision)) == item
