"""Records born in Salesforce: the OMS id follows from the Salesforce id, so any number of attempts create one row.

    1. OMS_Id__c := uuid5 of the Salesforce id, under the save count that was read
    2. the intent: what this attempt carries, as hashes, beside what earlier attempts carried
    3. create in the OMS under that id
    4. base := what the attempt that won carried

Two attempts may carry different values (somebody edited in between), and nobody knows whose create came first. So attempts are kept until
the row is there: a unit whose value in the OMS is an attempt's has not moved since; any other was edited in the OMS.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import replace

from omsync.sync.context import Work
from omsync.sync.effects import CreateRow, WriteRecord
from omsync.sync.ports import Creation, Write
from omsync.sync.records import EDITED_SINCE, Intent, Item, Mark, OmsRow, SalesforceRecord, SalesforceRef

#: the namespace of ids born in Salesforce; never to be changed
BORN_IN_SALESFORCE = uuid.UUID("0b5c5f3e-3d55-5a5e-8a36-2f0e6a1f4c77")


def oms_id(ref: SalesforceRef) -> str:
    """The OMS id of a record born in Salesforce (from its 18-character id)."""
    return str(uuid.uuid5(BORN_IN_SALESFORCE, ref.id))


async def bear(work: Work, item: Item, record: SalesforceRecord) -> None:
    """One step towards a row in the OMS; the record is looked at again afterwards."""
    if record.oms_id is None:
        seen = record.save if work.rules.guarded else None
        await WriteRecord(Write(object=record.object, id=record.id, fields={}, seen=seen, oms_id=work.key.id))
        return
    intent = Intent(id=work.shared.clock.new_id(), births=_attempts(work, item, record))
    item = replace(item, object=record.object, salesforce_id=record.id, gone=False, intent=intent)
    item = await work.save(item)
    row = await CreateRow(Creation(work.key, intent.id, work.rules.birth(record)))
    work.carried_from_salesforce(record, intent.births[-1])
    base = base_of_birth(work, intent, row, record.object)
    await work.save(replace(item, base={**item.base, **base}, intent=None, mapping=work.rules.fingerprint))


def _attempts(work: Work, item: Item, record: SalesforceRecord) -> tuple[Mapping[str, Mark], ...]:
    """What earlier attempts carried, and this one, newest last."""
    values = work.rules.record_values(record)
    attempt: dict[str, Mark] = {}
    for unit in work.rules.birth_units(record):
        stamp = work.rules.stamp(record, unit)
        attempt[unit] = Mark(work.shared.digests.of(work.key, unit, values[unit]), stamp.save if stamp else 0, None)
    earlier = item.intent.births if item.intent is not None else ()
    return (*(one for one in earlier if one != attempt), attempt)


def base_of_birth(work: Work, intent: Intent, row: OmsRow, sobject: str) -> dict[str, Mark]:
    """The base of a row that one of the intent's attempts created."""
    values = work.rules.row_values(row, sobject)
    birth = min((row.edited_at or {}).values(), default=None)  # an insert gives all columns one time
    base: dict[str, Mark] = {}
    for unit, first in intent.births[0].items():
        edited_at = work.rules.edited_at(row, unit)
        marks = [attempt[unit] for attempt in reversed(intent.births) if unit in attempt]
        carried = next((mark for mark in marks if work.shared.digests.same(mark.digest, work.key, unit, values[unit])), None)
        if carried is not None:
            base[unit] = carried._replace(edited_at=edited_at)
        elif row.version == 1 or (edited_at is not None and edited_at == birth):  # the OMS put the value into a form of its own
            base[unit] = Mark(work.shared.digests.of(work.key, unit, values[unit]), first.save, edited_at)
        else:
            base[unit] = first._replace(edited_at=None if edited_at is None else EDITED_SINCE)
    return base
