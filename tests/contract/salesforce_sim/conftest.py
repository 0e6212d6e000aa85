"""An org as the recordings imply, per test; `salesforce_sim_harness` is `harness.py` beside this file."""

from __future__ import annotations

import importlib.util
import json
import shutil
import ssl
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from local.salesforce.schema import Org
from local.salesforce.testing import TestOrg, open_org
from local.stack import ca

_spec = importlib.util.spec_from_file_location("salesforce_sim_harness", Path(__file__).with_name("harness.py"))
assert _spec and _spec.loader
harness = sys.modules["salesforce_sim_harness"] = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(harness)


@pytest.fixture(scope="session")
def schema() -> Org:
    return harness.evidence_org()


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory, schema: Org) -> Path:
    """An org on its first day; each test works on a copy."""
    home = tmp_path_factory.mktemp("template") / "org"
    with open_org(home, [], org=schema):
        pass
    return home


@pytest.fixture
def org(tmp_path: Path, template: Path, schema: Org) -> Iterator[TestOrg]:
    """Standard objects and the recordings' custom ones; no records but the set-up's."""
    home = shutil.copytree(template, tmp_path / "org")
    with open_org(home, [], org=schema) as opened:
        harness.clear(opened, "Account", "Pricebook2")
        yield opened


@dataclass(frozen=True)
class Served:
    """A simulator process on HTTPS, with the project's metadata."""

    url: str
    ca: Path
    session: dict[str, str]

    def admin(self, path: str, body: object) -> dict[str, str]:
        answer = httpx.post(f"{self.url}/_admin/{path}", json=body, verify=ssl.create_default_context(cafile=self.ca), trust_env=False)
        assert answer.status_code == 200, answer.text
        return dict(answer.json())


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """`python -m local.salesforce` as an operator starts it; must end cleanly on SIGTERM."""
    folder = tmp_path_factory.mktemp("served")
    certificates = ca.ensure(folder / "ca")
    command = [sys.executable, "-m", "local.salesforce", "--home", str(folder / "org"), "--metadata", str(harness.ROOT / "salesforce")]
    command += ["--cert", str(certificates.certificate), "--key", str(certificates.key)]
    with (
        (folder / "log").open("w") as log,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True, cwd=harness.ROOT) as process,
    ):
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            assert line, (folder / "log").read_text()
            session = json.loads(Path(json.loads(line)["session"]).read_text())
            yield Served(session["instance_url"], certificates.ca, session)
        finally:
            process.terminate()
            assert process.wait(timeout=30) == 0


@pytest.fixture(scope="session")
def rsa_pair() -> tuple[str, str]:
    """A private and a public key in PEM."""
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import rsa

    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    private = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    public = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    return private.decode(), public.decode()
