"""Resolving what somebody began: nobody merges before it is known what an open intent has changed.

An intent belongs to whoever resolves it first; the compare-and-sets refuse the other. The PATCH is settled under its key: the OMS gives its
first answer, or never executes it. A birth is there or it is not. Salesforce tells by Sync_Write__c whether it took the write; if it did not,
the write may still be on its way until the save count moves on, so the intent stays *afloat* until then.
What took effect becomes base; the rest is merged anew.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace

from omsync.sync.births import base_of_birth
from omsync.sync.context import Work
from omsync.sync.effects import Settle
from omsync.sync.plan import new_hold
from omsync.sync.ports import Inquiry, Refused
from omsync.sync.records import Hold, Intent, Item, Mark, OmsRow, SalesforceRecord

#: writes that may still land, remembered for one record: more than that many functions cannot have crashed within one's lifetime
AFLOAT = 10


async def resolve(work: Work, item: Item, intent: Intent) -> Item:
    """The item without its intent, to be saved with whatever comes next. A birth stays open until its row is seen (`born`)."""
    if intent.births:
        return item
    base, held, gone = dict(item.base), dict(item.held), item.gone
    if intent.patches:
        try:
            answer = await Settle(Inquiry(work.key, intent.id))
        except Refused as refused:
            held |= holds_of(work, item, intent, refused.columns)
        else:
            if answer is not None:
                agreed = taken(work, intent.to_oms, answer, _object(item))
                base |= agreed
                if intent.to_oms or intent.gone is not None:
                    work.carried("salesforce", None)
                # what was accepted is settled: an edit of the OMS since then is a new one. A refused unit's Case is still to be closed.
                held = {unit: hold for unit, hold in held.items() if unit not in agreed or hold.reason == "refused"}
                gone = gone if intent.gone is None else intent.gone
    afloat = (*item.afloat, intent)[-AFLOAT:] if intent.to_salesforce else item.afloat
    return replace(item, base=base, held=held, gone=gone, intent=None, afloat=afloat)


def born(work: Work, item: Item, row: OmsRow | None) -> Item:
    """If a birth is under way and its row is there: the item with the base that the birth carried."""
    if row is None or item.intent is None or not item.intent.births:
        return item
    return replace(item, base={**item.base, **base_of_birth(work, item.intent, row, _object(item))}, intent=None)


def land(item: Item, record: SalesforceRecord) -> Item:
    """Which write of a given-up intent has Salesforce taken? Its marks become base. What can no longer land is forgotten."""
    landed = next((intent for intent in item.afloat if intent.id == record.write), None)
    base = item.base if landed is None else {**item.base, **landed.to_salesforce}
    return replace(item, base=base, afloat=tuple(intent for intent in item.afloat if intent.seen == record.save))


def taken(work: Work, marks: Mapping[str, Mark], row: OmsRow, sobject: str) -> dict[str, Mark]:
    """The base of units that a PATCH brought to the OMS: the row as the PATCH left it, Salesforce as it was read for the PATCH."""
    values = work.rules.row_values(row, sobject)
    digests = work.shared.digests
    return {
        unit: Mark(digests.of(work.key, unit, values[unit]), read.save, work.rules.edited_at(row, unit)) for unit, read in marks.items()
    }


def holds_of(work: Work, item: Item, intent: Intent, columns: Collection[str]) -> dict[str, Hold]:
    """Holds for the units of a PATCH that the OMS refused: those it named, or all."""
    named = {unit for column in columns if (unit := work.rules.unit_of(column)) in intent.to_oms}
    return {
        unit: new_hold(item, unit, "refused", mark.save, mark.edited_at)
        for unit, mark in intent.to_oms.items()
        if unit in named or not named
    }


def _object(item: Item) -> str:
    if item.object is None:
        raise RuntimeError(f"{item.key}: an intent without an object")
    return item.object
