"""Commands: what an agent requests in Salesforce and the OMS executes once.

Sent alone, keyed by the Salesforce id and the save that set it, so any number of attempts, however late, execute it once: the OMS keeps a
command's key for ever. Cleared afterwards under the save count that was read: a newer request stays and gets its own key. The outcome comes
back in the OMS's own column (`action_result`), like any other.
"""

from __future__ import annotations

from omsync.sync.context import Work
from omsync.sync.effects import PatchRow, WriteRecord
from omsync.sync.ports import Patch, Refused, Write
from omsync.sync.records import SalesforceRecord


async def execute(work: Work, record: SalesforceRecord) -> bool:
    """Send and clear the record's command; False if it has none. Stale if the record was saved meanwhile: look again."""
    command = work.rules.command
    if command is None or not (requested := record.fields.get(command.field)):
        return False
    stamp = record.stamps.get(command.field)
    # A request without a stamp was set by no person. Its key is the same whenever it is looked at, so it is executed once at most.
    key = f"{record.id}:{stamp.save if stamp else 0}"
    try:
        await PatchRow(Patch(work.key, key, None, {command.column: requested}))
        work.carried("salesforce", stamp.at if stamp else None)
    except Refused as refused:
        if not refused.columns:  # refused requests carry their reason back in the result column; anything else is a fault
            raise
    await WriteRecord(Write(object=record.object, id=record.id, fields={command.field: None}, seen=record.save))
    return True
