"""Every HTML and CSS feature of the emails against the Can I email database: supported where patients read, or known to degrade with grace.

The data (https://github.com/hteumeuleu/caniemail, MIT licence) are not ours and not kept here. A checkout of them is looked for in
`.local/caniemail`, or where OMSYNC_CANIEMAIL says:

    git clone --depth 1 https://github.com/hteumeuleu/caniemail .local/caniemail
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
import yaml

from tests.unit.emails.test_templates import BUILT, Elements

FEATURES = Path(os.environ.get("OMSYNC_CANIEMAIL", Path(__file__).parents[3] / ".local" / "caniemail")) / "_features"
#: what patients in the US read their emails with
CLIENTS = {"apple-mail", "gmail", "outlook", "yahoo", "aol", "samsung-email"}
#: no longer sold nor updated
GONE = {("outlook", "windows-mail")}

pytestmark = pytest.mark.skipif(not FEATURES.is_dir(), reason=f"no Can I email data in {FEATURES.parent}: see the head of this file")

#: features that some client lacks, and what the email is like there
GRACEFUL = {
    "css-at-media": "the desktop's layout, which is narrow enough to be read on a phone",
    "css-at-media-prefers-color-scheme": "the light colours, or the client's own dark ones",
    "css-border-radius": "square corners",
    "css-box-sizing": "used in the phone's rules alone",
    "css-color-scheme": "the client decides about dark mode by itself",
    "css-cursor": "the client's own pointer over links",
    "css-display-none": "the preheader, which has further ways of being unseen",
    "css-height": "a minimal height instead, which is as good",
    "css-max-height": "the preheader, which has further ways of being unseen",
    "css-opacity": "the preheader, which has further ways of being unseen",
    "css-outline": "a reset for pictures, of which there are none",
    "css-overflow": "the preheader, which has further ways of being unseen",
    "css-selector-class": "rules for phones and dark mode alone",
    "css-selector-child": "rules for phones and dark mode alone",
    "css-table-layout": "the steps' bars are as wide as they need",
    "css-word-break": "a long link makes the card wider",
    "css-word-spacing": "a reset to what is usual anyway",
    "html-aria-hidden": "a screen reader reads the U of the mark",
    "html-aria-label": "the title names the email as well",
    "html-body": "its colour is on an element inside, too",
    "html-meta-color-scheme": "the client decides about dark mode by itself",
    "html-target": "the client decides where a link opens",
    "html-style": "all that matters is in the elements' own styles",
}


@cache
def features() -> dict[str, dict[str, dict[str, dict[str, str]]]]:
    """slug -> family -> platform -> version -> `y`, `n #1`, `a #2`, `u`."""
    found = {}
    for path in FEATURES.glob("*.md"):
        head = path.read_text().replace("\t", "  ").split("\n---", 1)[0]
        found[path.stem] = yaml.safe_load(head.removeprefix("---"))["stats"]
    return found


def lacking(slug: str) -> list[str]:
    """The clients whose latest version known doesn't support a feature."""
    return [
        f"{family} {platform}"
        for family, platforms in features()[slug].items()
        for platform, versions in platforms.items()
        if family in CLIENTS and (family, platform) not in GONE and versions and str(list(versions.values())[-1]).startswith("n")
    ]


@cache
def used() -> set[str]:
    """Slugs of what the emails use and the database knows."""
    return {slug for made in BUILT for slug in _used(without_outlook(made.html)) if slug in features()}


def without_outlook(html: str) -> str:
    """What is in conditional comments is for Outlook on Windows alone, and proper there."""
    return re.sub(r"<!--\[if .*?<!\[endif\]-->", "", html, flags=re.DOTALL)


def _used(html: str) -> Iterator[str]:
    sheets = "".join(re.findall(r"<style[^>]*>(.*?)</style>", html, re.DOTALL))
    inline = ""
    for tag, attributes in Elements(html).tags:
        yield "html-h1-h6" if re.fullmatch("h[1-6]", tag) else f"html-{tag}"
        yield from (f"html-{name}" for name in attributes)
        if attributes.get("name") in ("color-scheme", "supported-color-schemes"):
            yield "html-meta-color-scheme"
        inline += f";{attributes.get('style') or ''}"
    for name, value in re.findall(r"[;{\s]([a-z-]+)\s*:\s*([^;{}]+)", f";{inline};{sheets}"):
        yield f"css-{name}"
        yield f"css-{re.sub('-(top|right|bottom|left)(-[a-z]+)?$', '', name)}"
        yield from ("css-unit-percent" if unit == "%" else f"css-unit-{unit}" for unit in re.findall(r"\d(px|em|rem|%|vw|vh)", value))
        yield from (f"css-{name}-{word}" for word in value.split() if name == "display")
        if "!important" in value:
            yield "css-important"
    for media in re.findall(r"@media([^{]*)", sheets):
        yield "css-at-media"
        yield from (f"css-at-media-{name}" for name in re.findall(r"\(([a-z-]+)", media))
    yield from (f"css-at-{rule}" for rule in re.findall(r"@([a-z-]+)", sheets))
    selectors = re.findall(r"([^{};]+){", sheets)
    yield from (slug for mark, slug in ((".", "css-selector-class"), (">", "css-selector-child")) if any(mark in one for one in selectors))


def test_the_data_are_read() -> None:
    assert len(features()) > 250
    assert {"css-padding", "css-border-radius", "html-table", "css-at-media-prefers-color-scheme", "css-selector-child"} <= used()


def test_whatever_is_used_works_or_degrades_with_grace() -> None:
    unknown = {slug: clients for slug in sorted(used()) if slug not in GRACEFUL and (clients := lacking(slug))}
    assert unknown == {}


def test_no_grace_is_asked_for_in_vain() -> None:
    assert [slug for slug in GRACEFUL if slug not in used() or not lacking(slug)] == []
