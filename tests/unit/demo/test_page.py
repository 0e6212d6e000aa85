"""The page tells what the journal holds, needs nothing from elsewhere, and is well formed whatever was or was not seen."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from xml.etree import ElementTree

import pytest

from local.demo import charts, page
from local.demo.journal import Fact, Journal, Lag, TableCompared


def full() -> Journal:
    journal = Journal()
    step = journal.begin("registers", "A patient <b>registers</b>")
    step.facts += [Fact("Account “Maya” & co", 1.25, "oms_to_salesforce"), Fact("noted", None), Fact("back", 0.4, "salesforce_to_oms")]
    journal.end(step)
    for number in range(60):
        journal.lag(Lag(number, 0.5 + number / 50, "oms_to_salesforce" if number % 3 else "salesforce_to_oms"))
    journal.outage, journal.caught_up = (30, 45), 50
    journal.summary |= {"outage": {"seconds": 15.0, "lost": 0, "dlq": 0, "caught_up_seconds": 5.0, "changes": 12}, "sync": {"conflicts": 1}}
    journal.compared = [TableCompared("orders", 2, 1_040, 0)]
    return journal


class Outside(HTMLParser):
    """Collects what a page would load from elsewhere."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found += [f"{tag} {name}={value}" for name, value in attrs if name in ("src", "href") or tag in ("link", "script")]


def test_everything_that_was_seen_is_told() -> None:
    html = page.render(full())
    assert "every promise was kept" in html
    assert "A patient &lt;b&gt;registers&lt;/b&gt;" in html
    assert "1.2 s" in html
    assert "1,040" in html
    assert "Salesforce goes away" in html


def test_it_needs_nothing_from_elsewhere() -> None:
    html = page.render(full())
    outside = Outside()
    outside.feed(html)
    assert outside.found == []
    assert "@import" not in html
    assert "url(http" not in html


def test_pictures_are_well_formed() -> None:
    pictures = re.findall(r"<svg.*?</svg>", page.render(full()), re.DOTALL)
    assert len(pictures) == 3
    for picture in pictures:
        assert ElementTree.fromstring(picture).get("aria-label")


def test_a_broken_promise_stands_at_the_top() -> None:
    journal = full()
    journal.steps[0].broken.append("it never came")
    html = page.render(journal)
    assert "a promise was broken" in html
    assert "it never came" in html
    assert '<i class="wrong"' in html
    assert "every promise was kept" not in html


def test_a_demo_that_saw_nothing_still_has_a_page() -> None:
    html = page.render(Journal())
    assert "How long a change takes" not in html
    assert "Both sides, value by value" not in html


@pytest.mark.parametrize("values", [[0.01], [0.2] * 200, [0.3, 250.0]])
def test_dots_stay_in_the_picture(values: list[float]) -> None:
    picture = charts.distribution([("OMS", "out", values)])
    wide, high = map(float, re.findall(r'viewBox="0 0 (\d+) (\d+)"', picture)[0])
    circles = re.findall(r'<circle class="out" cx="([\d.]+)" cy="([\d.]+)"', picture)
    assert len(circles) == len(values)
    assert all(0 <= float(x) <= wide and 34 <= float(y) <= high - 34 for x, y in circles)
    assert high < 300
