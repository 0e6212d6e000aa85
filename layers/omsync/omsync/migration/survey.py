"""What no single chunk can see, looked for before anything moves: people who are in the OMS twice, and rows without their parent.

    survey.json          units that are done, and the findings
    duplicates.jsonl.gz  all pairs found: [id, id, grade, weight, what they have in common]

A survey is made of units (a reference; an order of people); what is done is noted, so that an invocation that runs out of time is
continued by the next.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from pydantic import BaseModel, Field

from omsync.mapping import Mappings, TableMapping
from omsync.migration.duplicates import Grade, Pair, Person, pairs
from omsync.migration.files import Lines, read_lines
from omsync.migration.findings import Finding, Findings, Weight
from omsync.migration.model import Outcome, run_folder
from omsync.migration.plan import read_plan
from omsync.migration.ports import Files

#: seconds after which no further unit is begun; a Lambda function has 900
ENOUGH = 300.0
#: pairs that are listed; with more than that the OMS has another problem
MOST_PAIRS = 500_000
#: why a row is an orphan; or the reason of the rule by which its parent is not sent
MISSING, DELETED = "is not there", "is deleted"
#: the table of people
PEOPLE = "patients"
TOLD: dict[Grade, tuple[str, str]] = {
    "duplicate": ("looks like one person entered twice (pairs)", "merge them in the OMS; two rows become two records"),
    "possible": ("one person, or twins, namesakes, a nickname: first name or birth date differs (pairs)", "look before merging"),
}


@dataclass(frozen=True, slots=True)
class Orphan:
    """A row without its parent."""

    id: str
    why: str


class SurveySource(Protocol):
    """The OMS's database, read-only."""

    @property
    def orders(self) -> tuple[str, ...]:
        """The orders in which people can be had."""
        ...

    def people(self, order: str) -> Iterator[Person]:
        """People sorted by key."""
        ...

    def orphans(self, mapping: TableMapping, column: str) -> Iterator[Orphan]:
        """Rows whose reference leads nowhere."""
        ...


class Surveyed(BaseModel):
    """What is known so far."""

    planned_at: float = 0.0  # of the plan that it belongs to: another plan is surveyed anew
    done: list[str] = Field(default_factory=list)
    findings: list[Finding] = Field(default_factory=list)
    pairs: dict[str, int] = Field(default_factory=dict)  # grade -> pairs
    seconds: float = 0.0


@dataclass(slots=True)
class Survey:
    """Surveys the tables of a run."""

    mappings: Mappings
    source: SurveySource
    files: Files
    now: Callable[[], float] = time.time
    enough: float = ENOUGH

    def run(self, migration: str, run: int) -> Outcome:
        """Go on until done, or for as long as one invocation may."""
        begun, folder = self.now(), run_folder(migration, run)
        known, plan = read_survey(self.files, migration, run), read_plan(self.files, migration, run)
        planned_at = plan.planned_at if plan is not None else 0.0
        if known.planned_at != planned_at:
            known = Surveyed(planned_at=planned_at)
        for name, unit in self._units(run, folder, known):
            if name in known.done:
                continue
            if self.now() - begun > self.enough:
                return Outcome(outcome="wait", wait_seconds=1, reason=f"{len(known.done)} looks at the source are done, next: {name}")
            started = self.now()
            known.findings += unit()
            known.done.append(name)
            known.seconds = round(known.seconds + self.now() - started, 2)
            self.files.put(f"{folder}/survey.json", known.model_dump_json().encode())
        return Outcome()

    def _units(self, run: int, folder: str, known: Surveyed) -> Iterator[tuple[str, Callable[[], Iterable[Finding]]]]:
        for mapping in self.mappings:
            if mapping.run != run or mapping.mode == "matched":
                continue
            for column in parents(mapping):
                yield f"{mapping.table}.{column}", partial(self._orphans, mapping, column)
            if mapping.table == PEOPLE:
                for order in self.source.orders:
                    yield _unit(order), partial(self._duplicates, order, folder, known)

    def _orphans(self, mapping: TableMapping, column: str) -> list[Finding]:
        found, parent = Findings(), parents(mapping)[column]
        for orphan in self.source.orphans(mapping, column):
            weight: Weight = "bad" if orphan.why == MISSING else "note" if orphan.why == DELETED else "look"
            message, mend = _orphan(parent, orphan.why)
            found.note(
                Finding(table=mapping.table, weight=weight, kind=f"orphan: {orphan.why}", field=column, message=message, mend=mend),
                orphan.id,
            )
        return found.all()

    def _duplicates(self, order: str, folder: str, known: Surveyed) -> list[Finding]:
        """Pairs that no order before has found. All are kept on disk, and a number of each to know it again."""
        found, seen, lines, name = Findings(), set[int](), Lines(), f"{folder}/duplicates.jsonl.gz"
        try:
            for line in read_lines(self.files, name):
                if _unit(line[-1]) in known.done:  # else it is of another plan, or this order was interrupted
                    seen.add(hash((line[0], line[1])))
                    lines.json(line)
            for pair in pairs(self.source.people(order)):
                number = hash((pair.one, pair.other))
                if number in seen or len(seen) >= MOST_PAIRS:
                    continue
                seen.add(number)
                lines.json([pair.one, pair.other, pair.grade, pair.weight, order])
                known.pairs[pair.grade] = known.pairs.get(pair.grade, 0) + 1
                found.note(_twice(pair), f"{pair.one} {pair.other}")
            lines.save(self.files, name)
        finally:
            lines.close()
        return found.all()


def _unit(order: str) -> str:
    return f"duplicates: {order}"


def _twice(pair: Pair) -> Finding:
    message, mend = TOLD[pair.grade]
    return Finding(table=PEOPLE, weight="look", kind=pair.grade, field="-", message=message, mend=mend)


def _orphan(parent: str, why: str) -> tuple[str, str]:
    """(what it means, how to mend it)."""
    match why:
        case "is not there":
            return f"its row in {parent} is not there: Salesforce will refuse it", "correct or clear the reference in the OMS"
        case "is deleted":
            return f"its row in {parent} is deleted: it arrives under a record marked deleted", "delete it too, if that is meant"
    return f"its row in {parent} is not sent ({why}): neither is this one", "nothing, if that is meant"


def parents(mapping: TableMapping) -> Mapping[str, str]:
    """column -> the table that it refers to, of the columns that are sent."""
    return {
        name: column.references for name, column in mapping.columns.items() if column.references is not None and column.not_sent is None
    }


def read_survey(files: Files, migration: str, run: int) -> Surveyed:
    """As far as it has come."""
    content = files.get(f"{run_folder(migration, run)}/survey.json")
    return Surveyed.model_validate_json(content) if content is not None else Surveyed()
