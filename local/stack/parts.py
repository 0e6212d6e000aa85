"""The stack's parts: how each is started and how one sees that it serves. All listen on 127.0.0.1."""

from __future__ import annotations

import hashlib
import json
import os
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path
from ssl import create_default_context

from local.oms import database
from local.stack import ca
from local.stack.home import ROOT, Home
from local.stack.processes import Part

#: The processes, in the order of starting; PostgreSQL is a server with a launcher of its own.
NAMES = ("aws", "oms", "salesforce")

#: What only some commands start (`omsync local sam`), and `down` stops.
ON_DEMAND = ("gate",)


def environment(**more: str) -> dict[str, str]:
    """What every process of the stack gets: none of the caller's AWS, proxy or certificate settings (functions inherit them)."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "USER", "LOGNAME") if name in os.environ}
    return {**kept, "PYTHONUNBUFFERED": "1", "PYTHONPATH": f"{ROOT / 'layers' / 'omsync'}{os.pathsep}{ROOT}", "TZ": "UTC", **more}


def aws(home: Home, port: int) -> Part:
    """MiniStack, mended. Its state is written when it stops and read when it starts."""
    state = home.folder("aws")
    for folder in ("state", "s3", "tmp"):
        (state / folder).mkdir(exist_ok=True)
    told = {
        "BIND_HOST": "127.0.0.1",
        "MINISTACK_HOST": "127.0.0.1",
        "GATEWAY_PORT": str(port),
        "IOT_MTLS_ENABLED": "0",
        "SFTP_ENABLED": "0",
        "PERSIST_STATE": "1",
        "STATE_DIR": str(state / "state"),
        "S3_PERSIST": "1",
        "S3_DATA_DIR": str(state / "s3"),
        "TMPDIR": str(state / "tmp"),
        "LAMBDA_ACCOUNT_CONCURRENCY": "16",
        "LAMBDA_WARM_TTL_SECONDS": "900",
        "OMSYNC_LAYER_CACHE": str(home.cache / "layers"),
        "DOCKER_HOST": "unix:///nonexistent",
        "LOG_LEVEL": "INFO",
    }
    command = [sys.executable, "-m", "local.stack.ministack_launcher"]
    # Functions run on this interpreter with their layers, never with the project's own sources.
    url = f"http://127.0.0.1:{port}/_ministack/health"
    return Part("aws", command, environment(**told), lambda: status_of(url) == 200, configuration=sources("local/stack"))


def oms(home: Home, port: int, database_url: str, clients: object, target: Mapping[str, str]) -> Part:
    """The reference OMS: API and dispatcher, which delivers to `target` (local/oms/delivery.py)."""
    data = home.folder("oms")
    kept = home.read(data / "oms-delivery.json")
    if not target.items() <= kept.items():
        home.write(data / "oms-delivery.json", {**kept, **target}, private=True)
    command = [sys.executable, "-m", "local.oms", "--port", str(port), "--home", str(data)]
    told = environment(OMS_DATABASE_URL=database_url, OMS_CLIENTS=json.dumps(clients))
    url = f"http://127.0.0.1:{port}/healthz"
    configuration = json.dumps(sorted(target.items())) + sources("local/oms")
    return Part("oms", command, told, lambda: status_of(url) == 200, configuration=configuration)


def salesforce(home: Home, port: int, certificates: ca.Certificates, credential: Mapping[str, str]) -> Part:
    """The Salesforce simulator, whose Named Credential is `credential` (local/salesforce/publisher.py)."""
    data = home.folder("salesforce")
    kept = home.read(data / "credential.json")
    if not credential.items() <= kept.items():
        home.write(data / "credential.json", {**kept, **credential}, private=True)
    command = [sys.executable, "-m", "local.salesforce", "--home", str(data), "--port", str(port)]
    command += ["--cert", str(certificates.certificate), "--key", str(certificates.key), "--metadata", str(ROOT / "salesforce")]
    url = f"https://localhost:{port}/services/data"
    configuration = json.dumps(sorted(credential.items())) + sources("local/salesforce", "salesforce")
    return Part(
        "salesforce", command, environment(), lambda: status_of(url, certificates.ca) == 200, seconds=90, configuration=configuration
    )


def sources(*folders: str) -> str:
    """A hash over a part's own files: after an edit, `up` starts it anew."""
    digest = hashlib.sha256()
    for folder in folders:
        for path in sorted(path for path in (ROOT / folder).rglob("*") if path.is_file() and "__pycache__" not in path.parts):
            digest.update(f"{path.relative_to(ROOT)}\0".encode() + path.read_bytes())
    return digest.hexdigest()


def postgres(home: Home, port: int) -> str:
    """Start PostgreSQL and install the OMS's schema; its URL."""
    url = database.start(home.folder("postgres"), port)
    database.install(url)
    return url


def postgres_state(home: Home) -> str:
    """ "running", "crashed" (its files say that it runs) or "stopped"."""
    try:
        pid = int((home.path / "postgres" / "postmaster.pid").read_text().splitlines()[0])
        os.kill(pid, 0)
    except FileNotFoundError:
        return "stopped"
    except (ProcessLookupError, ValueError, IndexError):
        return "crashed"
    return "running"


def stop_postgres(home: Home) -> None:
    """Stop it, if it runs."""
    if (home.path / "postgres").exists():
        database.stop(home.path / "postgres")


def status_of(url: str, ca_file: Path | None = None) -> int:
    """The HTTP status of a GET; OSError if nobody answers."""
    return get(url, ca_file=ca_file)[0]


def get(url: str, *, ca_file: Path | None = None, headers: Mapping[str, str] | None = None) -> tuple[int, bytes]:
    """Status and body of a GET, past any proxy."""
    return _call(urllib.request.Request(url, headers=dict(headers or {})), ca_file)


def post(url: str, content: object, *, ca_file: Path | None = None, headers: Mapping[str, str] | None = None) -> tuple[int, bytes]:
    """Status and body of a POST of JSON."""
    data = json.dumps(content).encode()
    request = urllib.request.Request(url, data=data, headers={"Content-Type": "application/json", **(headers or {})}, method="POST")
    return _call(request, ca_file)


def _call(request: urllib.request.Request, ca_file: Path | None) -> tuple[int, bytes]:
    handlers: list[urllib.request.BaseHandler] = [urllib.request.ProxyHandler({})]
    if ca_file:
        handlers.append(urllib.request.HTTPSHandler(context=create_default_context(cafile=str(ca_file))))
    try:
        with urllib.request.build_opener(*handlers).open(request, timeout=20) as response:
            return int(response.status), response.read()
    except urllib.error.HTTPError as refused:
        return refused.code, refused.read()


type Say = Callable[[str], None]
