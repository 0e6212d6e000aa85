"""What an email is about: the row, its patient, and the questions that anchors, conditions and data ask of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import cached_property
from zoneinfo import ZoneInfo

from omsync.emails.occurrences import Occurrence
from omsync.emails.state import Row, State

#: in which an email about a date goes out
MORNING = 10


@dataclass
class Subject:
    """A row (`table`), its patient and their zone. `at`: when the transition happened; `now`: when it is looked at."""

    state: State
    table: str
    row: Row
    patient: Row
    zone: ZoneInfo
    at: datetime
    now: datetime
    #: the row whose transition it was, where it is not `row` itself (a refund of the order, a message to the patient)
    source: Row | None = None
    occurrence: Occurrence | None = None

    @cached_property
    def order(self) -> Row | None:
        """The order it belongs to."""
        return self.row if self.table == "orders" else self.state.row("orders", self.row.get("order_id"))

    @cached_property
    def shipments(self) -> Sequence[Row]:
        """The order's parcels, without returns."""
        return [row for row in self.state.children("shipments", "order_id", str(self.row["id"])) if row["return_of_id"] is None]

    @cached_property
    def prescriptions(self) -> Sequence[Row]:
        """Those that the order's filled lines were filled from, in the order of the lines."""
        lines = sorted(self.state.children("order_items", "order_id", str(self.row["id"])), key=lambda line: int(line["line_no"]))
        ids = [str(line["prescription_id"]) for line in lines if line["prescription_id"] and line["fill_status"] == "filled"]
        self.state.prefetch(("prescriptions", row_id) for row_id in ids)
        return [row for row_id in ids if (row := self.state.row("prescriptions", row_id)) is not None]

    @cached_property
    def delivered_at(self) -> datetime | None:
        """When the last parcel came."""
        times = [moment(row["delivered_at"]) for row in self.shipments if row["delivered_at"]]
        return max(times) if times else None

    @cached_property
    def supply_end(self) -> date | None:
        """delivered_at plus days_supply of the latest filled line."""
        if self.delivered_at is None or not self.prescriptions or self.prescriptions[-1]["days_supply"] is None:
            return None
        return self.delivered_at.astimezone(self.zone).date() + timedelta(days=int(self.prescriptions[-1]["days_supply"]))

    @cached_property
    def later_orders(self) -> Sequence[Row]:
        """What the patient ordered after this order, that still stands."""
        placed = self.row["placed_at"] or self.row["created_at"]
        orders = self.state.children("orders", "patient_id", str(self.patient["id"]))
        gone = ("draft", "cancelled", "declined")
        return [row for row in orders if row["id"] != self.row["id"] and (row["placed_at"] or "") > placed and row["status"] not in gone]

    @cached_property
    def refunds(self) -> Sequence[Row]:
        """Money that went back, or goes."""
        if self.source is not None and self.source.get("payment_id"):
            return [self.source]
        rows = self.state.children("refunds", "order_id", str(self.row["id"]))
        return [row for row in rows if row["status"] in ("pending", "requires_action", "succeeded") and row["kind"] != "chargeback"]

    def unread(self, start: datetime, end: datetime) -> list[Row]:
        """Messages of the care team in a span of time that the patient has not read."""
        rows = self.state.children("communications", "patient_id", str(self.patient["id"]))
        return [
            row
            for row in rows
            if (row["channel"], row["direction"]) == ("portal", "outbound")
            and row["delivery_status"] != "opened"
            and start <= moment(row["created_at"]) < end
        ]

    def morning(self, day: date) -> datetime:
        """That day's morning where the patient is."""
        return datetime(day.year, day.month, day.day, MORNING, tzinfo=self.zone).astimezone(UTC)


def moment(value: object) -> datetime:
    """An API timestamp."""
    return datetime.fromisoformat(str(value)).astimezone(UTC)
