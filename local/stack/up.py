"""Bring the stack up: what does not run is started, what has changed is deployed, what is fine is left alone."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlencode

from local.oms import database
from local.stack import ca, deploy, parts, processes
from local.stack.deploy import Aws
from local.stack.home import Home, StackFault
from local.stack.secrets_store import Secrets, put

type Say = Callable[[str], None]

OMS_CLIENT = "omsync"
_USERS = {"username": "integration@omsync.example", "load_username": "load@omsync.example"}


@dataclass
class Ascent:
    """One `up`: what it started is stopped again if it fails or is interrupted."""

    home: Home
    say: Say
    started: list[str] = field(default_factory=list)
    postgres_started: bool = False

    def run(self) -> dict[str, str]:
        """The endpoints of the running stack."""
        try:
            return self._run()
        except BaseException:  # Ctrl-C too: nothing that this call started stays behind
            self._undo()
            raise

    def _run(self) -> dict[str, str]:
        running = frozenset(name for name in parts.NAMES if self._state(name) == "running")
        ports = self.home.ports(running | ({"postgres"} if self._postgres_runs() else frozenset()))
        certificates = ca.ensure(self.home.folder("ca"))
        aws = Aws(f"http://127.0.0.1:{ports['aws']}")
        build_id = deploy.build_id()
        with ThreadPoolExecutor(3) as pool:
            jobs: list[Future[object]] = [
                pool.submit(self._start, parts.aws(self.home, ports["aws"])),
                pool.submit(self._build, build_id),
                pool.submit(self._start_postgres, ports["postgres"]),
            ]
            built, database_url = (job.result() for job in _all(jobs)[1:])
        told = self._deploy(aws, Path(str(built)), build_id, ports, certificates)
        secrets = self._seed_secrets(aws, told, str(database_url), certificates)
        clients = _clients(aws, told)
        api_url = f"{aws.url}/_aws/execute-api/{told['ApiId']}/live"
        delivery = Delivery(api_url, f"{aws.url}/oauth2/token", clients)
        with ThreadPoolExecutor(2) as pool:
            _all(
                [
                    pool.submit(self._start_oms, ports["oms"], str(database_url), secrets, delivery),
                    pool.submit(self._start_salesforce, ports["salesforce"], certificates, secrets, delivery),
                ]
            )
        endpoints = self._endpoints(aws, ports, str(database_url), certificates, delivery)
        self._check(endpoints, delivery)
        self.home.write(self.home.endpoints_file, endpoints, private=True)
        return endpoints

    # ------------------------------------------------------------ parts

    def _state(self, name: str) -> str:
        state = processes.state(self.home, name)
        if state == "crashed":
            log = self.home.log(name)
            self.say(f"{name} had crashed; the end of {log}:\n{processes.tail(log)}")
            processes.stop(self.home, name)
        return state

    def _start(self, part: processes.Part) -> None:
        if processes.runs_as_told(self.home, part):
            return
        with self._told(part.name):
            processes.stop(self.home, part.name)
            self.started.append(part.name)
            processes.start(self.home, part)

    def _postgres_runs(self) -> bool:
        return parts.postgres_state(self.home) == "running"

    def _start_postgres(self, port: int) -> str:
        """The embedded server, or the database that OMS_DATABASE_URL names."""
        if url := os.environ.get("OMS_DATABASE_URL"):
            database.install(url)
            return url
        ran = self._postgres_runs()
        with self._told("postgres") if not ran else contextlib.nullcontext():
            self.postgres_started = not ran
            return parts.postgres(self.home, port)

    def _start_oms(self, port: int, database_url: str, secrets: Secrets, delivery: Delivery) -> None:
        if importlib.util.find_spec("local.oms.__main__") is None:
            return
        clients = [
            {"id": OMS_CLIENT, "secret": secrets.oms_client_secret, "scopes": ["oms/read", "oms/write"]},
            {"id": "operator", "secret": secrets.operator_secret, "scopes": ["oms/actions", "oms/admin", "oms/read", "oms/write"]},
        ]
        client_id, client_secret = delivery.clients["Oms"]
        target = {
            "url": delivery.api_url,
            "token_url": delivery.token_url,
            "client_id": client_id,
            "client_secret": client_secret,
            "webhook_secret": secrets.webhook_secret,
        }
        self._start(parts.oms(self.home, port, database_url, clients, target))

    def _start_salesforce(self, port: int, certificates: ca.Certificates, secrets: Secrets, delivery: Delivery) -> None:
        if importlib.util.find_spec("local.salesforce.__main__") is None:
            return
        client_id, client_secret = delivery.clients["Salesforce"]
        credential = {"url": delivery.api_url, "token_url": delivery.token_url, "client_id": client_id, "client_secret": client_secret}
        self._start(parts.salesforce(self.home, port, certificates, credential))
        register_client(self.home, f"https://localhost:{port}", certificates, secrets.salesforce_client_id)

    # ------------------------------------------------------------ AWS

    def _build(self, build_id: str) -> Path:
        if (self.home.cache / "builds" / build_id[:20] / "template.yaml").exists():
            return deploy.build(self.home, build_id)
        with self._told("sam build"):
            return deploy.build(self.home, build_id)

    def _deploy(self, aws: Aws, template: Path, build_id: str, ports: dict[str, int], certificates: ca.Certificates) -> dict[str, str]:
        parameters = {
            "BuildId": build_id,
            "OmsBaseUrl": f"http://127.0.0.1:{ports['oms']}",
            "SalesforceBaseUrl": f"https://localhost:{ports['salesforce']}",
            "SalesforceCa": str(certificates.ca),
        }
        begun = time.monotonic()
        if deploy.deploy(self.home, aws, template, parameters):
            self.say(f"{'sam deploy':12} done   {time.monotonic() - begun:5.1f} s")
        return deploy.outputs(aws)

    def _seed_secrets(self, aws: Aws, told: dict[str, str], database_url: str, certificates: ca.Certificates) -> Secrets:
        secrets = Secrets.of(self.home)
        key = ca.ensure_signing_key(self.home.folder("ca"), "integration").key.read_text()
        put(aws, told["OmsSecretArn"], {"client_id": OMS_CLIENT, "client_secret": secrets.oms_client_secret})
        put(aws, told["OmsDatabaseSecretArn"], {"url": database_url})
        put(aws, told["SalesforceSecretArn"], {"client_id": secrets.salesforce_client_id, **_USERS, "private_key": key})
        put(aws, told["WebhookSecretArn"], {"current": secrets.webhook_secret, "previous": None})
        return secrets

    # ------------------------------------------------------------ the end

    def _endpoints(
        self, aws: Aws, ports: dict[str, int], database_url: str, certificates: ca.Certificates, delivery: Delivery
    ) -> dict[str, str]:
        session = self.home.read(self.home.path / "salesforce" / "session.json")
        return {
            "oms_database_url": database_url,
            "oms_api_url": f"http://127.0.0.1:{ports['oms']}",
            "salesforce_url": f"https://localhost:{ports['salesforce']}",
            "salesforce_ca": str(certificates.ca),
            "salesforce_token": str(session.get("access_token", "")),
            "aws_endpoint_url": aws.url,
            "region": deploy.REGION,
            "stack_name": deploy.STACK,
            "api_url": delivery.api_url,
            "mailbox_url": f"{aws.url}/_omsync/mailbox",
            "token_url": delivery.token_url,
            **{f"{name.lower()}_client_id": client for name, (client, _secret) in delivery.clients.items()},
            **{f"{name.lower()}_client_secret": secret for name, (_client, secret) in delivery.clients.items()},
            "oms_operator_id": "operator",
            "oms_operator_secret": Secrets.of(self.home).operator_secret,
        }

    def _check(self, endpoints: dict[str, str], delivery: Delivery) -> None:
        """Ask the deployed health function, as an operator would."""
        headers = {"Authorization": f"Bearer {delivery.token('Ops', 'ops/read')}"}
        status, body = parts.get(f"{endpoints['api_url']}/health", headers=headers)
        if status != 200:
            raise StackFault(f"GET /health answered {status}: {body[:300].decode(errors='replace')}; see {self.home.log('aws')}")
        report = json.loads(body)
        for name, check in report["checks"].items():
            if not check["reachable"]:
                self.say(f"health: {name} is not reachable ({check.get('reason')})")

    @contextlib.contextmanager
    def _told(self, what: str) -> Iterator[None]:
        begun = time.monotonic()
        yield
        self.say(f"{what:12} ready  {time.monotonic() - begun:5.1f} s")

    def _undo(self) -> None:
        for name in reversed(self.started):
            processes.stop(self.home, name)
        if self.postgres_started:
            parts.stop_postgres(self.home)


@dataclass(frozen=True, slots=True)
class Delivery:
    """Where the two systems send to, and as whom: clients["Oms"] = (id, secret)."""

    api_url: str
    token_url: str
    clients: dict[str, tuple[str, str]]

    def token(self, client: str, scope: str) -> str:
        """An access token of one of the machines."""
        import urllib.request

        client_id, client_secret = self.clients[client]
        form = {"grant_type": "client_credentials", "client_id": client_id, "client_secret": client_secret, "scope": scope}
        request = urllib.request.Request(self.token_url, data=urlencode(form).encode(), method="POST")
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=20) as response:
            return str(json.load(response)["access_token"])


def register_client(home: Home, url: str, certificates: ca.Certificates, client_id: str) -> None:
    """Tell the org about omsync's External Client App: the certificate its JWTs are signed with, and whom they may name."""
    certificate = ca.ensure_signing_key(home.folder("ca"), "integration").certificate.read_text()
    app = {"client_id": client_id, "public_key": certificate, "users": list(_USERS.values())}
    status, body = parts.post(f"{url}/_admin/keys", app, ca_file=certificates.ca)
    if status >= 300:
        raise StackFault(f"the org refused the client app ({status}): {body[:300].decode(errors='replace')}")


def _clients(aws: Aws, told: dict[str, str]) -> dict[str, tuple[str, str]]:
    cognito = aws.client("cognito-idp")
    found = {}
    for name in ("Oms", "Salesforce", "Ops"):
        client_id = told[f"{name}ClientId"]
        client = cognito.describe_user_pool_client(UserPoolId=told["UserPoolId"], ClientId=client_id)["UserPoolClient"]
        found[name] = (client_id, str(client["ClientSecret"]))
    return found


def _all[T](jobs: list[Future[T]]) -> list[Future[T]]:
    """Wait for all; the first fault, after the others have ended."""
    faults = [fault for job in jobs if (fault := job.exception())]
    if faults:
        raise faults[0]
    return jobs
