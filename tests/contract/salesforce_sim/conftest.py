"""An org as the recordings imply, per test; `salesforce_sim_harness` is `harness.py` beside this file."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from local.salesforce.testing import TestOrg, open_org

_spec = importlib.util.spec_from_file_location("salesforce_sim_harness", Path(__file__).with_name("harness.py"))
assert _spec and _spec.loader
harness = sys.modules["salesforce_sim_harness"] = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(harness)


@pytest.fixture
def org(tmp_path: Path) -> Iterator[TestOrg]:
    """Standard objects and the recordings' custom ones; no records but the set-up's."""
    with open_org(tmp_path / "org", [], org=harness.evidence_org()) as opened:
        harness.clear(opened, "Account", "Pricebook2")
        yield opened


@pytest.fixture(scope="session")
def rsa_pair() -> tuple[str, str]:
    """A private and a public key in PEM."""
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import rsa

    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    private = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    public = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    return private.decode(), public.decode()
