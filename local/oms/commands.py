"""The command channel: `requested_action` is set, executed by the state machine's rules, answered in `action_result`, cleared.

All in one transaction, under an Idempotency-Key that is kept for good: once, however often it is asked for. A command that
the rules refuse is done too: its result says `refused: ...`.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable, Mapping
from typing import Literal
from uuid import UUID

import psycopg

from .actions import Request, Work, fulfilment, orders, subscriptions
from .actions.unit import EXAMPLE_ID, Row, action, require
from .problems import Problem, from_database, refused
from .store import Connection

COMMAND_TABLES = ("orders", "subscriptions")


def _expedite(work: Work, order: Row) -> None:
    """Before it leaves the pharmacy an order can be made quick: it is expected in two days."""
    require(order, "pending_payment", "pending_review", "on_hold", "approved", "routing", "placed", "filling")
    soon = work.now().date() + datetime.timedelta(days=2)
    work.update("orders", order, expected_on=min(soon, order["expected_on"] or soon))


COMMANDS: Mapping[tuple[str, str], Callable[[Work, Row], object]] = {
    ("orders", "cancel"): lambda work, order: orders.cancel(work, order, "agent_request"),
    ("orders", "hold"): lambda work, order: orders.hold(work, order, order["hold_reason"] or "agent_request"),
    ("orders", "release"): lambda work, order: orders.release(work, order),
    ("orders", "reship"): lambda work, order: fulfilment.reship(work, order),
    ("orders", "expedite"): _expedite,
    ("subscriptions", "pause"): lambda work, subscription: subscriptions.pause(work, subscription),
    ("subscriptions", "resume"): lambda work, subscription: subscriptions.resume(work, subscription),
    ("subscriptions", "cancel"): lambda work, subscription: subscriptions.cancel(work, subscription, "agent_request"),
    ("subscriptions", "skip_next"): lambda work, subscription: subscriptions.skip_next(work, subscription),
}


def execute_command(connection: Connection, table: str, row_id: str) -> None:
    """Do what the row's `requested_action` asks, write the result, clear the request."""
    work = Work(connection)
    execute_on(work, table, work.row_even_deleted(table, row_id))


def execute_on(work: Work, table: str, row: Row) -> None:
    requested = row["requested_action"]
    result = f"done: {requested}"
    try:
        with work.connection.transaction():  # what a refused command began is undone
            if row["deleted_at"] is not None:
                raise refused("deleted_at", "is set: the row is deleted")
            work.because(requested, "salesforce")
            COMMANDS[table, requested](work, row)
    except (Problem, psycopg.errors.IntegrityError) as refusal:
        problem = refusal if isinstance(refusal, Problem) else from_database(refusal)
        assert problem is not None
        result = f"refused: {problem.detail}"
    work.update(table, row, requested_action=None, action_result=result)


class ExecuteRequestedAction(Request):
    table: Literal["orders", "subscriptions"]
    id: UUID


@action("commands", ExecuteRequestedAction, "Execute what a row's `requested_action` asks for", table="orders", id=EXAMPLE_ID)
def execute_requested_action(work: Work, request: ExecuteRequestedAction) -> None:
    row = work.row(request.table, request.id)
    if row["requested_action"] is None:
        raise refused("requested_action", "is not set")
    execute_on(work, request.table, row)
