"""Templates from their sources: MJML and Jinja2 in emails/ -> HTML, text and an index in the package, where the functions find them.

What is built is committed: it is what a reviewer sees change, and what SES is given. Jinja2 resolves every branch and list here;
only plain `{{variable}}` is left for SES, which escapes nothing.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import jinja2
import mrml
import yaml

from omsync.emails.flows import PACKAGED, Flow, Flows, parse_flows
from omsync.platform.errors import Permanent

SOURCES: Final = Path(__file__).resolve().parents[2] / "emails"
VARIABLE: Final = re.compile(r"\{\{\s*(\w+)\s*\}\}")
#: mrml says nothing about a tag it does not know
KNOWN_TAGS: Final = frozenset(
    {
        *("mjml", "mj-head", "mj-title", "mj-preview", "mj-attributes", "mj-all", "mj-text", "mj-section", "mj-body"),
        *("mj-raw", "mj-style", "mj-column", "mj-wrapper", "mj-button"),
    }
)
#: what a flow's texts may leave out
_OPTIONAL: Final[dict[str, Any]] = {"tone": "", "journey": 0, "link": "login_url", "details": {}, "notes": []}
#: a variable of a locale's texts -> what stands for it in HTML
_IN_HTML: Final = {
    "name": "{{name_html}}",
    "postal_address": "{{postal_address_html}}",
    "login_url": '<a class="link" href="{{login_url}}">{{login_url}}</a>',
}


class BuildFault(Permanent):
    """A template's source is not right."""


@dataclass(frozen=True, slots=True)
class Built:
    """One email, ready for SES."""

    flow: Flow
    locale: str
    subject: str
    preheader: str
    html: str
    text: str
    sample: Mapping[str, str]


def load_flows_source() -> Flows:
    """emails/flows.yaml, checked."""
    return parse_flows(yaml.safe_load((SOURCES / "flows.yaml").read_text()), "emails/flows.yaml")


def locales() -> list[str]:
    """The languages there are."""
    return sorted(path.stem for path in (SOURCES / "locales").glob("*.yaml"))


def build_all() -> dict[Path, str]:
    """Every file of the package: path -> content."""
    flows = load_flows_source()
    entries = yaml.safe_load((SOURCES / "flows.yaml").read_text())
    files = {PACKAGED / "flows.json": json.dumps(entries, indent=1, ensure_ascii=False) + "\n"}
    for locale in locales():
        words = _yaml(f"locales/{locale}.yaml")
        index: dict[str, Any] = {"phrases": words["phrases"], "flows": {}}
        for flow in flows:
            made = build(flow, locale)
            index["flows"][flow.flow] = {"subject": made.subject, "preheader": made.preheader, "sample": made.sample}
            files[PACKAGED / locale / f"{flow.flow}.html"] = made.html
            files[PACKAGED / locale / f"{flow.flow}.txt"] = made.text
        files[PACKAGED / locale / "index.json"] = json.dumps(index, indent=1, ensure_ascii=False) + "\n"
    return files


def build(flow: Flow, locale: str) -> Built:
    """One flow in one language. Raises BuildFault."""
    words = _yaml(f"locales/{locale}.yaml")
    try:
        text = {**_OPTIONAL, **words["flows"][flow.flow]}
    except KeyError:
        raise BuildFault(f"emails/locales/{locale}.yaml: no texts for {flow.flow}", code="emails.locale") from None
    details = {**text["details"], words["common"]["reference"]: "{{reference}}"}
    known = {"flow": flow, "locale": words, "text": text, "theme": _yaml("theme.yaml"), "html": _for_html, "details": details}
    environment = _environment()
    own = f"flows/{flow.flow}.mjml.j2"
    source = environment.get_template(own if (SOURCES / own).exists() else "flows/_standard.mjml.j2").render(known)
    plain = environment.get_template("layout.txt.j2").render(known)
    return Built(
        flow=flow,
        locale=locale,
        subject=text["subject"],
        preheader=text["preheader"],
        html=_tidy(compile_mjml(source, flow.flow)),
        text=re.sub(r"\n{3,}", "\n\n", plain).strip() + "\n",
        sample=sample(flow),
    )


def compile_mjml(source: str, name: str) -> str:
    """MJML -> HTML. Raises BuildFault for what mrml refuses, warns of, or would silently drop."""
    unknown = set(re.findall(r"<(mj[\w-]*)", source)) - KNOWN_TAGS
    if unknown:
        raise BuildFault(f"{name}: {', '.join(sorted(unknown))} is not on the list of MJML tags we use", code="emails.mjml")
    try:
        output = mrml.to_html(source, render_options=mrml.RenderOptions(fonts={}))
    except (OSError, ValueError, RuntimeError) as fault:
        raise BuildFault(f"{name}: {fault}", code="emails.mjml") from None
    if output.warnings:
        raise BuildFault(f"{name}: mrml warns: {output.warnings[0]}", code="emails.mjml")
    return str(output.content)


def sample(flow: Flow) -> dict[str, str]:
    """Data for each of its variables."""
    told = _yaml("samples.yaml")
    values = {**told, **told["flows"].get(flow.flow, {})}
    return {name: str(values[name]) for name in sorted(flow.variables)}


def fill(template: str, data: Mapping[str, str]) -> str:
    """As SES does."""
    return VARIABLE.sub(lambda found: data[found[1]], template)


def _for_html(text: str) -> str:
    """Text of a locale file for HTML: escaped, its variables in their HTML form."""
    escaped = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return VARIABLE.sub(lambda found: _IN_HTML.get(found[1], found[0]), escaped)


def _tidy(html: str) -> str:
    """One line a tag where lines are shorter so, for a readable difference; SES and mail relays want lines under 998 characters."""
    return re.sub(r">\s*<(table|tr|/table|style|/head|body)", r">\n<\1", html).strip() + "\n"


def _environment() -> jinja2.Environment:
    # MJML is markup we write ourselves; what comes from a locale file goes through `html`, patients' data only through SES
    return jinja2.Environment(  # noqa: S701
        loader=jinja2.FileSystemLoader(SOURCES), undefined=jinja2.StrictUndefined, trim_blocks=False, keep_trailing_newline=False
    )


def _yaml(name: str) -> dict[str, Any]:
    return dict(yaml.safe_load((SOURCES / name).read_text()))
