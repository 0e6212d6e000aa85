"""The OMS as the synchroniser sees it: one answer for each question, in order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from omsync.oms.errors import ColumnError, Rejected
from omsync.oms.rows import NO_VERSION, OmsRows, as_row
from omsync.platform.errors import Retryable, Stale
from omsync.platform.times import microseconds
from omsync.sync.ports import Creation, Inquiry, Patch, Refused
from omsync.sync.records import RecordKey

ORDER = RecordKey("orders", "00000000-0000-4000-8000-000000000001")
ROW = {"id": ORDER.id, "version": 3, "changed_by": "web", "deleted_at": None, "edited_at": {"hold_reason": "2026-11-22T10:00:00.000001Z"}}


@dataclass
class Client:
    answers: dict[str, Any] = field(default_factory=dict)
    patched: list[tuple[Mapping[str, object], int | None, str]] = field(default_factory=list)

    def batch_get(self, table: str, ids: Sequence[str]) -> dict[str, dict[str, Any]]:
        return {ORDER.id: ROW} if table == "orders" and ORDER.id in ids else {}

    def patch(self, table: str, row_id: str, values: Mapping[str, object], *, version: int | None, key: str) -> dict[str, Any]:
        self.patched.append((values, version, key))
        return self._answer(key)

    def create(self, table: str, row: Mapping[str, object], *, key: str) -> dict[str, Any]:
        self.patched.append((row, None, key))
        return self._answer(key)

    def _answer(self, key: str) -> dict[str, Any]:
        answer = self.answers.get(key, ROW)
        if isinstance(answer, Exception):
            raise answer
        return answer


def rows(**answers: Any) -> tuple[OmsRows, Client]:
    client = Client(answers)
    return OmsRows(client), client  # type: ignore[arg-type]


def test_rows_come_back_in_the_order_asked_and_none_for_what_is_not_there() -> None:
    other = RecordKey("orders", "00000000-0000-4000-8000-000000000002")
    first, second, third = rows()[0].read([other, ORDER, RecordKey("patients", ORDER.id)])
    assert (first, third) == (None, None)
    assert second is not None
    assert second.key == ORDER  # type: ignore[union-attr]


def test_the_times_of_edits_keep_their_microseconds() -> None:
    assert as_row("orders", ROW).edited_at == {"hold_reason": microseconds("2026-11-22T10:00:00Z") + 1}


def test_an_oms_that_keeps_no_times_says_so() -> None:
    assert as_row("orders", {key: value for key, value in ROW.items() if key != "edited_at"}).edited_at is None


def test_one_refused_patch_is_not_its_neighbour_s() -> None:
    refusal = Rejected((ColumnError("status", "no"),))
    answers = rows(bad=refusal, stale=Stale("moved"), away=Retryable("x"))[0].patch(
        [Patch(ORDER, key, 3, {}) for key in ("good", "bad", "stale", "away")]
    )
    assert [type(answer).__name__ for answer in answers] == ["OmsRow", "Refused", "Stale", "Retryable"]
    assert isinstance(answers[1], Refused)
    assert answers[1].columns == ("status",)


def test_an_unused_key_is_used_up_by_a_patch_that_no_row_can_match() -> None:
    port, client = rows(unused=Stale("412"))
    assert port.settle([Inquiry(ORDER, "unused")]) == [None]
    assert client.patched == [({}, NO_VERSION, "unused")]


def test_a_used_key_tells_what_it_did() -> None:
    [row] = rows()[0].settle([Inquiry(ORDER, "used")])
    assert row == as_row("orders", ROW)


def test_an_outage_while_settling_is_not_taken_for_an_answer() -> None:
    [answer] = rows(k=Retryable("away"))[0].settle([Inquiry(ORDER, "k")])
    assert isinstance(answer, Retryable)


def test_a_create_brings_its_id() -> None:
    port, client = rows()
    port.create([Creation(ORDER, "k", {"order_type": "new"})])
    assert client.patched[0][0] == {"order_type": "new", "id": ORDER.id}
