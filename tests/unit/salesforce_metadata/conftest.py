"""The project as it lies there, a copy to spoil, and an org loaded from it with people who save in it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from local.salesforce.context import ADMIN, Context, Permissions
from local.salesforce.dml_types import Json, Result, Row
from local.salesforce.schema import Org
from local.salesforce.schema_source import load_org
from local.salesforce.setup import ensure_org
from local.salesforce.store import Store
from ops.salesforce.project import ROOT


@pytest.fixture(scope="session")
def metadata_files() -> list[Path]:
    return sorted(ROOT.rglob("*-meta.xml"))


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A copy of salesforce/ that a test may spoil."""
    return Path(shutil.copytree(ROOT, tmp_path / "salesforce"))


@pytest.fixture(scope="session")
def org() -> Org:
    return load_org(ROOT)


@dataclass
class World:
    """A store loaded from the project's metadata, and one context per permission set."""

    store: Store
    org: Org
    admin: Context
    coordinator: Context
    clinician: Context
    integration: Context
    load: Context

    def kind(self, developer_name: str) -> str:
        return next(r.id for obj in self.org for r in obj.record_types.values() if r.developer_name == developer_name)

    def insert(self, name: str, context: Context, **fields: Json) -> Result:
        return self.store.insert(name, [fields], context)[0]

    def update(self, name: str, record_id: str, context: Context, **fields: Json) -> Result:
        return self.store.update(name, [{"Id": record_id, **fields}], context)[0]

    def made(self, name: str, context: Context, **fields: Json) -> str:
        """The id of a record that must be accepted."""
        result = self.insert(name, context, **fields)
        assert result.success, result.errors
        return str(result.id)

    def row(self, name: str, record_id: str) -> Row:
        row = self.store.get(name, record_id)
        assert row is not None
        return row

    def patient(self, **fields: Json) -> str:
        return self.made("Account", self.admin, RecordTypeId=self.kind("Patient"), LastName="Rivera", **fields)


@pytest.fixture
def world(tmp_path: Path, org: Org) -> Iterator[World]:
    store = Store(tmp_path / "org.db", org)
    ensure_org(store)

    def person(key: str, permission_set: str | None) -> Context:
        user_id = str(store.find("User", "Username", f"{key}@omsync.example")[0]["Id"])
        if permission_set is None:
            return Context(user_id, ADMIN)
        granted = org.permission_sets[permission_set]
        return Context(user_id, Permissions(sets=(granted,), custom=granted.custom_permissions, user=granted.user_permissions))

    yield World(
        store,
        org,
        person("admin", None),
        person("coordinator", "Care_Coordinator"),
        person("clinician", "Clinician"),
        person("integration", "OMSync_Integration"),
        person("load", "OMSync_Load"),
    )
    store.close()
