"""A store of the small DX project, and the people who save in it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from local.salesforce.context import ADMIN, Context, Permissions
from local.salesforce.dml_types import Row
from local.salesforce.schema import Org
from local.salesforce.schema_source import load_org
from local.salesforce.store import Store
from tests.unit.salesforce_sim.core import dx
from tests.unit.salesforce_sim.core.people import People


@pytest.fixture(scope="session")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return dx.write_project(tmp_path_factory.mktemp("dx"))


@pytest.fixture(scope="session")
def org(project: Path) -> Org:
    return load_org(project)


class Clock:
    """Moves a second at every look."""

    def __init__(self) -> None:
        self.now = datetime(2026, 3, 1, 12, tzinfo=UTC)

    def __call__(self) -> datetime:
        self.now += timedelta(seconds=1)
        return self.now


@pytest.fixture
def store(org: Org, tmp_path: Path) -> Iterator[Store]:
    opened = Store(tmp_path / "org.db", org, clock=Clock())
    yield opened
    opened.close()


def _context(org: Org, user_id: str, name: str) -> Context:
    granted = org.permission_sets[name]
    return Context(user_id, Permissions(sets=(granted,), custom=granted.custom_permissions, user=granted.user_permissions))


@pytest.fixture
def people(store: Store, org: Org) -> People:
    admin = Context("005Om0000000001IAA", ADMIN)
    users = [
        {
            "Username": f"{alias}@omsync.example",
            "LastName": alias,
            "Email": f"{alias}@omsync.example",
            "Alias": alias[:8],
            "ProfileId": profile,
        }
        for alias, profile in (("admin", None), ("coord", None), ("integ", None), ("load", None))
    ]
    with store.write() as tx:
        profile = tx.new_ids(org.objects["Profile"], 1)[0]
        tx.connection.execute("INSERT INTO Profile (Id, Name) VALUES (?, 'System Administrator')", (profile,))
    results = store.insert("User", [user | {"ProfileId": profile} for user in users], admin)
    assert all(r.success for r in results), results
    ids = [str(r.id) for r in results]
    return People(
        Context(ids[0], ADMIN),
        _context(org, ids[1], "Care_Coordinator"),
        _context(org, ids[2], "OMSync_Integration"),
        _context(org, ids[3], "OMSync_Load"),
    )


@pytest.fixture
def record_types(org: Org) -> dict[str, str]:
    """Record type ids by developer name."""
    return {r.developer_name: r.id for obj in org for r in obj.record_types.values()}


@pytest.fixture
def patient(store: Store, people: People, record_types: dict[str, str]) -> Callable[..., Row]:
    """Create a patient, as the administrator unless told, and answer the stored Account."""

    def create(last_name: str = "Rivera", context: Context | None = None, **fields: object) -> Row:
        record = {"RecordTypeId": record_types["Patient"], "LastName": last_name, **fields}
        result = store.insert("Account", [record], context or people.admin)[0]  # type: ignore[list-item]
        assert result.success, result.errors
        row = store.get("Account", str(result.id))
        assert row is not None
        return row

    return create
