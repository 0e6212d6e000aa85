"""What formulas see beyond the record: the user, the profile, and parents, read once per transaction."""

from __future__ import annotations

from local.salesforce.context import Context
from local.salesforce.dml_types import Row
from local.salesforce.formula import Value
from local.salesforce.schema import ObjectType
from local.salesforce.store import Transaction


class RuleFrame:
    """The Frame of one batch. Parents are cached: they don't change under the writer's lock while rules run."""

    def __init__(self, tx: Transaction, context: Context, obj: ObjectType) -> None:
        self._tx = tx
        self._context = context
        self.custom_permissions = context.permissions.custom
        self.now = tx.now
        self._parents: dict[str, Row | None] = {}
        self._record_types: dict[str, dict[str, Value]] = {
            r.id: {"Id": r.id, "DeveloperName": r.developer_name, "Name": r.label, "SobjectType": r.object, "IsActive": int(r.active)}
            for r in obj.record_types.values()
        }

    def user(self, name: str) -> Value:
        row = self._row(self._context.user_id)
        return (row or {}).get(name) or ""

    def profile(self, name: str) -> Value:
        row = self._row(str(self.user("ProfileId")))
        return (row or {}).get(name) or ""

    def parent(self, field_name: str, row: Row, name: str) -> Value:
        if field_name == "RecordTypeId":
            return self._record_types.get(str(row[field_name]), {}).get(name)
        parent = self._row(str(row[field_name])) if row[field_name] else None
        return parent[name] if parent else None

    def _row(self, record_id: str) -> Row | None:
        if record_id not in self._parents:
            obj = self._tx.store.org.object_of_id(record_id)
            self._parents[record_id] = self._tx.rows(obj.name, [record_id]).get(record_id) if obj else None
        return self._parents[record_id]
