"""What transforming costs, against the least one can do with a row: write it with csv.writer.

    python benchmarks/bench_mapping.py [ROWS]

Prints CPU time per row, rows per second and the ratio; exit code 1 if transforming `orders` costs more than 6 times csv.writer.
"""

from __future__ import annotations

import csv
import io
import random
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from uuid import UUID

from omsync.mapping import Json, compile_mapping, csv_line, load_mappings

LIMIT = 6.0
ORG = {"standard_price_book": "01s000000000001AAA"}


def orders(count: int, seed: int = 7) -> list[dict[str, Json]]:
    """Plausible rows in the API's shape: about a third of the optional columns null, some names and notes not ASCII."""
    chance = random.Random(seed)

    def uuid() -> str:
        return str(UUID(int=chance.getrandbits(128), version=4))

    def moment() -> str:
        return (datetime(2024, 1, 1, tzinfo=UTC) + timedelta(microseconds=chance.getrandbits(46))).isoformat(timespec="microseconds")[
            :26
        ] + "Z"

    rows = []
    for number in range(count):
        subtotal, shipping, tax = chance.randrange(1000, 90_000), chance.choice([0, 599]), chance.randrange(0, 5000)
        shipped = chance.random() < 0.7
        row: dict[str, Json] = {
            "id": uuid(), "order_number": f"ORD-{number:08d}", "patient_id": uuid(), "consultation_id": uuid() if shipped else None,
            "subscription_id": uuid() if chance.random() < 0.5 else None, "pharmacy_id": uuid() if shipped else None, "parent_order_id": None,
            "order_type": chance.choice(["new", "refill", "otc"]), "channel": "web", "status": "delivered" if shipped else "pending_review",
            "hold_reason": None, "requested_action": None, "currency": "USD", "subtotal_cents": subtotal, "discount_cents": 0,
            "shipping_cents": shipping, "tax_cents": tax, "total_cents": subtotal + shipping + tax,
            "promo_code": chance.choice([None, "WELCOME10"]), "placed_at": moment(), "approved_at": moment() if shipped else None,
            "cancelled_at": None, "ship_name": chance.choice(["Ada Lovelace", "José Müller", "Nguyễn Thị Hoa"]),
            "ship_line1": f"{number} Main Street", "ship_line2": chance.choice([None, "Apt 4"]), "ship_city": "Springfield", "ship_state": "IL",
            "ship_postal_code": "62701", "ship_country": "US", "customer_note": chance.choice([None, None, "Please leave it\r\nat the door 🙂 "]),
            "agent_note": None, "expected_on": "2026-02-05" if shipped else None, "action_result": None, "created_at": moment(),
            "updated_at": moment(), "version": chance.randrange(1, 40), "change_xid": str(number), "changed_by": "oms", "deleted_at": None,
        }  # fmt: skip
        rows.append(row)
    return rows


def cpu(work: Callable[[], None], repeats: int = 5) -> float:
    """The best of some runs, in seconds of this process's CPU."""
    best = float("inf")
    for _ in range(repeats):
        start = time.process_time()
        work()
        best = min(best, time.process_time() - start)
    return best


def main(count: int) -> int:
    rows = orders(count)
    order = compile_mapping(load_mappings()["orders"])
    records = [order.to_salesforce(row)[0] for row in rows]
    back = [record.values for record in records]

    def write() -> None:
        writer = csv.writer(io.StringIO())
        for row in rows:
            writer.writerow(row.values())

    def transform() -> None:
        for row in rows:
            order.to_salesforce(row)

    def normal() -> None:
        for values in back:
            order.normal_record("Order", values)

    def to_oms() -> None:
        for values in back:
            order.to_oms("Order", values)

    def render() -> None:
        for record in records:
            csv_line(record, ORG)

    base = cpu(write)
    print(f"{count:,} orders, {len(rows[0])} columns; best of 5, CPU time")
    ratio = 0.0
    for name, work in (
        ("csv.writer, untransformed", write),
        ("to_salesforce", transform),
        ("normal_record", normal),
        ("to_oms", to_oms),
        ("csv_line", render),
    ):
        spent = base if work is write else cpu(work)
        ratio = spent / base if work is transform else ratio
        print(f"  {name:27}{spent / count * 1e6:7.1f} us a row {count / spent:10,.0f} rows/s {spent / base:6.2f} x csv.writer")
    print(f"to_salesforce: {ratio:.2f} x csv.writer, at most {LIMIT:.0f} allowed: {'ok' if ratio <= LIMIT else 'TOO SLOW'}")
    return 0 if ratio <= LIMIT else 1


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 20_000))
