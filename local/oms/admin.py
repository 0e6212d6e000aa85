"""Operating the OMS: where events go, what is parked, simulated faults, who asks how often."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query, Response
from pydantic import BaseModel, ConfigDict

from . import openapi
from .auth import allowed
from .calls import CallCounts, Calls
from .delivery import CHANNEL, DeliveryFile, Target
from .dispatcher import Dispatcher
from .faults import Faults, FaultState
from .problems import Problem
from .store import Caller, Connection, Store

Operator = Annotated[Caller, allowed("oms/admin")]


class Paused(BaseModel):
    model_config = ConfigDict(extra="forbid")
    paused: bool


class DeliveryState(BaseModel):
    """What is on its way. `oldest_seconds` is the age of the oldest event not delivered yet."""

    target: Target | None
    pending: int
    oldest_seconds: float | None
    parked: int
    failures: int
    last_error: str | None


class Parked(BaseModel):
    seq: int
    event: str
    subject: str
    reason: str
    parked_at: str


def router(store: Store, delivery: DeliveryFile, faults: FaultState, calls: CallCounts, dispatcher: Dispatcher | None) -> APIRouter:
    """The routes below /admin."""
    refusals: dict[int | str, dict[str, Any]] = {
        int(code): answer for code, answer in openapi.answers("400", "401", "403", "409", "422", "503").items()
    }
    routes = APIRouter(prefix="/admin", tags=["admin"], responses=refusals)

    @routes.get("/delivery", summary="Where events go, and how many wait")
    def get_delivery(_: Operator) -> DeliveryState:
        row = store.read(lambda c: c.execute(WAITING).fetchone())
        assert row is not None
        return DeliveryState(
            target=delivery.read(),
            pending=row[0],
            oldest_seconds=row[1],
            parked=row[2],
            failures=dispatcher.failures if dispatcher else 0,
            last_error=dispatcher.last_error if dispatcher else None,
        )

    @routes.put("/delivery", summary="Say where events go; those that wait are delivered", status_code=204)
    def put_delivery(target: Target, _: Operator) -> Response:
        delivery.write(target)
        store.read(_wake)
        return Response(status_code=204)

    @routes.put("/delivery/paused", summary="Hold events back, or let them go", status_code=204)
    def put_paused(body: Paused, _: Operator) -> Response:
        target = delivery.read()
        if target is None:
            raise Problem(409, "No target is set: PUT /admin/delivery first.")
        delivery.write(target.model_copy(update={"paused": body.paused}))
        store.read(_wake)
        return Response(status_code=204)

    @routes.delete("/delivery/pending", summary="Drop all events that wait (simulates lost pushes)")
    def drop_pending(_: Operator) -> dict[str, int]:
        return {"dropped": store.read(lambda c: c.execute("DELETE FROM outbox_pending").rowcount)}

    @routes.get("/parked", summary="Events the receiver refused")
    def get_parked(_: Operator, limit: Annotated[int, Query(ge=1, le=1000)] = 100) -> list[Parked]:
        rows = store.read(lambda c: c.execute(PARKED, [limit]).fetchall())
        return [Parked(seq=row[0], event=row[1], subject=row[2], reason=row[3], parked_at=row[4]) for row in rows]

    @routes.post("/parked/retry", summary="Deliver all parked events again")
    def retry_parked(_: Operator) -> dict[str, int]:
        return {"retried": store.read(_unpark)}

    @routes.get("/faults", summary="The simulated faults in force")
    def get_faults(_: Operator) -> Faults:
        return faults.faults

    @routes.put("/faults", summary="Simulate an outage or a brown-out of the OMS")
    def put_faults(body: Faults, _: Operator) -> Faults:
        faults.set(body)
        return body

    @routes.get("/calls", summary="Requests by User-Agent, method and path")
    async def get_calls(_: Operator) -> Calls:
        return calls.read()

    @routes.delete("/calls", summary="Count them anew", status_code=204)
    async def clear_calls(_: Operator) -> Response:
        calls.clear()
        return Response(status_code=204)

    return routes


WAITING = """
    SELECT (SELECT count(*) FROM outbox_pending),
           (SELECT extract(epoch FROM clock_timestamp() - written_at)::float8
            FROM outbox WHERE seq = (SELECT min(seq) FROM outbox_pending)),
           (SELECT count(*) FROM outbox_parked)
"""
PARKED = """
    SELECT p.seq, p.event_id::text, o.table_name || '/' || (o.row ->> 'id'), p.reason, api_time(p.parked_at)
    FROM outbox_parked p JOIN outbox o USING (seq) ORDER BY p.seq LIMIT %s
"""


def _wake(connection: Connection) -> None:
    connection.execute("SELECT pg_notify(%s, '')", [CHANNEL])


def _unpark(connection: Connection) -> int:
    moved = connection.execute(
        "WITH gone AS (DELETE FROM outbox_parked RETURNING seq) INSERT INTO outbox_pending SELECT seq FROM gone ON CONFLICT DO NOTHING"
    ).rowcount
    connection.execute("NOTIFY omsync_outbox")
    return moved
