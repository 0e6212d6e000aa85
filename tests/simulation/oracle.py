"""What must hold at the end of any schedule (DESIGN §4: 1, 2, 3), judged from outside: the two systems, the Cases, and every edit's story.

An edit *covers* those it was made on top of. Two edits are concurrent if neither covers the other: nobody saw both. An edit whose value, and
everything made on top of it, is gone was lost; that is only right if a concurrent edit of the other side contested it, and the policy is for
the winner.
"""

from __future__ import annotations

from collections.abc import Iterator

from people import is_bad
from rules import COMMAND, TABLES, SimRegistry, Table, fields_of
from world import PARTS, Record, Row, World

from omsync.sync.records import OmsRow, RecordKey, RecordRef, SalesforceRef


class Oracle:
    """Finds what is wrong with a world that has come to rest."""

    def __init__(self, world: World, merged: set[str], failed: dict[RecordRef, str]) -> None:
        self.world, self.merged = world, merged
        self.failed = failed  # what ended in the DLQ, with a Case, and the error's code
        self.registry = SimRegistry()
        self.open = [request for request, status in world.cases.values() if status == "open"]

    def complaints(self) -> list[str]:
        return [*self._failures(), *self._records(), *self._rows(), *self._edits(), *self._commands(), *self._cases()]

    # ------------------------------------------------------------------------------------------------------- convergence
    def _failures(self) -> Iterator[str]:
        """A birth that the OMS refuses for good ends in the DLQ, with a Case; nothing else may."""
        for ref, code in self.failed.items():
            if code != "sync.parent" and (code != "oms.refused" or ref in self.world.rows):
                yield f"failed: {ref} {code}"

    def _rows(self) -> Iterator[str]:
        for key, row in self.world.rows.items():
            if key in self.failed:
                continue
            table = TABLES[key.table]
            live = [r for r in self.world.records.values() if r.oms_id == key.id and not r.deleted and r.object == table.object]
            if len(live) > 1:
                yield f"duplicate: {key}"
            elif not live:
                if not self._may_be_absent(key, row, table):
                    yield f"missing in Salesforce: {key}"
            else:
                yield from self._agree(key, row, live[0], table)
        for identity, count in self.world.inserted.items():
            if count > 1 + self.world.purged.get(identity, 0):
                yield f"inserted {count} times: messages/{identity}"

    def held_back(self) -> list[str]:
        """What a bad value kept from the other values of its record."""
        found: list[str] = []
        for key, row in self.world.rows.items():
            table, record = TABLES[key.table], self.world.live(key)
            bad = {unit for unit, value in row.values.items() if is_bad(value)}
            if bad and record is not None and not self._may_be_absent(key, row, table):
                found += [told for told in self._agree(key, row, record, table) if not any(f" {unit}: " in told for unit in bad)]
        return found

    def _may_be_absent(self, key: RecordKey, row: Row, table: Table) -> bool:
        if key.id in self.merged:
            return any(request.record == key for request in self.open) or row.values.get("status") == "merged"
        return table.owner == "salesforce" and row.deleted

    def _agree(self, key: RecordKey, row: Row, record: Record, table: Table) -> Iterator[str]:
        world, rules = self.world, self.registry.shared(key.table)
        assert rules is not None
        if table.owner == "salesforce" and row.deleted:
            yield f"deleted in the OMS, lives in Salesforce: {key}"
        oms = rules.row_values(self._with_winners(row), table.object)
        salesforce = rules.record_values(world.as_record(record))
        for unit in table.units.values():
            if (unit.insert_only and record.write is None) or oms[unit.name] == salesforce[unit.name]:
                continue
            if not any(request.record == key and request.unit == unit.name for request in self.open):
                yield f"diverged: {key} {unit.name}: {dict(oms[unit.name])} / {dict(salesforce[unit.name])}"
        if record.version != row.version:
            yield f"version: {key}: {row.version} / {record.version}"
        if record.fields.get(COMMAND.field):
            yield f"command not cleared: {key}"

    def _with_winners(self, row: Row) -> OmsRow:
        seen = self.world.as_row(row)
        patient = row.values.get("patient")
        for _ in range(10):
            item = self.world.items.get(RecordKey("patients", str(patient)))
            if item is None or item.merged_into is None:
                break
            patient = item.merged_into
        return seen.with_values({"patient": patient}) if patient != row.values.get("patient") else seen

    def _records(self) -> Iterator[str]:
        for record in self.world.records.values():
            if record.deleted or record.record_type is not None:
                continue
            table = next(table for table in TABLES.values() if table.object == record.object)
            if SalesforceRef(record.object, record.id) in self.failed:
                continue
            if record.oms_id is None or RecordKey(table.name, record.oms_id) not in self.world.rows:
                yield f"missing in the OMS: {table.name} {record.id} as {record.oms_id}"

    # -------------------------------------------------------------------------------------------------------------- edits
    def _edits(self) -> Iterator[str]:
        for (identity, unit), numbers in self.world.by_unit.items():
            for table in TABLES.values():
                key = RecordKey(table.name, identity)
                if key not in self.world.rows or key in self.failed or identity in self.merged:
                    continue
                if not (table.owner == "salesforce" and self.world.rows[key].deleted):
                    yield from self._story(key, unit, table, numbers)

    def _story(self, key: RecordKey, unit: str, table: Table, numbers: list[int]) -> Iterator[str]:
        edits, rules = self.world.edits, table.units[unit]
        row, record = self.world.rows[key], self.world.live(key)
        ends = [row.values.get(unit)]
        if record is not None:
            ends.append(record.fields.get(fields_of(table, unit)[0]))
        covered = set().union(*map(self.world.covered, ends))
        said = {value["line"] if isinstance(value, dict) else value for value in ends} - {None}
        texts = {edits[number].text for number in covered}
        was_locked = unit in {name for locks in table.locks.values() for name in locks} and row.values.get("status") != "active"
        beneath = {edits[number].over for number in numbers}  # their authors gave them up themselves
        lost = [edits[number] for number in numbers if number not in covered | beneath and not edits[number].lost]
        for edit in lost:
            if edit.text in texts or (was_locked and edit.side == "salesforce") or (rules.owner == "salesforce" and edit.side == "oms"):
                continue
            rivals = [edits[n] for n in numbers if edits[n].side != edit.side and not self._related(n, edit.id)]
            if not rivals:
                yield f"edit lost: {key} {unit} {edit}"
            elif rules.policy in ("oms", "salesforce") and edit.side == rules.policy:
                yield f"policy's winner lost: {key} {unit} {edit}"
            elif rules.policy == "revoked_wins" and edit.text == "no" and "no" not in said:
                if not any(edits[n].text == "no" and edits[n].at > edit.at for n in covered):
                    yield f"revocation lost: {key} {unit} {edit}"
            elif not any(entry.record == key and entry.unit == unit for entry in self.world.log.values()):
                held = any(request.record == key and request.unit == unit for request, _ in self.world.cases.values())
                same = any(rival.text == edit.text for rival in rivals)
                if not held and not same:
                    yield f"loser not logged: {key} {unit} {edit}"
        if rules.policy == "latest" and len(said) == 1 and not was_locked and self.world.times and not self.world.skew:
            alive = [edits[n] for n in numbers if n in covered or not edits[n].lost]
            last = max(alive, key=lambda edit: edit.at, default=None)
            if last is not None and last.text.rstrip("!") not in {str(text).rstrip("!") for text in said}:
                yield f"older edit won: {key} {unit} {last}"

    def _related(self, one: int, other: int) -> bool:
        return one in self.world.covered_by(other) or other in self.world.covered_by(one)

    # ------------------------------------------------------------------------------------------------- commands and Cases
    def _commands(self) -> Iterator[str]:
        for number, identity in self.world.requested.items():
            count = self.world.executed.get(number, 0)
            if count > 1:
                yield f"command executed {count} times: orders/{identity}"
            elif count == 0:
                yield f"command lost: orders/{identity}"

    def _cases(self) -> Iterator[str]:
        for request, _ in self.world.cases.values():
            if request.reason != "conflict" or request.unit is None:
                continue
            numbers = self.world.by_unit[request.record.id, request.unit]
            edits = self.world.edits
            pairs = ((a, b) for a in numbers for b in numbers if edits[a].side == "oms" and edits[b].side == "salesforce")
            if TABLES[request.record.table].units[request.unit].policy != "manual" or all(self._related(a, b) for a, b in pairs):
                yield f"Case without a conflict: {request.key}"


__all__ = ["PARTS", "Oracle"]
