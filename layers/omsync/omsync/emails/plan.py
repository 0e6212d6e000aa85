"""From a transition to the emails it asks for, and from an occurrence back to the rows it is about."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from omsync.emails import anchors
from omsync.emails.flows import Flow
from omsync.emails.hours import zone_of
from omsync.emails.needs import CONSENTS, Referring, needs_of
from omsync.emails.occurrences import Occurrence
from omsync.emails.state import Row, State
from omsync.emails.subject import Subject
from omsync.emails.transitions import Transition

#: the flow's entity and the transition's table -> the column that leads from one to the other
_LINKS = {("patients", "communications"): "patient_id", ("orders", "refunds"): "order_id"}


@dataclass(frozen=True, slots=True)
class Planner:
    """`company`: the zone of patients without one."""

    company: str

    def prefetch(
        self, state: State, transitions: Sequence[Transition], flows: Sequence[Flow], due: Sequence[tuple[Flow, Occurrence]]
    ) -> None:
        """Read the rows of a whole batch in a few calls: sources and entities, then what they refer to."""
        named = [(item.table, item.id) for item in transitions]
        named += [key for flow, item in due for key in ((flow.entity, item.entity), source_key(item))]
        state.prefetch(named)
        second = []
        for (table, row_id), flow in zip([(item.table, item.id) for item in transitions], flows, strict=True):
            row = state.row(table, row_id)
            if row is not None and (link := _LINKS.get((flow.entity, table))) and row.get(link):
                second.append((flow.entity, str(row[link])))
        state.prefetch(second)
        rows = [row for table, row_id in [*named, *second] if (row := state.row(table, row_id)) is not None]
        state.prefetch(("patients", str(row["patient_id"])) for row in rows if row.get("patient_id"))
        abouts = [(flow, self._entity(state, flow, item)) for flow, item in zip(flows, transitions, strict=True)]
        abouts += [(flow, state.row(flow.entity, item.entity)) for flow, item in due]
        self._prefetch_needs(state, [(flow, row) for flow, row in abouts if row is not None])

    def _entity(self, state: State, flow: Flow, transition: Transition) -> Row | None:
        row = state.row(transition.table, transition.id)
        if row is None or transition.table == flow.entity:
            return row
        linked = row.get(_LINKS[flow.entity, transition.table])
        return state.row(flow.entity, str(linked)) if linked else None

    def _prefetch_needs(self, state: State, abouts: Sequence[tuple[Flow, Row]]) -> None:
        """What the flows' questions will look at."""
        rows: list[tuple[str, str]] = []
        children: list[tuple[str, str, str]] = []
        for flow, row in abouts:
            patient = str(row["id"] if flow.entity == "patients" else row.get("patient_id"))
            for need in needs_of(flow):
                if isinstance(need, Referring):
                    children.append((need.table, need.column, patient if need.to == "patient" else str(row["id"])))
                elif row.get(need.column):
                    rows.append((need.table, str(row[need.column])))
            person = state.row("patients", patient)
            if flow.category == "refill" and person is not None and not person["marketing_opt_in"]:
                children.append((CONSENTS.table, CONSENTS.column, patient))
        state.prefetch_children(children)
        lines = [line for table, column, parent in children if table == "order_items" for line in state.children(table, column, parent)]
        state.prefetch([*rows, *(("prescriptions", str(line["prescription_id"])) for line in lines if line["prescription_id"])])

    def of_transition(self, state: State, flow: Flow, transition: Transition, now: datetime) -> Subject | None:
        """What the transition is about, as it is now; None if it is gone."""
        source = state.row(transition.table, transition.id)
        if source is None:
            return None
        if transition.table == flow.entity:
            return self._subject(state, flow, source, None, transition.at, now)
        linked = source.get(_LINKS[flow.entity, transition.table])
        row = state.row(flow.entity, str(linked)) if linked else None
        return None if row is None else self._subject(state, flow, row, source, transition.at, now)

    def of_occurrence(self, state: State, flow: Flow, occurrence: Occurrence, now: datetime) -> Subject | None:
        """The same, for an occurrence that is due."""
        row = state.row(flow.entity, occurrence.entity)
        table, source_id = source_key(occurrence)
        source = state.row(table, source_id) if table != flow.entity else None
        if row is None or (table != flow.entity and source is None):
            return None
        subject = self._subject(state, flow, row, source, occurrence.at, now)
        if subject is not None:
            subject.occurrence = occurrence
        return subject

    def occurrences(self, flow: Flow, transition: Transition, subject: Subject) -> list[Occurrence]:
        """What is to be sent, and when; empty if there is no such moment (a supply without an end)."""
        anchor = anchors.BY_NAME[flow.timing.anchor](subject)
        if anchor is None:
            return []
        return [
            Occurrence(
                flow=flow.flow,
                entity=str(subject.row["id"]),
                value=anchor.value or self._version(flow, transition),
                # one email alone needs no word for its offset: a changed timing must not send it anew
                slug=offset.slug if len(flow.timing.at) > 1 else "",
                due=anchor.at + offset.span,
                version=transition.version,
                source=f"{transition.table}/{transition.id}",
                at=transition.at,
            )
            for offset in flow.timing.at
        ]

    def has_moved(self, flow: Flow, occurrence: Occurrence, subject: Subject) -> bool:
        """Is the moment it is counted from another one by now?"""
        anchor = anchors.BY_NAME[flow.timing.anchor](subject)
        return anchor is None or (anchor.value is not None and anchor.value != occurrence.value)

    def _version(self, flow: Flow, transition: Transition) -> str:
        """A version is unique within its row: of another row than the entity, the row is named too."""
        return str(transition.version) if transition.table == flow.entity else f"{transition.id}-{transition.version}"

    def _subject(self, state: State, flow: Flow, row: Row, source: Row | None, at: datetime, now: datetime) -> Subject | None:
        patient = row if flow.entity == "patients" else state.row("patients", row.get("patient_id"))
        if patient is None:
            return None
        return Subject(state, flow.entity, row, patient, zone_of(patient.get("time_zone"), self.company), at, now, source)


def source_key(occurrence: Occurrence) -> tuple[str, str]:
    """The row whose transition it was."""
    table, _, row_id = occurrence.source.partition("/")
    return table, row_id
