"""The packaged templates: which variables each uses, whether data fits, and an email as SES will render it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

from omsync.emails.flows import PACKAGED, Flow
from omsync.platform.errors import Permanent

FALLBACK: Final = "en"
_VARIABLE: Final = re.compile(r"\{\{\s*(\w+)\s*\}\}")


@dataclass(frozen=True, slots=True)
class Template:
    """A stored template's parts and data to try it with."""

    flow: str
    locale: str
    subject: str
    html: str
    text: str
    sample: Mapping[str, str]

    @property
    def name(self) -> str:
        """Its name in SES, behind the stack's prefix."""
        return f"{self.locale}-{self.flow}"

    @property
    def variables(self) -> frozenset[str]:
        """All it names."""
        return frozenset(name for part in (self.subject, self.html, self.text) for name in _VARIABLE.findall(part))

    def check(self, data: Mapping[str, str]) -> None:
        """Raise Permanent unless `data` is exactly what it needs: SES accepts less, and fails later where nobody sees."""
        missing, surplus = self.variables - set(data), set(data) - self.variables
        if missing or surplus:
            told = f"without {', '.join(sorted(missing))}" if missing else f"with {', '.join(sorted(surplus))} to no use"
            raise Permanent(f"{self.flow}: the data is {told}", code="emails.variables", field=next(iter(missing | surplus)))


def render(part: str, data: Mapping[str, str]) -> str:
    """As SES does: values put in as they are."""
    return _VARIABLE.sub(lambda found: data[found[1]], part)


@cache
def phrases(locale: str) -> Mapping[str, str]:
    """A language's phrases for values."""
    return dict(_index(locale)["phrases"])


@cache
def template(flow: str, locale: str) -> Template:
    """A flow's template in a language."""
    told = _index(locale)["flows"][flow]
    folder = PACKAGED / locale
    html, text = (folder / f"{flow}.html").read_text(), (folder / f"{flow}.txt").read_text()
    return Template(flow, locale, told["subject"], html, text, told["sample"])


def templates(flows: list[Flow]) -> list[Template]:
    """All, in all languages."""
    return [template(flow.flow, locale) for locale in locales() for flow in flows]


@cache
def locales() -> tuple[str, ...]:
    """The languages there are."""
    return tuple(sorted(path.name for path in PACKAGED.iterdir() if path.is_dir()))


def locale_for(language: object) -> str:
    """The patient's language, if we speak it: `es-MX` -> es, else English."""
    first = str(language or FALLBACK).replace("_", "-").partition("-")[0].lower()
    return first if first in locales() else FALLBACK


@cache
def _index(locale: str) -> dict[str, Any]:
    return dict(json.loads((PACKAGED / locale / "index.json").read_text()))
