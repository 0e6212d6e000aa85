"""The sync's lag on the embedded stack, each direction, under a steady load. (`bench_calls.py` counts what a load costs in API calls.)

    python benchmarks/bench_sync.py [--rate 20] [--seconds 180] [--direction oms] [--direction salesforce]

Needs a stack that is up (`make up`; OMSYNC_HOME names another one). Lags are differences of the two systems' own commit times. Prints one
JSON object, writes it and a page with the distributions to `.local/bench/`.
"""

from __future__ import annotations

import json
import random
import statistics
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from local.stack.deploy import Aws, outputs
from local.stack.home import ROOT, Home
from omsync.platform.times import microseconds
from tests.e2e.conftest import Stack
from tests.e2e.world import World

#: Salesforce objects of the rows that the load creates
OBJECTS = {
    "patients": "Account",
    "patient_consents": "Consent__c",
    "patient_conditions": "Health_Condition__c",
    "patient_allergies": "Allergy__c",
    "consultations": "Consultation__c",
    "intake_responses": "Intake_Response__c",
    "orders": "Order",
    "order_items": "OrderItem",
    "order_status_history": "Order_Event__c",
    "payments": "Payment__c",
    "shipments": "Shipment__c",
    "shipment_events": "Shipment_Event__c",
    "communications": "Communication__c",
}


@dataclass
class Company:
    """What happens in the OMS, in about the proportions of the seed: few new patients, many orders, most of it history."""

    world: World
    product: str = ""
    pharmacy: str = ""
    patients: list[str] = field(default_factory=list)
    created: dict[str, dict[str, int]] = field(default_factory=dict)  # table -> id -> OMS commit, microseconds of 1970
    changed: int = 0
    chance: random.Random = field(default_factory=lambda: random.Random(4))

    def open(self) -> None:
        """Something to sell, somebody to send it."""
        tag = uuid.uuid4().hex[:8]
        self.product = self.world.oms.create("products", sku=f"B-{tag}", name="Soap", product_type="otc", list_price_cents=900)["id"]
        self.pharmacy = self.world.oms.create("pharmacies", name=f"Pharmacy {tag}", pharmacy_type="mail_order")["id"]
        self.patients = [self._note(self.world.oms.act("register-patient", **_person()))["patients"][0]["id"] for _ in range(10)]

    def step(self) -> None:
        """One thing happens."""
        doing: Sequence[tuple[Callable[[], None], int]] = [(self._register, 2), (self._order, 3), (self._history, 4), (self._message, 4)]
        self.chance.choices([one for one, _ in doing], [weight for _, weight in doing])[0]()

    def _note(self, rows: dict[str, list[dict[str, Any]]]) -> dict[str, list[dict[str, Any]]]:
        for table, found in rows.items():
            for row in found:
                self.changed += 1
                self.created.setdefault(table, {}).setdefault(row["id"], microseconds(row["created_at"]))
        return rows

    def _register(self) -> None:
        self.patients.append(self._note(self.world.oms.act("register-patient", **_person()))["patients"][0]["id"])

    def _order(self) -> None:
        """An order's whole way, as one burst of a dozen changes."""
        act, patient = self.world.oms.act, self.chance.choice(self.patients)
        order = self._note(act("place-order", patient_id=patient, items=[{"product_id": self.product}]))["orders"][0]["id"]
        self._note(act("pay-order", order_id=order))
        self._note(act("accept-order", order_id=order, pharmacy_id=self.pharmacy))
        shipment = self._note(act("ship-order", order_id=order))["shipments"][0]["id"]
        self._note(act("record-scan", shipment_id=shipment))
        self._note(act("deliver-shipment", shipment_id=shipment))

    def _history(self) -> None:
        row = self.world.oms.create("patient_conditions", patient_id=self.chance.choice(self.patients), description="Eczema")
        self._note({"patient_conditions": [row]})

    def _message(self) -> None:
        self._note(self.world.oms.act("send-provider-message", patient_id=self.chance.choice(self.patients), body="Please call us."))


def _person() -> dict[str, str]:
    name = f"B{uuid.uuid4().hex[:10]}"
    return {"first_name": "Ada", "last_name": name, "email": f"{name.lower()}@example.com"}


def paced(rate: float, seconds: float, work: Callable[[int], None], done: Callable[[], int]) -> float:
    """Work so that `done()` grows by `rate` a second; the rate that was reached."""
    begun, before, number = time.monotonic(), done(), 0
    while (now := time.monotonic() - begun) < seconds:
        if done() - before > now * rate:
            time.sleep(0.01)
            continue
        work(number)
        number += 1
    return (done() - before) / (time.monotonic() - begun)


def summary(lags: Sequence[float], reached: float) -> dict[str, Any]:
    ordered = sorted(lags)

    def percentile(share: float) -> float:
        return round(ordered[min(len(ordered) - 1, int(len(ordered) * share))], 3)

    return {
        "changes": len(ordered),
        "rate": round(reached, 1),
        "p50": percentile(0.5),
        "p90": percentile(0.9),
        "p99": percentile(0.99),
        "max": percentile(1),
        "mean": round(statistics.fmean(ordered), 3),
    }


def from_oms(world: World, rate: float, seconds: float) -> tuple[list[float], float]:
    """OMS commit -> Salesforce's CreatedDate, of every row created meanwhile."""
    company = Company(world)
    company.open()
    world.quiet(seconds=120)
    company.created.clear()
    reached = paced(rate, seconds, lambda _: company.step(), lambda: company.changed)
    world.quiet(seconds=180)
    lags: list[float] = []
    for table, created in company.created.items():
        ids = list(created)
        for start in range(0, len(ids), 300):
            named = ", ".join(f"'{one}'" for one in ids[start : start + 300])
            for row in world.org.query(f"SELECT OMS_Id__c, CreatedDate FROM {OBJECTS[table]} WHERE OMS_Id__c IN ({named})"):
                lags.append((microseconds(row["CreatedDate"]) - created[row["OMS_Id__c"]]) / 1_000_000)
    missing = sum(map(len, company.created.values())) - len(lags)
    if missing:
        raise click.ClickException(f"{missing} rows are not in Salesforce: see `omsync status`")
    return lags, reached


def from_salesforce(world: World, rate: float, seconds: float) -> tuple[list[float], float]:
    """A person's save in Salesforce -> the OMS's commit of the value, by the OMS's own outbox."""
    patients = [world.patient() for _ in range(100)]
    accounts = [(row["id"], world.account(row, seconds=120)) for row in patients]
    world.quiet(seconds=120)
    cursor = world.oms.call("GET", "/v1/cursor").json()["xmin"]
    saved: dict[str, float] = {}

    def edit(number: int) -> None:
        account = accounts[number % len(accounts)][1]
        saved[f"Note {number}"] = time.time()
        world.org.edit("Account", account, Care_Notes__pc=f"Note {number}")

    reached = paced(rate, seconds, edit, lambda: len(saved))
    world.quiet(seconds=180)
    arrived: dict[str, float] = {}
    for event in world.outbox(lambda event: event["data"]["table"] == "patients", after=cursor):
        arrived.setdefault(str(event["data"]["row"]["care_notes"]), microseconds(event["data"]["row"]["updated_at"]) / 1_000_000)
    # a note that the next one overtook before it was looked at arrived with that one: nothing of it is left to measure
    return [arrived[note] - at for note, at in saved.items() if note in arrived], reached


def page(report: Mapping[str, Any]) -> str:
    """A page that needs nothing but itself."""
    parts = []
    for title, found in report.items():
        figures = {name: value for name, value in found.items() if name != "lags"}
        parts.append(f"<h2>{title}</h2>{_histogram(found['lags'])}<pre>{json.dumps(figures, indent=1)}</pre>")
    style = "body{font:14px system-ui;margin:2em;max-width:60em}rect{fill:#2a6f97}text{font-size:11px;fill:#333}"
    title = "Lag of the sync"
    return f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title><style>{style}</style><h1>{title}</h1>{"".join(parts)}</html>'


def _histogram(lags: Sequence[float]) -> str:
    """Quarter seconds up to five, the rest in the last bar."""
    width, bars = 0.25, [0] * 21
    for lag in lags:
        bars[max(0, min(20, int(lag / width)))] += 1
    most = max([*bars, 1])
    drawn = []
    for number, count in enumerate(bars):
        height = 160 * count / most
        drawn.append(f'<rect x="{number * 38}" y="{180 - height:.0f}" width="34" height="{height:.0f}"><title>{count}</title></rect>')
        drawn.append(f'<text x="{number * 38}" y="196">{f"{number * width:g} s" if number < 20 else "5 s +"}</text>')
    return f'<svg viewBox="0 0 800 200" role="img" aria-label="distribution of lags">{"".join(drawn)}</svg>'


DIRECTIONS = {"oms": ("OMS to Salesforce", from_oms), "salesforce": ("Salesforce to OMS", from_salesforce)}


@click.command()
@click.option("--rate", default=20.0, show_default=True, help="changes a second")
@click.option("--seconds", default=180.0, show_default=True, help="for so long, each direction")
@click.option("--direction", "directions", type=click.Choice(list(DIRECTIONS)), multiple=True, help="where changes come from [both]")
def main(rate: float, seconds: float, directions: Sequence[str]) -> None:
    """Measure and draw."""
    home = Home.here()
    told = home.endpoints()
    world = World(Stack(home.path, told, outputs(Aws(told["aws_endpoint_url"]))))
    folder = Path(ROOT, ".local", "bench")
    folder.mkdir(parents=True, exist_ok=True)
    kept = folder / "sync.json"
    report: dict[str, Any] = {}
    for title, measure in (DIRECTIONS[one] for one in directions or DIRECTIONS):
        lags, reached = measure(world, rate, seconds)
        now = datetime.now(UTC).isoformat(timespec="seconds")
        report[title] = {"at": now, "seconds": seconds, "wanted_rate": rate, **summary(lags, reached), "lags": lags}
    earlier = json.loads(kept.read_text()) if kept.exists() else {}
    report = {title: found for title, _ in DIRECTIONS.values() if (found := report.get(title) or earlier.get(title))}
    kept.write_text(json.dumps(report, indent=1) + "\n")
    (folder / "sync.html").write_text(page(report))
    print(json.dumps({title: {**found, "lags": len(found["lags"])} for title, found in report.items()}, indent=1))


if __name__ == "__main__":
    main()
