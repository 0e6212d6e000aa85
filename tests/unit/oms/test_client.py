"""The OMS client against canned answers: tokens, preconditions, repeats and what an error becomes."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import requests
from requests.adapters import BaseAdapter

from omsync.oms.client import ATTEMPTS, BATCH_IDS, FILTER_IDS, Connection, OmsClient
from omsync.oms.errors import Rejected
from omsync.platform.errors import Permanent, Retryable, Stale
from omsync.platform.http import TimeoutSession

type Answer = tuple[int, Any] | Exception


@dataclass
class Oms(BaseAdapter):
    """An OMS that answers what the test says."""

    answers: list[Answer]
    asked: list[requests.PreparedRequest] = field(default_factory=list)
    tokens: int = 0

    def send(self, request: requests.PreparedRequest, *args: Any, **kwargs: Any) -> requests.Response:  # type: ignore[override]
        assert kwargs["timeout"], "a call without a time-out"
        if str(request.url).endswith("/oauth/token"):
            self.tokens += 1
            return self._respond(request, 200, {"access_token": f"t{self.tokens}", "expires_in": 300})
        self.asked.append(request)
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return self._respond(request, *answer)

    @staticmethod
    def _respond(request: requests.PreparedRequest, status: int, body: Any) -> requests.Response:
        response = requests.Response()
        response.status_code, response.request, response.url = status, request, str(request.url)
        response.raw = io.BytesIO(json.dumps(body).encode())
        return response

    def close(self) -> None: ...


@pytest.fixture
def connect() -> Callable[..., tuple[OmsClient, Oms]]:
    def make(*answers: Answer, now: Callable[[], float] = lambda: 0.0) -> tuple[OmsClient, Oms]:
        oms, session = Oms(list(answers)), TimeoutSession()
        session.mount("https://", oms)
        client = OmsClient(Connection("https://oms.example", "omsync", "s3cret"), session=session, now=now, sleep=lambda _: None)
        return client, oms

    return make


def test_a_token_is_used_until_shortly_before_it_expires(connect: Any) -> None:
    clock = [0.0]
    client, oms = connect((200, {"id": "1"}), (200, {"id": "1"}), (200, {"id": "1"}), now=lambda: clock[0])
    client.get("orders", "1")
    client.get("orders", "1")
    clock[0] = 241.0
    client.get("orders", "1")
    assert [request.headers["Authorization"] for request in oms.asked] == ["Bearer t1", "Bearer t1", "Bearer t2"]


def test_a_refused_token_is_replaced_once(connect: Any) -> None:
    client, oms = connect((401, {}), (200, {"id": "1"}))
    assert client.get("orders", "1") == {"id": "1"}
    assert oms.tokens == 2


def test_a_patch_carries_version_key_and_author(connect: Any) -> None:
    client, oms = connect((200, {"id": "1", "version": 8}))
    client.patch("orders", "1", {"ship_city": "Omaha"}, version=7, key="k1")
    sent = oms.asked[0].headers
    assert (sent["If-Match"], sent["Idempotency-Key"], sent["X-Changed-By"]) == ('"7"', "k1", "sync:salesforce")


def test_a_command_is_sent_without_a_version(connect: Any) -> None:
    client, oms = connect((200, {"id": "1"}))
    client.patch("orders", "1", {"requested_action": "cancel"}, version=None, key="k1")
    assert "If-Match" not in oms.asked[0].headers


def test_a_lost_answer_is_asked_for_again_under_the_same_key(connect: Any) -> None:
    client, oms = connect(requests.ConnectionError("reset"), (503, {}), (200, {"id": "1"}))
    client.patch("orders", "1", {"ship_city": "Omaha"}, version=7, key="k1")
    assert [request.headers["Idempotency-Key"] for request in oms.asked] == ["k1", "k1", "k1"]


def test_repeats_are_bounded(connect: Any) -> None:
    client, oms = connect(*[(503, {})] * ATTEMPTS)
    with pytest.raises(Retryable):
        client.get("orders", "1")
    assert len(oms.asked) == ATTEMPTS


def test_a_moved_row_is_stale(connect: Any) -> None:
    client, _ = connect((412, {}))
    with pytest.raises(Stale):
        client.patch("orders", "1", {}, version=7, key="k1")


def test_a_refusal_for_good_names_the_columns(connect: Any) -> None:
    client, _ = connect((422, {"errors": [{"column": "status", "message": "shipped orders cannot be cancelled"}]}))
    with pytest.raises(Rejected) as fault:
        client.patch("orders", "1", {}, version=7, key="k1")
    assert fault.value.field == "status"
    assert fault.value.errors[0].message == "shipped orders cannot be cancelled"


def test_a_row_that_is_not_there_is_none(connect: Any) -> None:
    client, _ = connect((404, {}))
    assert client.get("orders", "1") is None


def test_another_refusal_is_permanent(connect: Any) -> None:
    client, _ = connect((400, {}))
    with pytest.raises(Permanent):
        client.batch_get("orders", ["1"])


def test_many_ids_are_asked_for_in_batches(connect: Any) -> None:
    client, oms = connect((200, {"items": [{"id": "0"}], "missing": []}), (200, {"items": [], "missing": ["500"]}))
    assert client.batch_get("orders", [str(n) for n in range(BATCH_IDS + 1)]) == {"0": {"id": "0"}}
    assert len(oms.asked) == 2


def test_a_page_of_changes_brings_the_cursor_to_save(connect: Any) -> None:
    item = {"id": "1", "version": 3, "change_xid": "740", "changed_by": "web", "deleted_at": None}
    client, _ = connect((200, {"items": [item], "next": "740:1", "xmin": "741", "more": False}))
    page = client.changes("orders", None)
    assert (page.changes[0].version, page.changes[0].deleted, page.next, page.more) == (3, False, "740:1", False)


def test_children_of_many_parents_are_asked_for_in_addresses_that_servers_take(connect: Any) -> None:
    client, oms = connect(*[(200, {"items": [{"id": str(page)}], "next": None}) for page in range(3)])
    parents = [f"00000000-0000-4000-8000-{number:012}" for number in range(2 * FILTER_IDS + 1)]
    assert [row["id"] for row in client.children_of("orders", "patient_id", parents)] == ["0", "1", "2"]
    asked = [str(request.url) for request in oms.asked]
    assert [parent for url in asked for parent in parse_qs(urlsplit(url).query)["patient_id"]] == parents
    assert max(map(len, asked)) < 8000


def test_the_client_says_which_function_asks(connect: Any) -> None:
    client, oms = connect((200, {"xmin": "7"}))
    client.now_cursor()
    assert oms.asked[0].headers["User-Agent"] == "omsync"
