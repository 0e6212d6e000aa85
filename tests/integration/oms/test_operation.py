"""Operating the OMS: its own dispatcher, delivery settings, simulated faults, starting and installing."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import httpx
import psycopg
import pytest

from local.oms import database
from local.oms.app import Settings
from local.oms.auth import Clients
from local.oms.delivery import DeliveryFile
from omsync.platform.errors import Permanent

from .conftest import OPERATOR, Oms, eventually, serve
from .test_dispatcher import SECRET, Door

ROOT = Path(__file__).parents[3]


@pytest.fixture
def door() -> Iterator[Door]:
    door = Door()
    yield door
    door.close()


@pytest.fixture
def service(empty_database: str, tmp_path: Path) -> Iterator[Oms]:
    """An OMS of its own, with its dispatcher."""
    with serve(Settings(empty_database, Clients([OPERATOR]), DeliveryFile(tmp_path / "delivery.json"))) as oms:
        yield oms


def target(door: Door) -> dict[str, str]:
    return {"url": door.url, "token_url": f"{door.url}/token", "client_id": "oms", "client_secret": "s", "webhook_secret": SECRET}


def test_events_wait_until_the_service_is_told_where_to_send_them(service: Oms, door: Door) -> None:
    patient = service.patient()
    assert service.http.get("/admin/delivery").json()["pending"] == 1
    assert service.http.put("/admin/delivery", json=target(door)).status_code == 204
    eventually(lambda: door.delivered)
    assert door.delivered[0]["data"]["row"] == patient
    state = service.http.get("/admin/delivery").json()
    assert state["target"]["url"] == door.url
    assert SECRET not in str(state)


def test_pushes_can_be_switched_off_dropped_and_on_again(service: Oms, door: Door) -> None:
    service.http.put("/admin/delivery", json=target(door))
    service.patient()
    eventually(lambda: door.delivered and service.http.get("/admin/delivery").json()["pending"] == 0)
    assert service.http.put("/admin/delivery/paused", json={"paused": True}).status_code == 204
    lost = service.patient()
    assert service.http.delete("/admin/delivery/pending").json() == {"dropped": 1}
    service.http.put("/admin/delivery/paused", json={"paused": False})
    told = service.patient()
    eventually(lambda: told["id"] in [event["data"]["id"] for event in door.delivered])
    assert lost["id"] not in [event["data"]["id"] for event in door.delivered]
    feed = service.http.get("/v1/outbox").json()["events"]
    assert lost["id"] in [event["data"]["id"] for event in feed]  # the feed still has it


def test_parked_events_can_be_sent_again(service: Oms, door: Door) -> None:
    door.refuse = lambda events: (400, {"errors": [{"event": events[0]["id"], "field": "data", "message": "bad"}]})
    service.http.put("/admin/delivery", json=target(door))
    patient = service.patient()
    (parked,) = eventually(lambda: service.http.get("/admin/parked").json())
    assert (parked["subject"], parked["reason"]) == (f"patients/{patient['id']}", "data: bad")
    door.refuse = lambda events: None
    assert service.http.post("/admin/parked/retry").json() == {"retried": 1}
    eventually(lambda: door.delivered)
    assert service.http.get("/admin/parked").json() == []


def test_bad_delivery_settings_are_refused(service: Oms, door: Door) -> None:
    assert service.http.put("/admin/delivery", json=target(door) | {"url": "nowhere"}).status_code == 422
    assert service.http.put("/admin/delivery/paused", json={"paused": True}).status_code == 409


@pytest.fixture
def faulty(oms: Oms) -> Iterator[Oms]:
    yield oms
    oms.http.put("/admin/faults", json={"mode": "none"})


def test_an_outage_can_be_simulated(faulty: Oms) -> None:
    faulty.http.put("/admin/faults", json={"mode": "down"})
    answer = faulty.http.get("/v1/cursor")
    assert (answer.status_code, answer.headers["Content-Type"], answer.headers["Retry-After"]) == (503, "application/problem+json", "1")
    assert faulty.http.get("/healthz").status_code == 503
    assert faulty.http.get("/admin/faults").json()["mode"] == "down"
    faulty.http.put("/admin/faults", json={"mode": "none"})
    assert faulty.http.get("/healthz").status_code == 200


def test_a_brown_out_hits_a_share_of_the_requests_to_some_paths(faulty: Oms) -> None:
    faulty.http.put("/admin/faults", json={"mode": "error_rate", "rate": 0.5, "status": 500, "paths": ["/v1/cursor"]})
    statuses = [faulty.http.get("/v1/cursor").status_code for _ in range(60)]
    assert {200, 500} == set(statuses)
    assert all(faulty.http.get("/v1/patients?limit=1").status_code == 200 for _ in range(10))


def test_a_fault_can_hit_repeatable_writes_alone(faulty: Oms) -> None:
    faulty.http.put("/admin/faults", json={"mode": "error_rate", "rate": 1, "status": 500, "paths": ["/v1/patients"], "writes": True})
    assert faulty.http.get("/v1/patients?limit=1").status_code == 200
    assert faulty.http.post("/v1/patients/batch-get", json={"ids": []}).status_code == 200
    assert faulty.http.post("/v1/patients", json={}, headers={"Idempotency-Key": "k"}).status_code == 500


def test_slow_answers_can_be_simulated_for_a_while(faulty: Oms) -> None:
    faulty.http.put("/admin/faults", json={"mode": "latency", "latency_ms": 60_000, "seconds": 0.3})
    with pytest.raises(httpx.ReadTimeout):
        faulty.http.get("/v1/cursor", timeout=0.1)
    eventually(lambda: _quick(faulty))


def _quick(oms: Oms) -> bool:
    try:
        return oms.http.get("/v1/cursor", timeout=0.2).status_code == 200
    except httpx.ReadTimeout:
        return False


def test_an_answer_that_is_lost_is_found_under_its_key(faulty: Oms) -> None:
    patient = faulty.patient()
    headers = {"If-Match": '"1"', "Idempotency-Key": str(uuid.uuid4())}
    url = f"/v1/patients/{patient['id']}"
    faulty.http.put("/admin/faults", json={"mode": "lost_answer", "status": 504})
    assert faulty.http.patch(url, json={"suffix": "Jr"}, headers=headers).status_code == 504
    faulty.http.put("/admin/faults", json={"mode": "none"})
    again = faulty.http.patch(url, json={"suffix": "Jr"}, headers=headers)
    assert (again.status_code, again.json()["version"]) == (200, 2)


def test_installing_twice_changes_nothing_and_other_tables_are_refused(empty_database: str) -> None:
    assert database.install(empty_database) is False
    with psycopg.connect(empty_database, autocommit=True) as connection:
        connection.execute("UPDATE oms_installed SET behaviour = 'older'")
        assert database.install(empty_database) is True  # functions and triggers are replaced
        connection.execute("UPDATE oms_installed SET tables = 'older'")
    with pytest.raises(Permanent, match=r"another version of schema\.sql"):
        database.install(empty_database)


def test_the_server_listens_on_this_machine_only_and_asks_for_a_password(postgres: str) -> None:
    with psycopg.connect(postgres) as connection:
        row = connection.execute("SELECT current_setting('listen_addresses'), current_setting('server_version_num')::int").fetchone()
    assert row is not None
    assert row[0] == "127.0.0.1" and row[1] >= 180_000
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(postgres, password="wrong")


def test_unreadable_clients_are_one_clear_error(tmp_path: Path) -> None:
    path = tmp_path / "clients.json"
    path.write_text('[{"id": "x", "secret": "y", "scopes": ["oms/everything"]}]')
    with pytest.raises(Permanent, match="unknown scope oms/everything"):
        Clients.load(path)


@pytest.mark.parametrize("stop", [signal.SIGTERM, signal.SIGINT])
def test_the_command_brings_its_own_database_and_leaves_nothing_running(tmp_path: Path, stop: signal.Signals) -> None:
    command = [sys.executable, "-m", "local.oms", "--home", str(tmp_path)]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT / "layers/omsync"), str(ROOT)])}
    environment.pop("OMS_DATABASE_URL", None)
    with subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None and process.stderr is not None
            url = process.stdout.readline().split()[1]
            assert httpx.get(f"{url}/healthz", timeout=30).status_code == 200
            process.send_signal(stop)
            assert process.wait(timeout=30) == 0
            assert "Traceback" not in process.stderr.read()
        finally:
            process.kill()
            running = (tmp_path / "postgres" / "postmaster.pid").exists()
            database.stop(tmp_path / "postgres")
    assert not running
    assert (tmp_path / "oms-clients.json").stat().st_mode & 0o077 == 0


def test_requests_are_counted_by_who_asks_for_what(oms: Oms) -> None:
    patient = oms.patient()
    assert oms.http.delete("/admin/calls").status_code == 204
    for _ in range(2):
        oms.http.get(f"/v1/patients/{patient['id']}", headers={"User-Agent": "omsync/email_sender"})
    oms.http.get("/v1/nothing", headers={"User-Agent": "other"})
    counted = oms.http.get("/admin/calls").json()
    assert counted["omsync/email_sender"] == {"GET /v1/patients/{id}": 2}
    assert counted["other"] == {"GET /v1/nothing": 1}
