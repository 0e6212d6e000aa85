"""Peak memory of the writers at the largest legal batches: 1,000 messages with as much in them as SQS, Lambda and Salesforce's fields take.
And of the migration's extract of long rows, out of a PostgreSQL of its own.

    python benchmarks/bench_memory.py

Each case runs in a process of its own, with the consumers' own code from the SQS event to the HTTP calls; both systems are one stub server in
another process. Peak is the resident set's (VmHWM), so the interpreter and all packages count. Prints one JSON object and keeps it in `.local/bench/`.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import resource
import shutil
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import IO, Any, cast
from urllib.parse import unquote

import click
import psycopg
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from local.oms import database
from omsync.mapping import load_mappings
from tests.unit.sync.test_mirror import row, uid

ROOT = Path(__file__).resolve().parent.parent
MESSAGES, LIMIT_MB = 1000, 256
#: a table of long rows
NOTES, CHARACTERS = 2000, 100_000
EXTRACT = f"extract of {NOTES:,} notes of {CHARACTERS:,} characters"
#: what Lambda hands over at most, and a message's frame in it
EVENT_BYTES, FRAME_BYTES = 6 * 1024 * 1024, 700
#: characters of Salesforce's longest text field
LONGEST_TEXT = 131_072


# ------------------------------------------------------------------------------------------------------------ the outside
class Stub(BaseHTTPRequestHandler):
    """The OMS and Salesforce: every row and record is as long as `text` says."""

    protocol_version = "HTTP/1.1"
    text = ""

    def do_POST(self) -> None:
        """Log-ins, batch-get, Composite."""
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.path.endswith("/token"):
            return self._answer({"access_token": "t", "expires_in": 3600})
        asked = json.loads(body)
        if self.path.endswith("/batch-get"):
            return self._answer({"items": [note(int(one[-12:]), self.text) for one in asked["ids"]], "missing": []})
        if "compositeRequest" not in asked:  # a file
            return self._answer({"id": "068", "success": True, "errors": []})
        return self._answer({"compositeResponse": [self._part(part) for part in asked["compositeRequest"]]})

    def do_GET(self) -> None:
        """A query."""
        self._answer(self._page(unquote(self.path)))

    def _part(self, part: Mapping[str, Any]) -> dict[str, Any]:
        if part["method"] == "GET":
            return {"httpStatusCode": 200, "body": self._page(unquote(part["url"]))}
        if "records" not in part["body"]:
            return {"httpStatusCode": 200, "body": {"success": True, "id": "001", "created": False, "errors": []}}
        return {"httpStatusCode": 200, "body": [{"success": True, "id": "001", "errors": []} for _ in part["body"]["records"]]}

    def _page(self, query: str) -> dict[str, Any]:
        ids = query.replace("+", " ").partition("OMS_Id__c IN (")[2].replace("'", "").replace(" ", "").rstrip(")").split(",")
        found = [
            {"attributes": {}, "Id": f"a01{place:015d}", "OMS_Id__c": one, "OMS_Version__c": 1, "Sync_Save__c": 1, "Body__c": self.text}
            for place, one in enumerate(ids)
            if "FROM Clinical_Note__c" in query
        ]
        return {"records": found, "done": True}

    def _answer(self, content: object) -> None:
        body = json.dumps(content, ensure_ascii=False).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 (the base class names it so)
        """Silent."""


def serve(text: str, ready: Any) -> None:
    Stub.text = text
    server = ThreadingHTTPServer(("127.0.0.1", 0), Stub)
    ready.send(server.server_port)
    server.serve_forever()


# ------------------------------------------------------------------------------------------------------------- the inside
class Ledger:
    """The ledger, in memory as DynamoDB's answers would be."""

    def __init__(self) -> None:
        self.items: dict[Any, Any] = {}

    def read(self, keys: Sequence[Any]) -> list[Any]:
        return [self.items.get(key) for key in keys]

    def find(self, ids: Sequence[str]) -> list[Any]:
        return [None for _ in ids]

    def save(self, items: Sequence[Any]) -> list[Any]:
        from dataclasses import replace

        saved = [replace(item, revision=item.revision + 1) for item in items]
        self.items |= {item.key: item for item in saved}
        return saved


@dataclass
class Nothing:
    """Queues, breakers, metrics, Cases: nothing happens there."""

    sent: int = 0
    outcomes: dict[str, int] = field(default_factory=dict)

    def send(self, messages: Sequence[Any]) -> None:
        self.sent += len(messages)

    def send_raw(self, messages: Sequence[Any]) -> None:
        self.sent += len(messages)

    def require_closed(self, systems: object) -> None: ...
    def report(self, met: object) -> None: ...
    def observe(self, origin: str, seconds: float) -> None: ...
    def record(self, result: Any, **_: object) -> None:
        raise SystemExit(f"a record failed: {result}")

    def count(self, outcome: str, number: int) -> None:
        self.outcomes[outcome] = self.outcomes.get(outcome, 0) + number

    def status(self, keys: Sequence[str]) -> list[str]:
        return ["none" for _ in keys]

    def log(self, conflicts: Sequence[object]) -> list[None]:
        return [None for _ in conflicts]


@dataclass
class Bucket:
    """S3 with one long body."""

    body: bytes

    def get_object(self, **_: Any) -> Mapping[str, Any]:
        return {"Body": SimpleNamespace(read=lambda: self.body)}


def consumer(kind: str, url: str, bucket: Bucket) -> tuple[Callable[..., Any], Nothing]:
    """The handler of one queue, and what it met."""
    from omsync.mapping.compiled import compile_mapping
    from omsync.oms import client as oms
    from omsync.oms.rows import OmsRows
    from omsync.platform import bootstrap_sync as house
    from omsync.platform.queues import Payloads
    from omsync.salesforce.auth import Connection
    from omsync.salesforce.client import SalesforceClient
    from omsync.salesforce.mirrored import MirroredRecords, RestRenderer
    from omsync.salesforce.records import SalesforceRecords
    from omsync.sync.consume import Consumer
    from omsync.sync.converge import Synchroniser
    from omsync.sync.digests import Digests
    from omsync.sync.messages import MirrorMessage, SyncMessage
    from omsync.sync.mirror import MirrorWriter
    from omsync.sync.portions import assumed
    from omsync.sync.ports import Ports
    from omsync.sync.rules import MappedRegistry, Org
    from omsync.sync.work import MirrorWorker, SyncWorker, utc_now

    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()).decode()
    salesforce = SalesforceClient(Connection(url, "consumer", "user", pem))
    other, mappings, nothing = oms.OmsClient(oms.Connection(url, "id", "secret")), load_mappings(), cast("Any", Nothing())
    ids = {f"record_type:{target.object}.{name}": "012" for _, target in _targets(mappings) for name in target.record_types}
    ids |= {"standard_price_book": "01s"}
    length = assumed(mappings)
    worker: Any
    if kind == "mirror":
        records = MirroredRecords(salesforce, lambda _: False, lambda _: False)
        compiled = {mapping.table: compile_mapping(mapping) for mapping in mappings}
        writer = MirrorWriter(mappings, compiled.__getitem__, RestRenderer(ids), records, other, nothing)
        worker, model = MirrorWorker(writer, writer, nothing, utc_now, length), cast("Any", MirrorMessage)
    else:
        ports = Ports(OmsRows(other), SalesforceRecords(salesforce, mappings), Ledger(), nothing, nothing, nothing, house.SystemClock())
        synchroniser = Synchroniser(MappedRegistry(mappings, Org(ids=ids)), Digests({"k": b"key"}, "k"), ports)
        far = int((time.time() + 600) * 1_000_000)
        worker, model = SyncWorker(synchroniser, lambda _: {}, lambda: far, nothing, utc_now, length), cast("Any", SyncMessage)
    consume = Consumer(model, worker, nothing, nothing, nothing, nothing, nothing, ("salesforce", "oms"), nothing)
    queue = house.Queue(lambda batch, request: consume.handle(batch, request_id=request), Payloads(cast("Any", bucket), "b"), lambda: None)
    return house.handler_of(queue), nothing


def _targets(mappings: Any) -> list[tuple[Any, Any]]:
    return [(mapping, target) for mapping in mappings for target in mapping.targets]


# -------------------------------------------------------------------------------------------------------------- the cases
def note(number: int, text: str) -> dict[str, Any]:
    """A clinical note's row."""
    changed = {
        "status": "signed",
        "body": text,
        "patient_id": uid(900),
        "consultation_id": None,
        "author_provider_id": None,
        "amends_note_id": None,
    }
    return row("clinical_notes", number, 2, edited_at={}, **changed)


def intake(number: int, characters: int) -> dict[str, Any]:
    """A questionnaire's row, with answers of about that length."""
    return row("intake_responses", number, patient_id=uid(900), consultation_id=None, answers={"answer": "é" * characters})


def full_event() -> tuple[str, list[str], bytes]:
    """1,000 rows by value, as long as fits into Lambda's 6 MB."""
    frame = len(_mirror(intake(1, 0))) + FRAME_BYTES
    each = (EVENT_BYTES // MESSAGES - frame) // 2  # two bytes a character
    return "mirror", [_mirror(intake(number, each)) for number in range(MESSAGES)], b""


def by_reference() -> tuple[str, list[str], bytes]:
    """1,000 references to rows of 1.5 MB."""
    body = _mirror(intake(1, 750_000)).encode()
    reference = json.dumps({"omsync:payload": "payloads/x.json", "bytes": len(body)})
    return "mirror", [reference] * MESSAGES, body


def notes() -> tuple[str, list[str], bytes]:
    """1,000 looks at notes as long as Salesforce holds, on both sides, all of them different."""
    return "sync", [_look(number) for number in range(MESSAGES)], b""


def _mirror(values: Mapping[str, Any]) -> str:
    common = {"correlation_id": uid(1), "origin": "oms", "table": "intake_responses", "id": values["id"], "version": values["version"]}
    return json.dumps({**common, "row": values}, ensure_ascii=False, separators=(",", ":"))


def _look(number: int) -> str:
    return json.dumps({"correlation_id": uid(1), "origin": "oms", "table": "clinical_notes", "id": uid(number)})


CASES: dict[str, tuple[Callable[[], tuple[str, list[str], bytes]], str]] = {
    "1,000 rows in 6 MB": (full_event, ""),
    "1,000 references to rows of 1.5 MB": (by_reference, ""),
    "1,000 notes of 131,072 characters": (notes, "é" * LONGEST_TEXT),
    "1,000 notes of 131,072 characters, one an emoji": (notes, "é" * (LONGEST_TEXT - 2) + "😀"),
}


def measure(name: str, url: str, out: Any) -> None:
    """One case, in this process."""
    make, _ = CASES[name]
    kind, bodies, stored = make()
    handler, met = consumer(kind, url, Bucket(stored))
    attributes = {"ApproximateReceiveCount": "1"}
    event = json.dumps({"Records": [{"messageId": str(n), "body": body, "attributes": attributes} for n, body in enumerate(bodies)]})
    del bodies
    before, begun = _peak(), time.monotonic()
    context = SimpleNamespace(get_remaining_time_in_millis=lambda: 600_000, aws_request_id=str(random.random()))
    handler(json.loads(event), context)
    out.send(
        {"peak_mb": _peak(), "before_mb": before, "seconds": round(time.monotonic() - begun, 1), "sent_again": met.sent, **met.outcomes}
    )


# ------------------------------------------------------------------------------------------------------------ the migration
@dataclass(frozen=True)
class Folder:
    """The staging bucket, on disk."""

    path: Path

    def put(self, name: str, content: bytes | IO[bytes]) -> None:
        with (self.path / name.replace("/", "_")).open("wb") as file:
            file.write(content) if isinstance(content, bytes) else shutil.copyfileobj(content, file)


def long_notes(url: str) -> None:
    """A table of long rows, past its triggers."""
    database.install(url)
    with psycopg.connect(url) as connection:
        connection.execute("SET session_replication_role = replica")
        connection.execute(
            "INSERT INTO clinical_notes (patient_id, note_type, status, body, body_sha256)"
            " SELECT gen_random_uuid(), 'soap', 'signed', repeat(md5(n::text), %s / 32), repeat('0', 64) FROM generate_series(1, %s) AS n",
            [CHARACTERS, NOTES],
        )


def extract(url: str, out: Any) -> None:
    """All of them as one chunk, in this process."""
    from omsync.migration.model import ChunkRef
    from omsync.migration.source import PostgresSource
    from tests.unit.migration.world import World

    world, ref = World(), ChunkRef(migration="m", run=3, table="clinical_notes", number=0)
    with tempfile.TemporaryDirectory() as folder:
        world.extract.source, world.extract.files = PostgresSource(url, load_mappings()), cast("Any", Folder(Path(folder)))
        before, begun = _peak(), time.monotonic()
        world.extract.run(ref)
    rows = world.chunks.read(ref).rows
    out.send({"peak_mb": _peak(), "before_mb": before, "seconds": round(time.monotonic() - begun, 1), "rows": rows})


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


@click.command()
@click.option("--case", "names", multiple=True, type=click.Choice([*CASES, EXTRACT]), help="only these")
def main(names: Sequence[str]) -> None:
    """Measure."""
    os.environ.setdefault("POWERTOOLS_LOG_LEVEL", "ERROR")  # of the processes
    found = {name: of_extract() if name == EXTRACT else of_writer(name) for name in names or (*CASES, EXTRACT)}
    report = {"limit_mb": LIMIT_MB, "peak_mb": max(one.get("peak_mb", 0) for one in found.values()), **found}
    folder = ROOT / ".local" / "bench"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "memory.json").write_text(json.dumps(report, indent=1) + "\n")
    print(json.dumps(report, indent=1))


def of_writer(name: str) -> Any:
    """A case, beside its stub server."""
    own = multiprocessing.get_context("spawn")
    ours, theirs = own.Pipe()
    server = own.Process(target=serve, args=(CASES[name][1], theirs), daemon=True)
    server.start()
    try:
        return answer_of(partial(measure, name, f"http://127.0.0.1:{ours.recv()}"))
    finally:
        server.terminate()


def of_extract() -> Any:
    """The extract, beside its PostgreSQL."""
    with (
        tempfile.TemporaryDirectory(prefix="omsync-bench-", ignore_cleanup_errors=True) as folder,
        database.temporary(Path(folder) / "data") as url,
    ):
        long_notes(url)
        return answer_of(partial(extract, url))


def answer_of(work: Callable[[Any], None]) -> Any:
    """What it sends from a process of its own."""
    own = multiprocessing.get_context("spawn")
    ours, theirs = own.Pipe()
    process = own.Process(target=work, args=(theirs,))
    process.start()
    found = ours.recv() if ours.poll(300) else {"error": "no answer"}
    process.join()
    return found


if __name__ == "__main__":
    main()
