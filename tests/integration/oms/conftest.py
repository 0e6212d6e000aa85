"""A real PostgreSQL for the session, the OMS on it, and a client that speaks its API."""

from __future__ import annotations

import contextlib
import itertools
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
import uvicorn

from local.oms import database
from local.oms.app import Settings, create_app
from local.oms.auth import SCOPES, Client, Clients
from local.oms.delivery import DeliveryFile

OPERATOR = Client("operator", "operator-secret", frozenset(SCOPES))
READER = Client("reader", "reader-secret", frozenset({"oms/read"}))

type Row = dict[str, Any]


class Oms:
    """The service and its database, as a test uses them: requests by a client that may do everything, and `psql`."""

    def __init__(self, http: httpx.Client, url: str) -> None:
        self.http = http
        self.url = url
        self.db = psycopg.connect(url, autocommit=True)
        self.keys = (f"key-{number}" for number in itertools.count())
        token = http.post("/oauth/token", data={"grant_type": "client_credentials"}, auth=(OPERATOR.id, OPERATOR.secret)).json()
        http.headers["Authorization"] = f"Bearer {token['access_token']}"

    def act(self, action: str, **body: object) -> dict[str, list[Row]]:
        """Perform an action; the rows it wrote, by table."""
        answer = self.http.post(f"/v1/actions/{action}", json=body)
        assert answer.status_code == 200, answer.text
        rows: dict[str, list[Row]] = answer.json()["rows"]
        return rows

    def refuse(self, action: str, **body: object) -> Row:
        """Perform an action that must be refused for good; the problem."""
        answer = self.http.post(f"/v1/actions/{action}", json=body)
        assert answer.status_code == 422, answer.text
        problem: Row = answer.json()
        return problem

    def create(self, table: str, **values: object) -> Row:
        answer = self.http.post(f"/v1/{table}", json=values)
        assert answer.status_code == 201, answer.text
        row: Row = answer.json()
        return row

    def get(self, table: str, row_id: str) -> Row:
        answer = self.http.get(f"/v1/{table}/{row_id}")
        assert answer.status_code == 200, answer.text
        row: Row = answer.json()
        return row

    def patch(self, table: str, row: Row, **values: object) -> Row:
        answer = self.http.patch(f"/v1/{table}/{row['id']}", json=values, headers={"If-Match": f'"{row["version"]}"'})
        assert answer.status_code == 200, answer.text
        changed: Row = answer.json()
        return changed

    def patient(self, **values: object) -> Row:
        return self.create("patients", **{"first_name": "Ada", "last_name": "Byron", "email": "ada@example.com"} | values)

    def product(self, **values: object) -> Row:
        number = next(self.keys)
        named = {"sku": f"sku-{number}-{time.monotonic_ns()}", "name": "Product", "product_type": "otc", "list_price_cents": 2500}
        return self.create("products", **named | values)

    def drug(self) -> Row:
        return self.product(product_type="rx_drug", requires_prescription=True, name="Drug", list_price_cents=4000)

    def provider(self) -> Row:
        npi = f"{time.monotonic_ns() % 10**10:010}"
        return self.create("providers", npi=npi, first_name="Grace", last_name="Hopper")

    def pharmacy(self) -> Row:
        return self.create("pharmacies", name="Pharmacy", pharmacy_type="mail_order")

    def placed_order(self, **values: object) -> Row:
        """An order of one OTC product that waits for its payment."""
        patient = self.patient()
        body = {"patient_id": patient["id"], "items": [{"product_id": self.product()["id"]}]} | values
        return self.act("place-order", **body)["orders"][0]

    def filling_order(self) -> Row:
        """A paid order that its pharmacy fills."""
        order = self.placed_order()
        self.act("pay-order", order_id=order["id"])
        return self.act("accept-order", order_id=order["id"], pharmacy_id=self.pharmacy()["id"])["orders"][0]

    def events(self, row_id: str) -> list[Row]:
        """The outbox's events about a row, oldest first."""
        query = "SELECT cloud_event(o) FROM outbox o WHERE row ->> 'id' = %s ORDER BY seq"
        return [event for (event,) in self.db.execute(query, [row_id])]


def eventually[T](look: Callable[[], T], seconds: float = 10.0) -> T:
    """Poll `look` until it answers something true."""
    until = time.monotonic() + seconds
    while True:
        found = look()
        if found or time.monotonic() > until:
            assert found, "did not happen in time"
            return found
        time.sleep(0.005)


@contextlib.contextmanager
def serve(settings: Settings) -> Iterator[Oms]:
    """The service over real HTTP, from a thread."""
    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(create_app(settings), log_level="warning", access_log=False, timeout_graceful_shutdown=2))
    thread = threading.Thread(target=server.run, args=[[listener]])
    thread.start()
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{listener.getsockname()[1]}", timeout=30) as http:
            eventually(lambda: server.started)
            service = Oms(http, settings.database_url)
            yield service
            service.db.close()
    finally:
        server.should_exit = True
        thread.join()


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """URL of a server of our own with the OMS installed in the database `oms`."""
    with (
        tempfile.TemporaryDirectory(prefix="omsync-postgres-", ignore_cleanup_errors=True) as directory,
        database.temporary(Path(directory) / "data") as url,
    ):
        database.install(url)
        yield url


@pytest.fixture(scope="session")
def oms(postgres: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Oms]:
    """The service, without a dispatcher. Shared by all tests: each makes rows of its own."""
    delivery = DeliveryFile(tmp_path_factory.mktemp("oms") / "delivery.json")
    with serve(Settings(postgres, Clients([OPERATOR, READER]), delivery, dispatch=False)) as service:
        yield service


@pytest.fixture
def empty_database(postgres: str) -> Iterator[str]:
    """A database of its own for one test."""
    name = f"test_{time.monotonic_ns()}"
    url = database.create_database(postgres, name)
    database.install(url)
    yield url
    with psycopg.connect(postgres, autocommit=True) as connection:
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")
