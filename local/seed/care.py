"""Care: consultations with follow-ups, questionnaires, notes with amendments, treatment plans, prescriptions that replace others."""

from __future__ import annotations

import json
import random
from dataclasses import dataclass, field

from local.seed import vocabulary as words
from local.seed.company import Company, Product
from local.seed.people import Person
from local.seed.text import DAY, END, FALSE, HOUR, MINUTE, NULL, TRUE, Rows, array, day, escaped, moment, sha256, tail, uuid

#: the longest text that Salesforce takes in one field
LONGEST = 131_072
_PER_PATIENT = 120  # numbers of a patient's orders, parcels ... are its number times this, counted on


@dataclass(slots=True)
class Treatment:
    """A prescription that orders are made of."""

    prescription: str
    product: Product
    consultation: str
    subscription: str
    interval: int
    since: int
    until: int


@dataclass(slots=True)
class Care:
    """What became of a patient's visits."""

    treatments: list[Treatment] = field(default_factory=list)
    #: (consultation, product, when): asked for, and not approved
    declined: list[tuple[str, Product, int]] = field(default_factory=list)
    prescriptions: int = 0
    plans: int = 0


def number_of(prefix: str, person: Person, count: int) -> str:
    """A business number below the range of live rows; at most 120 of a kind a patient."""
    assert count < _PER_PATIENT
    return f"{prefix}-{person.number * _PER_PATIENT + count:08d}"


def write_care(rows: Rows, chance: random.Random, person: Person, company: Company) -> Care:
    """All visits of a patient and what they led to."""
    care = Care()
    previous = NULL
    at = person.since + chance.randrange(20, 180) * MINUTE
    for count in range(chance.choices((0, 1, 2, 3, 8), (8, 42, 29, 17, 3.4))[0]):
        if at > END - HOUR:
            break
        previous, at = _write_consultation(rows, chance, person, company, care, count, previous, at)
    if chance.random() < 0.126:
        _write_intake(rows, chance, person, NULL, at if at < END else END - HOUR, "profile")
    return care


def _write_consultation(
    rows: Rows, chance: random.Random, person: Person, company: Company, care: Care, count: int, previous: str, at: int
) -> tuple[str, int]:
    """One visit; its id and when the next one may begin."""
    consultation, vertical = uuid(chance), chance.choice(words.VERTICALS)
    modality = chance.choices(["async", "video", "phone", "chat"], [60, 30, 5, 5])[0]
    roll = chance.random()
    status, outcome, reason = "completed", NULL, NULL
    if roll < 0.78:
        outcome = "prescribed"
    elif roll < 0.86:
        outcome = chance.choice(["no_treatment", "referred", "labs_ordered"])
    elif roll < 0.91:
        status, outcome, reason = "declined", "declined_unsafe", chance.choice(words.DECLINE_REASONS)
    else:
        status = chance.choice(
            ["requested", "awaiting_patient", "scheduled", "queued", "in_progress", "on_hold", "cancelled", "no_show", "expired"]
        )
    begun = at + chance.randrange(1, 30) * HOUR
    ended = begun + chance.randrange(5, 50) * MINUTE
    if ended > END:  # still to come
        status, outcome, reason = "scheduled" if modality == "video" else "queued", NULL, NULL
    happened = status in ("completed", "declined")
    started = happened or status in ("in_progress", "on_hold")
    provider = person.provider if status not in ("requested", "awaiting_patient") else NULL
    updated = min(END, ended if started else at + HOUR)
    scheduled = moment(begun) if modality == "video" or status in ("scheduled", "no_show") else NULL
    rows.add("consultations", consultation, number_of("C", person, count), person.owner, provider,
             previous if previous != NULL and chance.random() < 0.5 else NULL, modality, vertical, status, outcome, reason,
             person.home.state, scheduled, moment(begun) if started else NULL, moment(ended) if happened else NULL, moment(at + DAY),
             f"room-{consultation[:12]}" if modality == "video" else NULL, rows.edits("consultations", updated),
             tail(at, updated, chance.randrange(2, 6)))  # fmt: skip
    for _ in range(1 + (chance.random() < 0.05)):
        _write_intake(rows, chance, person, consultation, at, vertical)
    if happened:
        _write_notes(rows, chance, person, consultation, ended, vertical)
    if outcome == "prescribed":
        _prescribe(rows, chance, person, company, care, consultation, vertical, ended)
    elif status == "declined" and company.drugs[vertical]:
        care.declined.append((consultation, chance.choice(company.drugs[vertical]), at))
    return consultation, ended + chance.randrange(20, 200) * DAY


def _write_intake(rows: Rows, chance: random.Random, person: Person, consultation: str, at: int, code: str) -> None:
    bmi = f"{min(70.0, max(15.0, chance.gauss(30, 6))):.1f}"
    answers: dict[str, object] = {
        "goals": chance.choice(words.MESSAGES), "height": {"ft": 5, "in": chance.randrange(12)}, "pregnant": None,
        "medications": chance.choices(["none", "metformin 500", "\"vitamins\"", "aspirin \\ ibuprofen"], k=chance.randrange(3)),
        "smoker": chance.random() < 0.2, "bmi": float(bmi), "free_text": chance.choice(words.SENTENCES),
    }  # fmt: skip
    if chance.random() < 0.001:  # a questionnaire with every photo's metadata in it
        answers["photos"] = [{"n": n, "exif": {"make": "Äpple", "iso": n % 800, "note": words.SENTENCES[n % 18]}} for n in range(1500)]
    text = json.dumps(answers, ensure_ascii=False)
    submitted = at if chance.random() < 0.94 else None
    made = at - 10 * MINUTE
    rows.add("intake_responses", uuid(chance), person.owner, consultation, f"{code}_intake", str(chance.randrange(1, 9)), escaped(text),
             sha256(text) if submitted else NULL, bmi if code == "weight" or chance.random() < 0.2 else NULL,
             array(sorted(chance.sample(words.INTAKE_FLAGS, chance.randrange(1, 3)))) if chance.random() < 0.1 else "{}",
             "en-US" if chance.random() < 0.9 else "es-US", NULL if submitted is None else moment(submitted), tail(made, at, 2))  # fmt: skip


def a_body(chance: random.Random) -> str:
    """The text of a note: some sentences; rarely very long, once in a while exactly as long as a field."""
    roll = chance.random()
    if roll < 0.0003:
        return ((" ".join(words.SENTENCES) + "\n") * 200)[: chance.randrange(32_000, LONGEST)]
    if roll < 0.0005:
        return ("S: " + "pain scale 3/10; " * 9000)[:LONGEST]
    lines = chance.choices(words.SENTENCES, k=chance.randrange(3, 15))
    return ("\r\n" if roll > 0.97 else "\n").join(lines)


def _write_notes(rows: Rows, chance: random.Random, person: Person, consultation: str, ended: int, vertical: str) -> None:
    kinds = [
        "soap",
        *chance.choices(["progress", "message_summary", "phone", "pharmacist", "lab_review"], k=chance.choices((0, 1, 2), (45, 40, 15))[0]),
    ]
    for offset, kind in enumerate(kinds):
        at = ended + offset * chance.randrange(1, 40) * HOUR
        if at > END:
            return
        roll = chance.random()
        status = "signed" if roll < 0.88 else "draft" if roll < 0.93 else "entered_in_error" if roll < 0.94 else "amended"
        note = _write_note(rows, chance, person, consultation, NULL, kind, status, at, vertical)
        if status == "amended":
            _write_note(rows, chance, person, consultation, note, "addendum", "signed", min(END, at + DAY), vertical)


def _write_note(  # noqa: PLR0913 - the columns that differ
    rows: Rows, chance: random.Random, person: Person, consultation: str, amends: str, kind: str, status: str, at: int, vertical: str
) -> str:
    note, body = uuid(chance), a_body(chance)
    deleted = at + 60 if status == "draft" and chance.random() < 0.2 else None
    sensitive = vertical in ("mental_health", "sexual_health") and chance.random() < 0.7
    title = NULL if chance.random() < 0.2 else f"{kind.replace('_', ' ').title()} – {vertical.replace('_', ' ')}"
    rows.add("clinical_notes", note, person.owner, consultation, person.provider, amends, kind, status, title, escaped(body), sha256(body),
             TRUE if sensitive else FALSE, NULL if status == "draft" else moment(at), rows.edits("clinical_notes", at),
             tail(at - 10 * MINUTE, deleted or at, {"draft": 1, "signed": 2}.get(status, 3), deleted))  # fmt: skip
    return note


def _prescribe(
    rows: Rows, chance: random.Random, person: Person, company: Company, care: Care, consultation: str, vertical: str, at: int
) -> None:
    choices = company.drugs[vertical] or company.drugs["primary_care"]
    for nth in range(1 + (chance.random() < 0.38)):
        product = chance.choice(choices)
        interval = chance.choice([28, 30, 30, 60, 90])
        until = at + interval * chance.randrange(2, 9) * DAY
        plan = NULL
        if nth == 0 and chance.random() < 0.65:
            plan = _write_plan(rows, chance, person, care, product, interval, at, until)
        replaced = NULL
        if chance.random() < 0.12 and at + 3 * DAY < END:  # the first one is superseded by another strength
            replaced = _write_rx(rows, chance, person, care, consultation, chance.choice(choices), NULL, "replaced", at, until)
            at += 2 * DAY
        roll = chance.random()
        if roll < 0.04:
            status = chance.choice(["draft", "ready_to_sign", "on_hold", "cancelled", "entered_in_error"])
        else:
            status = "active" if until > END else chance.choice(["expired", "depleted", "depleted"])
        rx = _write_rx(rows, chance, person, care, consultation, product, replaced, status, at, until)
        if status in ("active", "expired", "depleted"):
            care.treatments.append(Treatment(rx, product, consultation, plan, interval, at, min(END, until)))


def _write_rx(  # noqa: PLR0913 - the columns that differ
    rows: Rows, chance: random.Random, person: Person, care: Care, consultation: str, product: Product, replaces: str, status: str, at: int, until: int
) -> str:  # fmt: skip
    rx, refills = uuid(chance), chance.choice([0, 1, 2, 3, 5, 11])
    sent = status not in ("draft", "ready_to_sign", "entered_in_error")
    transmission = "not_sent"
    if sent:
        transmission = chance.choices(["sent", "pharmacy_verified", "fax_sent", "printed", "error", "sending"], [30, 60, 4, 2, 3, 1])[0]
        transmission = "retracted" if status == "cancelled" else transmission
    left = {"depleted": 0, "active": chance.randrange(refills + 1)}.get(status, refills)
    number = care.prescriptions
    care.prescriptions += 1
    updated = min(END, at + DAY)
    rows.add("prescriptions", rx, number_of("RX", person, number), person.owner, consultation, person.provider,
             person.pharmacy if sent else NULL, product.id, replaces, product.name, chance.choice(words.SIGS),
             chance.choice(["30.000", "90.000", "1.500", "4.000", "0.750"]), product.unit, str(chance.choice([28, 30, 90])), str(refills), str(left),
             TRUE if chance.random() < 0.05 else FALSE, chance.choice(words.CONDITIONS)[0] or NULL, status, transmission,
             f"erx-{rx[:20]}" if sent else NULL, "Pharmacy rejected: patient not found" if transmission == "error" else NULL, moment(at),
             day(at), day(until), chance.choice([*words.CUSTOMER_NOTES[3:4], "Substituted generic – OK"]) if chance.random() < 0.05 else NULL,
             tail(at, updated, chance.randrange(2, 8)))  # fmt: skip
    return rx


def _write_plan(rows: Rows, chance: random.Random, person: Person, care: Care, product: Product, interval: int, at: int, until: int) -> str:
    plan = uuid(chance)
    roll = chance.random()
    cancelled, reason, following, period = NULL, NULL, NULL, moment(until)
    if until <= END:
        status = "ended" if roll < 0.4 else "cancelled"
        if status == "cancelled":
            cancelled, reason = moment(until), chance.choice(words.CANCEL_REASONS)
    else:
        status = "active" if roll < 0.8 else chance.choice(["trialing", "past_due", "paused"])
        following = NULL if status == "paused" else day(END + chance.randrange(1, interval) * DAY)
        period = moment(END + chance.randrange(1, interval) * DAY)
    number = care.plans
    care.plans += 1
    updated = min(END, until)
    rows.add("subscriptions", plan, number_of("S", person, number), person.owner, product.id, status, str(interval),
             str(product.cents * 9 // 10), period, following, cancelled, reason, rows.edits("subscriptions", updated),
             tail(at, updated, chance.randrange(1, 9)))  # fmt: skip
    return plan
