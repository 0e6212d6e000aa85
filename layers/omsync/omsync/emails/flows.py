"""The 22 flows, as emails/flows.yaml says them: read, checked, and refused with one line that says what, where and how to mend it.

`omsync emails build` checks the file and puts it into the package beside the templates; a function reads only what was checked.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from omsync.emails.patterns import Pattern
from omsync.emails.vocabulary import ANCHORS, CONDITIONS, FACTS, VARIABLES
from omsync.platform.errors import Permanent

PACKAGED: Final = Path(__file__).with_name("built")
COUNT: Final = 22
#: what every template is given, and what those with an unsubscribe link are given too
COMMON: Final = ("name", "name_html", "reference", "login_url", "postal_address", "postal_address_html")
UNSUBSCRIBE: Final = "unsubscribe_url"

type Category = Literal["transactional", "refill", "marketing"]

_OFFSET = re.compile(r"(?P<sign>[+-])(?P<number>\d{1,3})(?P<unit>[hd])")


class FlowFault(Permanent):
    """flows.yaml is not what it should be."""


@dataclass(frozen=True, slots=True)
class Offset:
    """A span from the moment counted from: `0`, `+48h`, `-7d`."""

    text: str
    span: timedelta

    @property
    def slug(self) -> str:
        """As part of a claim: `after48h`, `before7d`, or empty."""
        if not self.span:
            return ""
        return f"{'before' if self.text.startswith('-') else 'after'}{self.text[1:]}"


def parse_offset(value: object) -> Offset:
    """`0`, `+48h`, `-7d` -> an offset. ValueError for anything else."""
    if isinstance(value, Offset):
        return value
    text = str(value)
    if text == "0":
        return Offset("0", timedelta())
    found = _OFFSET.fullmatch(text)
    if not found:
        raise ValueError("write 0, or a span with its sign and unit: +48h, -7d")
    span = timedelta(**{"hours" if found["unit"] == "h" else "days": int(found["number"])})
    return Offset(text, -span if found["sign"] == "-" else span)


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True)


class Timing(_Part):
    """When: from which moment, and how long from it; several offsets are as many emails."""

    anchor: str = Field(alias="from")
    at: tuple[Annotated[Offset, BeforeValidator(parse_offset)], ...] = (parse_offset(0),)

    @model_validator(mode="after")
    def _known(self) -> Timing:
        if self.anchor not in ANCHORS:
            raise ValueError(f"timing.from: no moment '{self.anchor}'; there are {', '.join(sorted(ANCHORS))}")
        if len({offset.text for offset in self.at}) != len(self.at):
            raise ValueError("timing.at: the same offset twice")
        return self


class Flow(_Part):
    """One flow."""

    flow: str = Field(pattern=r"^[a-z][a-z-]{2,30}$")
    number: int = Field(ge=1, le=COUNT)
    purpose: str
    category: Category
    entity: str
    trigger: Pattern
    timing: Timing
    data: tuple[str, ...] = ()
    cancel_if: tuple[str, ...] = ()
    clinical: bool = False
    #: goes to an address that is not verified yet
    unverified: bool = False

    @property
    def variables(self) -> frozenset[str]:
        """Everything its template may use and must be given."""
        extra = () if self.category == "transactional" else (UNSUBSCRIBE,)
        return frozenset((*COMMON, *self.data, *extra))

    @property
    def code(self) -> str:
        """How a communication names it: category and flow."""
        return f"{self.category}/{self.flow}"

    @model_validator(mode="after")
    def _known(self) -> Flow:
        if unknown := set(self.cancel_if) - CONDITIONS:
            raise ValueError(f"cancel_if: no condition {', '.join(sorted(unknown))}; there are {', '.join(sorted(CONDITIONS))}")
        if unknown := set(self.data) - VARIABLES:
            raise ValueError(f"data: no variable {', '.join(sorted(unknown))}; there are {', '.join(sorted(VARIABLES))}")
        self._check_trigger()
        return self

    def _check_trigger(self) -> None:
        tables = self.trigger.get("table")
        if not isinstance(tables, list) or not tables or unknown_in(tables, FACTS):
            raise ValueError(f"trigger.table: a list of {', '.join(sorted(FACTS))}")
        columns = {"registered", *(column for table in tables for column in FACTS[str(table)])}
        named = set(map(str, _list(self.trigger.get("changed"))))
        for side in ("new", "old"):
            part = self.trigger.get(side, {})
            named |= set(part) if isinstance(part, Mapping) else {side}
        if unknown := named - columns:
            raise ValueError(f"trigger: {', '.join(sorted(unknown))} is no fact of {', '.join(map(str, tables))}")


def unknown_in(names: Sequence[object], known: Mapping[str, object]) -> set[str]:
    """The names that are not known."""
    return {str(name) for name in names} - set(known)


def _list(value: object) -> Sequence[object]:
    return value if isinstance(value, list) else ()


@dataclass(frozen=True, slots=True)
class Flows:
    """All flows, by their names, in the order of their numbers."""

    by_name: Mapping[str, Flow]

    def __iter__(self) -> Iterator[Flow]:
        return iter(self.by_name.values())

    def __getitem__(self, name: str) -> Flow:
        return self.by_name[name]

    def get(self, name: str) -> Flow | None:
        """The flow of that name, if there is one."""
        return self.by_name.get(name)


def parse_flows(entries: object, source: str = "flows.yaml") -> Flows:
    """Checked flows. Raises FlowFault, naming file, flow and key."""
    if not isinstance(entries, list):
        raise FlowFault(f"{source}: expected a list of flows", code="emails.flows")
    flows: list[Flow] = []
    for place, entry in enumerate(entries, start=1):
        name = entry.get("flow", f"entry {place}") if isinstance(entry, Mapping) else f"entry {place}"
        try:
            flows.append(Flow.model_validate(entry))
        except ValidationError as fault:
            error = fault.errors(include_input=False, include_url=False, include_context=False)[0]
            where = ".".join(map(str, error["loc"]))
            raise FlowFault(f"{source}: {name}{f': {where}' if where else ''}: {error['msg']}", code="emails.flows") from None
    flows.sort(key=lambda flow: flow.number)
    if [flow.number for flow in flows] != list(range(1, COUNT + 1)) or len({flow.flow for flow in flows}) != COUNT:
        raise FlowFault(f"{source}: expected the numbers 1 to {COUNT} once each, under {COUNT} names", code="emails.flows")
    return Flows({flow.flow: flow for flow in flows})


@cache
def load_flows() -> Flows:
    """The flows as packaged."""
    path = PACKAGED / "flows.json"
    return parse_flows(json.loads(path.read_text()), path.name)
