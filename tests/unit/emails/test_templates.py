"""What may be in an email, and what must be: looked for in every built template, in every language."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from urllib.parse import urlsplit

import pytest

from omsync.emails.flows import PACKAGED
from ops.emails.browser import Scheme, browser, installed
from ops.emails.build import VARIABLE, BuildFault, Built, build, build_all, compile_mjml, fill, load_flows_source, locales

FLOWS = load_flows_source()
BUILT = [build(flow, locale) for locale in locales() for flow in FLOWS]
HOSTS = {"my.upscript.example", "api.upscript.example"}

#: never in an email: kinds of drugs, conditions, specialties, doses, titles. Words, in any form.
DENIED = re.compile(
    r"\b(\d+\s?(mg|mcg|ml)|tablets?|capsules?|inject\w*|dos(e|es|age|ing)|pills?|drugs?|medic(ine|ation)s?|prescri\w+|rx|refills?|"
    r"semaglutide|tirzepatide|ozempic|wegovy|zepbound|metformin|finasteride|minoxidil|sildenafil|tadalafil|viagra|cialis|tretinoin|"
    r"spironolactone|sertraline|escitalopram|bupropion|propranolol|naltrexone|acyclovir|valacyclovir|prep|testosterone|estradiol|"
    r"obes\w+|weight|diabet\w+|glp-?1|hair|bald\w*|acne|rosacea|skin|erectile|sexual\w*|libido|anxi\w+|depress\w+|mental|insomnia|sleep|"
    r"hypertens\w+|cholesterol|asthma|allerg\w+|migraine|herpes|hiv|std|sti|contracept\w+|birth control|menopaus\w+|fertil\w+|pregnan\w+|"
    r"cancer|diagnos\w+|symptoms?|condition|disease|disorder|dermatolog\w+|urolog\w+|psychiat\w+|cardiolog\w+|endocrin\w+|gyn\w+|"
    r"dr\.|md|np|pa-c|doctor [A-Z]\w+)\b",
    re.IGNORECASE,
)


def name_of(made: Built) -> str:
    return f"{made.locale}/{made.flow.flow}"


each = pytest.mark.parametrize("made", BUILT, ids=name_of)


class Elements(HTMLParser):
    """All start tags with their attributes, and what is visible as text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self._silent = 0
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._silent += tag in ("style", "title")

    def handle_endtag(self, tag: str) -> None:
        self._silent -= tag in ("style", "title")

    def handle_data(self, data: str) -> None:
        if not self._silent:
            self.words.append(data)

    @property
    def text(self) -> str:
        return re.sub(r"\s+", " ", " ".join(self.words))


def test_the_package_holds_what_the_sources_say() -> None:
    """The committed files are the golden files: a change of layout shows in the review."""
    expected = build_all()
    assert {path for path in PACKAGED.rglob("*") if path.is_file()} == set(expected)
    for path, content in expected.items():
        assert path.read_text() == content, f"{path.name}: run `omsync emails build`"


@each
def test_no_phi(made: Built) -> None:
    elements = Elements(made.html)
    addresses = [attributes["href"] or "" for tag, attributes in elements.tags if tag == "a"]
    for what in (made.subject, made.preheader, elements.text, made.text, *addresses):
        found = DENIED.search(fill(what, made.sample))
        assert not found, f"{name_of(made)}: {found}"


@each
def test_variables_used_are_variables_supplied(made: Built) -> None:
    used = {name for part in (made.subject, made.html, made.text) for name in VARIABLE.findall(part)}
    assert used == made.flow.variables
    assert "{{" not in VARIABLE.sub("", made.subject + made.html + made.text), "only plain variables are left for SES"
    assert not VARIABLE.search(made.preheader)


@each
def test_html_takes_escaped_values_and_text_plain_ones(made: Built) -> None:
    assert "{{name}}" not in made.html
    assert "{{name_html}}" in made.html
    assert "_html}}" not in made.text + made.subject


@each
def test_no_host_but_ours(made: Built) -> None:
    html = fill(made.html, made.sample)
    for tag, attributes in Elements(html).tags:
        for name in ("href", "src", "background", "action", "srcset"):
            if address := attributes.get(name):
                assert tag == "a", "nothing is loaded"
                assert urlsplit(address).scheme == "https"
                assert urlsplit(address).hostname in HOSTS, address
    assert not re.search(r"@import|url\(|@font-face", html)


@each
def test_accessible_structure(made: Built) -> None:
    tags = Elements(made.html).tags
    page = dict(tags)["html"]
    assert (page["lang"], page["dir"]) == (made.locale, "ltr")
    assert all(attributes.get("role") == "presentation" for tag, attributes in tags if tag == "table")
    assert all((attributes.get("alt") or "").strip() for tag, attributes in tags if tag == "img")
    assert [tag for tag, _ in tags if re.fullmatch(r"h[1-6]", tag)] == ["h1"]
    assert "viewport" in made.html
    assert 'name="color-scheme" content="light dark"' in made.html


@each
def test_the_text_part_says_what_the_html_says(made: Built) -> None:
    spoken = re.sub(r"\s+", " ", fill(made.text, made.sample))
    shown = [re.sub(r"\s+", " ", words).strip("\u200b ") for words in Elements(fill(made.html, made.sample)).words]
    assert not [words for words in shown if words not in spoken and words != made.preheader]
    assert all(len(line) <= 998 for line in made.text.splitlines())


@each
def test_size_and_length(made: Built) -> None:
    assert len(fill(made.html, made.sample).encode()) < 100_000
    assert 10 <= len(fill(made.subject, made.sample)) <= 60
    assert 20 <= len(made.preheader) <= 90


@each
def test_marketing_and_refills_can_be_left(made: Built) -> None:
    present = "{{unsubscribe_url}}" in made.html and "{{unsubscribe_url}}" in made.text
    assert present == (made.flow.category != "transactional")
    assert "{{postal_address_html}}" in made.html


def test_an_unknown_tag_stops_the_build() -> None:
    with pytest.raises(BuildFault, match="mj-hero"):
        compile_mjml("<mjml><mj-body><mj-hero /></mj-body></mjml>", "x")


def test_broken_mjml_stops_the_build() -> None:
    with pytest.raises(BuildFault):
        compile_mjml("<mjml><mj-body><mj-section></mj-body></mjml>", "x")


#: relative luminance and contrast as WCAG 2.1 defines them, of every visible text against the ground behind it
CONTRAST = """
(() => {
  const part = c => { c /= 255; return c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4 };
  const light = c => 0.2126 * part(c[0]) + 0.7152 * part(c[1]) + 0.0722 * part(c[2]);
  const parse = s => s.match(/[\\d.]+/g).map(Number);
  const ground = e => { for (; e; e = e.parentElement) { const c = parse(getComputedStyle(e).backgroundColor);
    if (c.length < 4 || c[3] > 0) return c; } return matchMedia('(prefers-color-scheme: dark)').matches ? [0, 0, 0] : [255, 255, 255]; };
  const found = [];
  const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walk.nextNode()) {
    const text = walk.currentNode.textContent.replace(/[\\s\\u200b]/g, ''), e = walk.currentNode.parentElement;
    if (!text || !e.getClientRects().length || getComputedStyle(e).opacity === '0') continue;
    const a = light(parse(getComputedStyle(e).color)), b = light(ground(e));
    found.push([text.slice(0, 30), (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05)]);
  }
  return JSON.stringify({ found, wide: document.documentElement.scrollWidth > window.innerWidth });
})()
"""


@pytest.mark.skipif(installed() is None, reason="needs Debian's chromium")
@pytest.mark.timeout(300)
def test_contrast_and_width_as_rendered() -> None:
    """4.5:1 for every text in light and dark, and nothing wider than the screen, on desktop and phone."""
    schemes: tuple[Scheme, ...] = ("light", "dark")
    with browser() as opened:
        for made in BUILT:
            for scheme, device in [(schemes[0], "desktop"), (schemes[1], "desktop"), (schemes[0], "phone"), (schemes[1], "phone")]:
                opened.show(fill(made.html, made.sample), scheme=scheme, device=device)
                seen = json.loads(opened.evaluate(CONTRAST))
                assert len(seen["found"]) >= 10, "the page was not rendered"
                low = [entry for entry in seen["found"] if entry[1] < 4.5]
                assert not low, (name_of(made), scheme, low)
                assert not seen["wide"], (name_of(made), device)
