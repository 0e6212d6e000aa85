"""Batches are cut by what they bring, not only by how many they are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from types import SimpleNamespace
from typing import Any, cast

from hypothesis import given
from hypothesis import strategies as st

from omsync.mapping import load_mappings
from omsync.platform.bootstrap_sync import OPENED_BYTES, Queue, handler_of
from omsync.platform.queues import Payloads
from omsync.sync.consume import QueueRecord, Result
from omsync.sync.messages import MirrorMessage, SyncMessage
from omsync.sync.portions import PORTION, SHORT, assumed, portions, row_length
from omsync.sync.records import Outcome, RecordRef
from omsync.sync.work import MirrorWorker, SyncWorker, utc_now

ID = "00000000-0000-4000-8000-{:012d}"


@given(st.lists(st.integers(0, 12)), st.integers(1, 20))
def test_no_portion_is_over_the_limit_unless_one_item_is(lengths: list[int], limit: int) -> None:
    cut = list(portions(lengths, lambda length: length, limit))
    assert [length for portion in cut for length in portion] == lengths
    assert all(sum(portion) <= limit or len(portion) == 1 for portion in cut)
    assert all(sum(one) + other[0] > limit for one, other in pairwise(cut)), "as few as may be"


def test_a_row_is_as_long_as_its_texts() -> None:
    assert row_length({"body": "x" * 5000, "answers": {"a": "y" * 300}, "version": 1}) > 5300


def test_what_nobody_has_told_is_taken_from_the_mapping() -> None:
    length = assumed(load_mappings())
    assert length("orders", None) == length(None, "Order") == SHORT
    assert length("clinical_notes", None) == SHORT + 131_072
    assert length(None, "EmailMessage") == SHORT + 2 * 131_072, "as text and as HTML"


class Nobody:
    def observe(self, origin: str, seconds: float) -> None: ...


def test_long_records_are_looked_at_portion_by_portion() -> None:
    seen: list[int] = []

    class Synchroniser:
        def synchronise(self, refs: Sequence[RecordRef], *, deadline: int | None = None) -> list[Outcome]:
            seen.append(len(refs))
            return [Outcome("in_step") for _ in refs]

    worker = SyncWorker(Synchroniser(), lambda _: {}, lambda: 0, Nobody(), utc_now, assumed(load_mappings()))
    told = [SyncMessage(correlation_id="c", origin="oms", table="clinical_notes", id=ID.format(n), length=2000) for n in range(1000)]
    assert len(worker(told)) == 1000
    untold = [SyncMessage(correlation_id="c", origin="sweep", table="clinical_notes", id=ID.format(n)) for n in range(1000)]
    assert len(worker(untold)) == 1000
    most = PORTION // (SHORT + 131_072)
    assert seen == [1000, *[most] * (1000 // most), 1000 % most]


def test_rows_read_from_the_oms_are_written_portion_by_portion() -> None:
    seen: list[int] = []

    class Writer:
        def write(self, messages: Sequence[MirrorMessage]) -> list[Result]:
            seen.append(len(messages))
            return [Result("applied") for _ in messages]

    worker = MirrorWorker(Writer(), Writer(), Nobody(), utc_now, assumed(load_mappings()))
    bare = [MirrorMessage(correlation_id="c", origin="sweep", table="intake_responses", id=ID.format(n), version=1) for n in range(200)]
    assert len(worker(bare)) == 200
    assert seen == [45, 45, 45, 45, 20]


class Bucket:
    """S3 with one long object."""

    def __init__(self, body: str) -> None:
        self.body, self.gets = body, 0

    def put_object(self, **_: Any) -> None: ...

    def get_object(self, **_: Any) -> Mapping[str, Any]:
        self.gets += 1
        return {"Body": SimpleNamespace(read=self.body.encode)}


def test_bodies_by_reference_are_opened_as_far_as_memory_goes_and_the_others_come_again() -> None:
    bucket = Bucket("x" * (OPENED_BYTES // 2))
    payloads = Payloads(cast("Any", bucket), "bucket")
    reference = payloads.put(bucket.body)
    got: list[QueueRecord] = []

    def consume(records: Sequence[QueueRecord], request_id: str) -> list[str]:
        got.extend(records)
        return []

    handler = handler_of(Queue(consume, payloads, lambda: None))
    bodies = ["{}", *[reference] * 4, "{}"]
    event = {
        "Records": [{"messageId": str(n), "body": body, "attributes": {"ApproximateReceiveCount": "1"}} for n, body in enumerate(bodies)]
    }
    context = SimpleNamespace(get_remaining_time_in_millis=lambda: 30_000, aws_request_id="r")
    assert handler(event, cast("Any", context)) == {"batchItemFailures": []}
    assert [record.postponed for record in got] == [False, False, False, True, True, False]
    assert bucket.gets == 2


def test_a_body_longer_than_all_is_opened_alone() -> None:
    bucket = Bucket("x" * (OPENED_BYTES + 1))
    payloads = Payloads(cast("Any", bucket), "bucket")
    got: list[QueueRecord] = []
    handler = handler_of(Queue(lambda records, _: got.extend(records) or [], payloads, lambda: None))
    event = {"Records": [{"messageId": "1", "body": payloads.put(bucket.body), "attributes": {"ApproximateReceiveCount": "1"}}]}
    handler(event, cast("Any", SimpleNamespace(get_remaining_time_in_millis=lambda: 30_000, aws_request_id="r")))
    assert [(record.postponed, record.said == bucket.body) for record in got] == [(False, True)]
