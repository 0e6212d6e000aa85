"""What people do on both sides, at random: edit, clear, revert, request, create, sign, ship, delete, undelete, purge, merge, close Cases."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from rules import COMMAND, MIRRORED, TABLES, fields_of
from world import Record, Row, Typed, World

from omsync.mapping.model import Json
from omsync.sync.births import oms_id
from omsync.sync.records import RecordKey, SalesforceRef, Side, Stamp


def identity(record: Record) -> str:
    """The OMS id that a record has or will have."""
    return record.oms_id or oms_id(SalesforceRef(record.object, record.id))


def is_bad(value: Json) -> bool:
    """Can the mapping not carry it, or Salesforce not take it?"""
    return str(value["line"] if isinstance(value, dict) else value).startswith(("unfit", "poison"))


class People:
    """Everybody who is not the sync."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.random = world.random
        self.bad = 0.0  # how often the OMS's people write a value that the mapping cannot carry, or that Salesforce refuses
        self.merged: set[str] = set()  # identities that were merged away, on either side
        self.restless: list[tuple[float, Callable[[], None]]] = [
            (10, self.edit_oms),
            (12, self.edit_salesforce),
            (3, self.request),
            (1.5, self.create_in_oms),
            (2.5, self.create_in_salesforce),
            (1, self.advance),
            (1, self.delete_in_oms),
            (1.5, self.delete_in_salesforce),
            (1, self.undelete),
            (0.5, self.purge),
            (0.5, self.merge_in_salesforce),
            (0.7, self.merge_in_oms),
            (2, self.close_case),
        ]

    def act(self) -> None:
        weights = [weight for weight, _ in self.restless]
        self.random.choices([do for _, do in self.restless], weights)[0]()

    # -------------------------------------------------------------------------------------------------------------- edits
    def _text(self, unit: str) -> str:
        if unit == "sms":
            return self.random.choice(("yes", "no"))
        chance = self.random.random()
        if chance < 0.35:
            return self.random.choice(("A", "B", ""))
        if unit == "phone" and chance < 0.42:
            return f"bad{self.world.number()}"
        if unit == "phone" and chance < 0.49:
            return f"v{self.world.number()}!"
        return f"v{self.world.number()}"

    def _value(self, table: str, unit: str, key: str, side: Side, old: Json) -> tuple[Json, bool]:
        """A new value for a unit as a column, and whether it differs from the old one."""
        text = self._text(unit)
        seen = old["line"] if isinstance(old, dict) else old
        if side == "oms" and text.startswith("bad"):
            text = "fine"
        if side == "oms":
            text = text.rstrip("!")
            if unit in ("nick", "lang", "title", "ship") and self.random.random() < self.bad:
                text = f"{self.random.choice(('unfit', 'poison'))} {self.world.number()}"
        if text == seen:
            return old, False
        value = self.world.edit(key, unit, side, text, seen)
        return ({"line": value, "city": f"city of {text}"} if unit in TABLES[table].addresses else value), True

    def edit_oms(self) -> None:
        if not self.world.rows:
            return
        row = self.random.choice(list(self.world.rows.values()))
        table = TABLES[row.key.table]
        units = [name for name, unit in table.units.items() if unit.owner == "both"] + [
            name for name in ("vip", "subject", "agent") if name in table.units and self.random.random() < 0.2
        ]
        values: dict[str, Json] = {}
        for unit in self.random.sample(units, min(len(units), self.random.choice((1, 1, 2)))):
            if unit in table.locks.get(str(row.values.get("status")), ()):
                continue  # signed: the OMS refuses it too
            value, changed = self._value(table.name, unit, row.key.id, "oms", row.values.get(unit))
            if changed:
                values[unit] = value
        if table.name in ("patients", "messages") and self.random.random() < 0.3:
            values["number" if table.name == "patients" else "delivery"] = f"n{self.world.number()}"
        if values:
            self.world.store(row, values, "person")

    def mend(self) -> None:
        """Give every bad value another one."""
        for row in self.world.rows.values():
            for unit, old in list(row.values.items()):
                seen = old["line"] if isinstance(old, dict) else old
                if is_bad(seen):
                    value = self.world.edit(row.key.id, unit, "oms", f"mended {self.world.number()}", seen)
                    self.world.store(row, {unit: {"line": value, "city": "c"} if isinstance(old, dict) else value}, "person")

    def _live(self, *tables: str) -> list[Record]:
        objects = {TABLES[table].object for table in tables or TABLES}
        return [record for record in self.world.records.values() if record.object in objects and not record.deleted]

    def edit_salesforce(self) -> None:
        live = self._live("patients", "notes", "orders", "cases")
        if live:
            self._edit_record(self.random.choice(live))

    def _edit_record(self, record: Record, only: str | None = None) -> None:
        table = next(table for table in TABLES.values() if table.object == record.object)
        units = [only] if only else [name for name, unit in table.units.items() if unit.owner != "oms" and unit.parent is None]
        fields: dict[str, Json] = {}
        for unit in self.random.sample(units, min(len(units), self.random.choice((1, 1, 2)))):
            names = fields_of(table, unit)
            old = record.fields.get(names[0])
            value, changed = self._value(table.name, unit, identity(record), "salesforce", {"line": old} if len(names) > 1 else old)
            if changed:
                fields |= {names[0]: value["line"], names[1]: value["city"]} if isinstance(value, dict) else {names[0]: value}
        if fields:
            self.world.save_as_person(record, fields)

    def request(self) -> None:
        free = [record for record in self._live("orders") if not record.fields.get(COMMAND.field)]
        if free:
            record = self.random.choice(free)
            number = self.world.number()
            self.world.requested[number] = identity(record)
            self.world.save_as_person(record, {COMMAND.field: Typed("reship", number)})

    # ------------------------------------------------------------------------------------------------------------- births
    def _patient_row(self) -> str | None:
        found = [key.id for key, row in self.world.rows.items() if key.table == "patients" and row.values.get("status") != "merged"]
        return self.random.choice(found) if found else None

    def create_in_oms(self, table: str | None = None) -> None:
        world = self.world
        spec = TABLES[table or self.random.choice(("patients", "notes", "orders", "messages"))]
        key = RecordKey(spec.name, world.uuid())
        values: dict[str, Json] = {}
        for name, unit in spec.units.items():
            if unit.parent is None and unit.owner != "oms":
                values[name] = self._value(spec.name, name, key.id, "oms", None)[0]
        values |= {name: f"{name} {world.number()}" for name in ("number", "delivery", "text") if name in spec.units}
        if "status" in spec.units:
            values["status"] = "active"
        if "patient" in spec.units:
            if (patient := self._patient_row()) is None:
                return
            values["patient"] = patient
        if "pharmacy" in spec.units and self.random.random() < 0.5:
            values["pharmacy"] = world.uuid()
            world.mirrored_rows.add(str(values["pharmacy"]))
        world.insert_row(key, values, "person")

    def create_in_salesforce(self) -> None:
        world = self.world
        spec = TABLES[self.random.choice(("patients", "notes", "cases", "messages"))]
        patients = self._live("patients")
        if "patient" in spec.units and not patients:
            return
        record = world.insert_record(spec.object, {}, person=True)
        fields: dict[str, Json] = {}
        for name, unit in spec.units.items():
            if unit.parent is None and unit.owner != "oms":
                value = self._value(spec.name, name, identity(record), "salesforce", None)[0]
                text = value["line"] if isinstance(value, dict) else value
                assert isinstance(text, str)
                if text.startswith("bad"):  # a birth the OMS refuses is another test's
                    edit = world.edits[text.edit]  # type: ignore[attr-defined]
                    edit.text = "ok"
                    value = Typed("ok", edit.id)
                names = fields_of(spec, name)
                fields |= {names[0]: value["line"], names[1]: value["city"]} if isinstance(value, dict) else {names[0]: value}
        if "text" in spec.units:
            fields["text__c"] = f"text {world.number()}"
        if "patient" in spec.units:
            record.parents["patient__c"] = self.random.choice(patients).id
        record.fields = fields
        at = world.tick()
        if spec.guarded:
            record.stamps = {name: Stamp(1, at + world.skew) for name in fields}
        else:
            world.inserted[identity(record)] = 1
        world.hint(SalesforceRef(record.object, record.id))
        world.say("SF person created", record.object, record.id, fields, "as", identity(record))

    # ------------------------------------------------------------------------------------------------------- what they become
    def advance(self) -> None:
        """Sign a note, ship an order."""
        rows = [row for row in self.world.rows.values() if row.key.table in ("notes", "orders") and row.values.get("status") == "active"]
        if rows:
            row = self.random.choice(rows)
            self.world.store(row, {"status": "signed" if row.key.table == "notes" else "shipped"}, "person")

    def delete_in_oms(self) -> None:
        """Soft-delete, or restore."""
        rows = [row for row in self.world.rows.values() if row.key.table in ("patients", "orders", "notes")]
        if rows:
            row = self.random.choice(rows)
            self.world.store(row, {"deleted_at": None if row.deleted else "now"}, "person")

    def delete_in_salesforce(self) -> None:
        if live := self._live():
            self.world.delete_record(self.random.choice(live))

    def _binned(self) -> list[Record]:
        records = self.world.records.values()
        taken = {(r.object, r.oms_id) for r in records if not r.deleted and r.oms_id}
        return [r for r in records if r.deleted and r.master_id is None and (r.object, r.oms_id) not in taken]

    def undelete(self) -> None:
        if binned := self._binned():
            record = self.random.choice(binned)
            record.deleted = False
            self.world.hint(SalesforceRef(record.object, record.id))
            self.world.say("SF person undeleted", record.object, record.id)

    def purge(self) -> None:
        """Empty the recycle bin: what the OMS has not is lost with the record."""
        binned = [record for record in self._binned() if not record.fields.get(COMMAND.field)]
        if binned:
            record = self.random.choice(binned)
            del self.world.records[record.id]
            self.world.purged[identity(record)] = self.world.purged.get(identity(record), 0) + 1
            for (key, unit), edits in self.world.by_unit.items():
                if key == identity(record):
                    self._destroy(record, unit, edits)
            self.world.say("SF person purged", record.object, record.id)

    def _destroy(self, record: Record, unit: str, edits: list[int]) -> None:
        """What this record alone had is lost."""
        table = next(table for table in TABLES.values() if table.object == record.object)
        row = self.world.rows.get(RecordKey(table.name, identity(record)))
        kept = self.world.covered(row.values.get(unit)) if row is not None else set()
        had = self.world.covered(record.fields.get(fields_of(table, unit)[0]))
        for number in had.intersection(edits) - kept:
            if self.world.edits[number].side == "salesforce":
                self.world.edits[number].lost = True

    # ------------------------------------------------------------------------------------------------------------- merges
    def merge_in_salesforce(self) -> None:
        live = self._live("patients")
        if len(live) >= 2:
            winner, loser = self.random.sample(live, 2)
            self.merged.add(identity(loser))
            self.world.delete_record(loser, master=winner)

    def merge_in_oms(self) -> None:
        """The merge that a Case asks for, or one of their own."""
        wanted = [request for request, status in self.world.cases.values() if request.reason == "merged" and status == "open"]
        rows = [row for row in self.world.rows.values() if row.key.table == "patients" and row.values.get("status") != "merged"]
        if wanted and (into := wanted[0].into) is not None and into in self.world.rows and wanted[0].record in self.world.rows:
            loser, winner = self.world.rows[wanted[0].record], self.world.rows[into]
        elif len(rows) >= 2 and self.random.random() < 0.3:
            loser, winner = self.random.sample(rows, 2)
        else:
            return
        self.merged.add(loser.key.id)
        self._merge_rows(loser, winner)

    def _merge_rows(self, loser: Row, winner: Row) -> None:
        self.world.store(loser, {"status": "merged", "merged_into": winner.key.id}, "person")
        for row in list(self.world.rows.values()):
            if row.values.get("patient") == loser.key.id:
                self.world.store(row, {"patient": winner.key.id}, "person")

    # -------------------------------------------------------------------------------------------------------------- Cases
    def close_case(self) -> None:
        """Settle a conflict: perhaps write what is right into Salesforce, then close the Case, which announces it."""
        held = [request for request, status in self.world.cases.values() if status == "open" and request.unit is not None]
        if not held:
            return
        request = self.random.choice(held)
        record = self.world.live(request.record)
        if record is not None and request.unit is not None and (request.reason == "refused" or self.random.random() < 0.5):
            self._edit_record(record, request.unit)
        self.world.cases[request.key] = (replace(request), "closed")
        self.world.hint(request.record)
        self.world.say("SF person closed", request.key)


__all__ = ["MIRRORED", "People", "identity"]
