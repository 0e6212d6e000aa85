"""A write that is answered once: Idempotency-Key, its first answer, and the transaction that holds both.

The key is claimed before the work and the answer is kept beside it, all in the work's own transaction: there is no moment
at which the work is done and the key is not. A second caller with the same key waits for the first and gets its answer.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, replace

import psycopg
from fastapi.responses import Response

from .problems import MEDIA_TYPE, Problem, from_database
from .store import Caller, Connection, Store

#: refusals that stay true under their key. Not 404, 503, or a parent that is missing: the same request may be right later.
KEPT = (409, 412, 422)

#: fingerprint of a request that only asks: equal to any other
INQUIRY = ""


@dataclass(frozen=True)
class Answer:
    """What a write says. `body` is JSON text."""

    status: int
    body: str
    version: int | None = None
    replayed: bool = False

    def response(self) -> Response:
        headers = {} if self.version is None else {"ETag": f'"{self.version}"'}
        if self.replayed:
            headers["Idempotent-Replayed"] = "true"
        return Response(self.body, self.status, media_type=MEDIA_TYPE if self.status >= 400 else "application/json", headers=headers)


@dataclass(frozen=True)
class Key:
    """An Idempotency-Key with the request it stands for. A command's key belongs to no client and is kept for good.

    A PATCH of nothing asks what became of the key: it gets the first answer whatever that request held, and uses an unused key up.
    """

    client_id: str
    value: str
    fingerprint: str

    @classmethod
    def of(cls, caller: Caller, value: str | None, request: str, body: object, *, command: bool = False) -> Key | None:
        if value is None:
            return None
        content = f"{request} {json.dumps(body, sort_keys=True, default=str)}"
        asks = body == {} and request.startswith("PATCH")
        return cls("" if command else caller.client_id, value, INQUIRY if asks else hashlib.sha256(content.encode()).hexdigest())


def write(store: Store, caller: Caller, key: Key | None, work: Callable[[Connection], Answer]) -> Answer:
    """Do `work` in one transaction; under `key`, do it once and answer the same ever after. Raises `Problem`."""

    def attempt(connection: Connection) -> Answer:
        if key is None:
            return work(connection)
        first = _first_answer(connection, key)
        if first is not None:
            return first
        try:
            with connection.transaction():  # a refusal undoes the work, not the key
                answer = work(connection)
        except (Problem, psycopg.Error) as refusal:
            problem = refusal if isinstance(refusal, Problem) else from_database(refusal)
            if problem is None or problem.status not in KEPT or not problem.final:
                raise
            etag = problem.headers.get("ETag", "").strip('"')
            answer = Answer(problem.status, problem.body(), int(etag) if etag else None)
        connection.execute(
            "UPDATE idempotency_keys SET status = %s, version = %s, body = %s WHERE client_id = %s AND key = %s",
            [answer.status, answer.version, answer.body, key.client_id, key.value],
        )
        return answer

    return store.run(caller, attempt)


def _first_answer(connection: Connection, key: Key) -> Answer | None:
    """Claim the key (waiting for whoever is claiming it now); the answer it has, if it was claimed before."""
    claimed = connection.execute(
        "INSERT INTO idempotency_keys (client_id, key, fingerprint) VALUES (%s, %s, %s) ON CONFLICT DO NOTHING RETURNING key",
        [key.client_id, key.value, key.fingerprint],
    ).fetchone()
    if claimed:
        return None
    found = connection.execute(
        "SELECT fingerprint, status, version, body FROM idempotency_keys WHERE client_id = %s AND key = %s", [key.client_id, key.value]
    ).fetchone()
    assert found is not None
    if INQUIRY not in (found[0], key.fingerprint) and found[0] != key.fingerprint:
        raise Problem(422, "This Idempotency-Key was used for another request.")
    return replace(Answer(found[1], found[3], found[2]), replayed=True)


#: a command's key (no client) is kept for good; an event stays as long as anybody could still ask for it
PRUNE = """
    WITH old_keys AS (
        DELETE FROM idempotency_keys WHERE client_id <> '' AND created_at < now() - interval '7 days'
    )
    DELETE FROM outbox o
    WHERE written_at < now() - interval '14 days'
      AND NOT EXISTS (SELECT FROM outbox_pending p WHERE p.seq = o.seq)
      AND NOT EXISTS (SELECT FROM outbox_parked p WHERE p.seq = o.seq)
"""


def prune(connection: Connection) -> None:
    """Forget keys older than 7 days and events older than 14 that are delivered."""
    connection.execute(PRUNE)
