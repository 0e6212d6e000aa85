"""The pages: what a coordinator sees and may change."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from urllib.parse import urlencode

import pytest

from local.salesforce.testing import Answer
from local.salesforce.testing import TestOrg as Org

VOID = {"meta", "link", "input", "br", "img", "hr"}


class Checker(HTMLParser):
    """Collects text and controls; fails on tags that don't close, controls without a label, ids used twice."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.words: list[str] = []
        self.labelled: set[str] = set()
        self.controls: dict[str, dict[str, str | None]] = {}
        self.links: list[str] = []
        self.ids: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        if tag not in VOID:
            self.open.append(tag)
        if found.get("id"):
            self.ids.append(str(found["id"]))
        if tag == "label":
            self.labelled.add(str(found.get("for")))
        if tag in {"input", "select", "textarea"} and found.get("type") != "hidden":
            self.controls[str(found.get("name"))] = found
        if tag == "a":
            self.links.append(str(found.get("href")))

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag, f"</{tag}> closes something else"

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def page(answer: Answer, status: int = 200) -> Checker:
    assert answer.status == status, answer.text[:500]
    assert answer.headers["content-type"] == "text/html;charset=UTF-8"
    checker = Checker()
    checker.feed(answer.text)
    checker.close()
    assert checker.open == []
    assert len(set(checker.ids)) == len(checker.ids)
    unlabelled = {name for name, control in checker.controls.items() if control.get("id") not in checker.labelled}
    assert unlabelled == set()
    return checker


def text(checker: Checker) -> str:
    return " ".join(" ".join(checker.words).split())


def view(org: Org, path: str, user: str = "coordinator") -> Answer:
    return org.get(path, token="", headers={"Cookie": f"omsync_user={user}"})


def send(org: Org, path: str, form: dict[str, str], user: str = "coordinator", **headers: str) -> Answer:
    given = {"Cookie": f"omsync_user={user}", "Content-Type": "application/x-www-form-urlencoded", **headers}
    return org.post(path, content=urlencode(form).encode(), headers=given, token="")


@pytest.fixture
def patient(org: Org) -> str:
    """A patient with a prescription and a note, as the integration user wrote them."""
    robot = org.login_as("integration")
    kind = org.server.state.org.objects["Account"].record_types["Patient"].id
    fields = {"RecordTypeId": kind, "FirstName": "Jane", "LastName": "<Doe>", "OMS_Id__c": "u-1", "PersonEmail": "jane@example.com"}
    fields |= {"PersonMailingStreet": "1 Main St", "PersonMailingCity": "Austin", "PersonBirthdate": "1980-02-03"}
    created = org.post("sobjects/Account", fields, token=robot)
    assert created.status == 201, created.text
    record_id = str(created.json()["id"])
    note = {"OMS_Id__c": "n-1", "Patient__c": record_id, "Title__c": "First call"}
    answer = org.post("sobjects/Clinical_Note__c", note, token=robot)
    assert answer.status == 201, answer.text
    return record_id


def test_home_lists_what_the_person_may_see(org: Org, patient: str) -> None:
    shown = page(view(org, "/"))
    assert "/lightning/o/Account/list" in shown.links
    assert "Carla Coordinator" in text(shown)


def test_a_patients_page_is_laid_out_with_the_related_lists(org: Org, patient: str) -> None:
    shown = page(view(org, f"/lightning/r/Account/{patient}/view"))
    words = text(shown)
    for expected in ("Jane <Doe>", "jane@example.com", "Feb 3, 1980", "1 Main St Austin", "Patient", "First call"):
        assert expected in words, expected
    for related in ("Orders", "Prescriptions", "Clinical Notes", "Shipments", "Communications", "Cases"):
        assert related in words, related


def test_the_list_searches_filters_and_pages(org: Org, patient: str) -> None:
    assert "Jane <Doe>" in text(page(view(org, "/lightning/o/Account/list?q=jane@exam&type=Patient")))
    assert "Jane <Doe>" not in text(page(view(org, "/lightning/o/Account/list?type=Pharmacy")))
    assert "Jane <Doe>" in text(page(view(org, "/lightning/search?q=u-1")))
    org.post("composite/sobjects", {"records": [{"attributes": {"type": "Account"}, "Name": f"n{n}"} for n in range(60)]})
    first = page(view(org, "/lightning/o/Account/list"))
    older = next(link for link in first.links if link.startswith("?after="))
    assert "Upscript Medical Group" in text(page(view(org, f"/lightning/o/Account/list{older}")))


def test_an_edit_saves_only_what_changed_and_is_stamped_as_the_persons(org: Org, patient: str) -> None:
    form = page(view(org, f"/lightning/r/Account/{patient}/edit"))
    assert form.controls["PersonEmail"]["value"] == "jane@example.com"
    assert "Patient_Status__pc" not in form.controls
    sent = {"PersonEmail": "new@example.com", "LastName": "<Doe>", "PersonMailingCity": "Austin"}
    saved = send(org, f"/lightning/r/Account/{patient}/edit", sent, Origin="https://org.example")
    assert (saved.status, saved.headers["location"]) == (303, f"/lightning/r/Account/{patient}/view")
    record = org.get(f"sobjects/Account/{patient}").json()
    assert record["PersonEmail"] == "new@example.com"
    assert list(json.loads(record["Sync_Stamps__c"])) == ["PersonEmail"]


def test_a_refused_edit_shows_why_and_keeps_what_was_typed(org: Org, patient: str) -> None:
    refused = send(org, f"/lightning/r/Account/{patient}/edit", {"PersonEmail": "no address", "LastName": "<Doe>"})
    form = page(refused, 422)
    assert form.controls["PersonEmail"]["value"] == "no address"
    assert "invalid email address" in text(form).lower()


def test_a_note_can_be_written_for_a_patient(org: Org, patient: str) -> None:
    start = next(
        link for link in page(view(org, f"/lightning/r/Account/{patient}/view", "clinician")).links if "Clinical_Note__c/new" in link
    )
    form = page(view(org, start, "clinician"))
    assert form.controls["Patient__c"]["value"] == patient
    saved = send(org, start, {"Patient__c": patient, "Title__c": "Second call", "Type__c": "phone"}, "clinician")
    assert saved.status == 303, saved.text[-3000:]
    assert "Second call" in text(page(view(org, f"/lightning/r/Account/{patient}/view", "clinician")))


@pytest.mark.parametrize(
    "path", ["/lightning/o/Nope/list", "/lightning/r/Account/x/view", "/lightning/r/Account/001000000000000AAA/view", "/nope"]
)
def test_what_is_not_there_is_a_page_too(org: Org, path: str) -> None:
    page(view(org, path), 404)


def test_a_form_from_another_site_is_refused(org: Org, patient: str) -> None:
    page(send(org, f"/lightning/r/Account/{patient}/edit", {"PersonEmail": "x@example.com"}, Origin="https://evil.example"), 403)
    assert org.get(f"sobjects/Account/{patient}").json()["PersonEmail"] == "jane@example.com"


def test_an_id_leads_to_its_page(org: Org, patient: str) -> None:
    assert view(org, f"/{patient}").headers["location"] == f"/lightning/r/Account/{patient}/view"


def test_who_acts_can_be_changed_and_not_led_elsewhere(org: Org) -> None:
    answer = send(org, "/lightning/as", {"user": "clinician", "back": "//evil.example"})
    assert (answer.status, answer.headers["location"]) == (303, "/")
    assert "omsync_user=clinician" in answer.headers["set-cookie"]


def luminance(colour: str) -> float:
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_colours_keep_the_contrast_that_wcag_asks_for(org: Org) -> None:
    style = view(org, "/").text
    for scheme in re.findall(r":root \{ ([^}]*) \}", style):
        colours = dict(re.findall(r"--([\w-]+):(#[0-9a-f]{6}|#fff)", scheme))
        colours = {name: "#ffffff" if value == "#fff" else value for name, value in colours.items()}
        pairs = [("ink", "paper"), ("ink", "ground"), ("soft", "paper"), ("soft", "ground"), ("brand", "paper"), ("brand", "ground")]
        pairs += [("brand-ink", "brand"), ("bad", "bad-soft"), ("bad", "paper")]
        colours.setdefault("paper", "#ffffff")
        for front, back in pairs:
            high, low = sorted((luminance(colours[front]), luminance(colours[back])), reverse=True)
            assert (high + 0.05) / (low + 0.05) >= 4.5, (front, back)
