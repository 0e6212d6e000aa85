"""People: patients in households, with addresses, consents, allergies and conditions."""

from __future__ import annotations

import json
import random
from dataclasses import dataclass

from local.seed import vocabulary as words
from local.seed.company import Company
from local.seed.text import DAY, END, FALSE, MINUTE, NULL, TRUE, Rows, array, day, escaped, moment, sha256, tail, uuid

#: the first day anybody registered
OPENED = END - 4 * 365 * DAY
_CONSENTS = ["hipaa_npp", "telehealth", "sms", "email_marketing", "credit_card_on_file", "research"]


@dataclass(slots=True)
class Home:
    """Where a household lives, and the e-mail address it may share."""

    last_name: str
    line1: str
    line2: str
    city: str
    state: str
    postal_code: str
    zone: str
    email: str


@dataclass(slots=True)
class Person:
    """A patient as the rest of its story needs it. `owner` is whose id its children carry: its own, or its survivor's."""

    number: int
    id: str
    owner: str
    first_name: str
    last_name: str
    email: str
    phone: str
    birth: str
    home: Home
    since: int
    status: str
    provider: str
    pharmacy: str

    @property
    def has_story(self) -> bool:
        """Erased people and prospects have nothing but their own rows."""
        return self.status not in ("erased", "prospect")

    @property
    def ship_to(self) -> str:
        """The seven ship_* columns of an order."""
        home = self.home
        name = self.last_name if self.first_name == NULL else f"{self.first_name} {self.last_name}"
        return "\t".join((name, home.line1, home.line2, home.city, home.state, home.postal_code, "US"))


def a_home(chance: random.Random) -> Home:
    """A household's address."""
    city, state, prefix, zone = chance.choice(words.PLACES)
    last_name = chance.choice(words.UGLY_LAST_NAMES if chance.random() < 0.08 else words.LAST_NAMES)
    line1 = f"{chance.randrange(1, 19999)} {chance.choice(words.STREETS)}"
    line2 = chance.choice(words.SECOND_LINES) if chance.random() < 0.25 else NULL
    postal_code = f"{prefix}{chance.randrange(100):02d}" + (f"-{chance.randrange(10000):04d}" if chance.random() < 0.2 else "")
    email = f"family.{chance.getrandbits(32):08x}@{chance.choice(words.EMAIL_DOMAINS)}"
    return Home(last_name, line1, line2, city, state, postal_code, zone, email)


def a_person(chance: random.Random, company: Company, number: int, home: Home, shares_email: bool) -> Person:
    """One of a household."""
    roll = chance.random()
    status = "active"
    for likely, name in ((0.03, "prospect"), (0.10, "inactive"), (0.112, "blocked"), (0.12, "deceased"), (0.124, "erased")):
        if roll < likely:
            status = name
            break
    first = chance.choice(words.UGLY_FIRST_NAMES if chance.random() < 0.06 else words.FIRST_NAMES)
    last = chance.choice(words.LAST_NAMES) if chance.random() < 0.15 else home.last_name
    if shares_email:
        email = home.email
    elif chance.random() < 0.04:
        email = chance.choice(words.LEGACY_EMAILS) if chance.random() < 0.6 else NULL
    else:
        plain = "".join(filter(str.isascii, first)).strip().lower().replace(" ", "") or "p"
        email = f"{plain}.{chance.getrandbits(32):08x}@{chance.choice(words.EMAIL_DOMAINS)}"
        if chance.random() < 0.05:
            email = email.title()
    phone = f"+1{chance.randrange(201, 990)}{chance.randrange(200, 999)}{chance.randrange(10000):04d}" if chance.random() < 0.93 else NULL
    born = END - int(365.25 * DAY * min(99, max(0.2, chance.gauss(41, 16))))
    birth = day(born) if born >= 0 else _before_1970(born)
    if chance.random() < 0.01:
        birth = NULL
    since = OPENED + int((END - OPENED - 3 * DAY) * chance.random() ** 0.9)
    person_id = uuid(chance)
    return Person(number, person_id, person_id, first, last, email, phone, birth, home, since, status, chance.choice(company.providers),
                  chance.choice(company.pharmacies))  # fmt: skip


def _before_1970(second: int) -> str:
    """A birth date: `day` knows no negative seconds; 365.25 days a year keep the calendar within a day."""
    years, rest = divmod(second, int(365.25 * DAY))
    month, of_month = divmod(rest // DAY, 31)
    return f"{1970 + years}-{month + 1:02d}-{min(of_month, 27) + 1:02d}"


def a_duplicate(chance: random.Random, original: Person, number: int) -> Person:
    """Somebody who registered twice and was merged into `original`: same birth date, a slip in the name."""
    first = chance.choice([original.first_name, original.first_name[:1] if original.first_name else "J", original.first_name.upper()])
    since = original.since + int((END - DAY - original.since) * chance.random())
    return Person(number, uuid(chance), original.id, first, original.last_name, original.email, original.phone, original.birth, original.home,
                  since, "merged", original.provider, original.pharmacy)  # fmt: skip


def write_person(rows: Rows, chance: random.Random, person: Person, company: Company) -> None:
    """The patient's own row, its addresses, consents, allergies and conditions."""
    _write_patient(rows, chance, person, company)
    _write_addresses(rows, chance, person)
    _write_consents(rows, chance, person)
    if person.has_story:
        _write_allergies(rows, chance, person)
        _write_conditions(rows, chance, person)


def _write_patient(rows: Rows, chance: random.Random, person: Person, company: Company) -> None:
    random_ = chance.random
    merged, erased, prospect = person.status == "merged", person.status == "erased", person.status == "prospect"
    updated = min(END, person.since + int((END - person.since) * random_()))
    if erased:
        person.first_name, person.last_name, person.email, person.phone, person.birth = NULL, "Erased", NULL, NULL, NULL
    sex = chance.choices(["female", "male", "intersex", "unknown", NULL], [50, 44, 0.3, 2, 3.7])[0]
    digits = person.phone[2:]
    raw = NULL if erased or random_() < 0.3 else chance.choice(words.RAW_PHONES).format(digits[:3] or "555", digits[3:6], digits[6:])
    verified = moment(person.since + 5 * MINUTE) if not (prospect or erased) and random_() < 0.9 else NULL
    died = day(updated) if person.status == "deceased" else NULL
    attribution = NULL
    if random_() < 0.7:
        told = {"source": chance.choice(words.SOURCES), "campaign": f"c{chance.randrange(999)}", "utm": {"medium": "cpc", "term": None}}
        if random_() < 0.0004:  # a tracker gone wild
            told["trail"] = {f"hop{hop}": {"url": f"https://example.com/?q={hop}&ref=%C3%BC", "at": hop} for hop in range(3000)}
        attribution = escaped(json.dumps(told, ensure_ascii=False))
    notes = NULL
    if random_() < 0.06:
        notes = escaped("\n".join(chance.choices(words.SENTENCES, k=chance.randrange(1, 6))))
        if random_() < 0.01:
            notes = escaped(f"{words.SENTENCES[4]}\r\n" * 300)[:9000]
    is_ours = not (erased or prospect)
    rows.add(
        "patients", person.id, f"P-{person.number:08d}", person.first_name,
        chance.choice(words.FIRST_NAMES) if random_() < 0.2 and not erased else NULL, person.last_name,
        chance.choice(words.SUFFIXES) if random_() < 0.03 and not erased else NULL,
        person.first_name[:3] if random_() < 0.08 and person.first_name != NULL else NULL, person.birth, sex if not erased else NULL,
        chance.choice(["woman", "man", "non_binary", "transgender_woman", "prefer_not_to_say"]) if random_() < 0.2 and is_ours else NULL,
        chance.choice(["she/her", "he/him", "they/them"]) if random_() < 0.2 and is_ours else NULL, person.email,
        verified if person.email != NULL and random_() < 0.8 else NULL, person.phone, raw,
        TRUE if person.phone != NULL and random_() < 0.6 else FALSE, TRUE if random_() < 0.45 and not erased else FALSE,
        chance.choices(["en", "es", "zh", "vi", "ar", "fr"], [85, 10, 2, 1, 1, 1])[0], person.home.zone if random_() < 0.9 else NULL,
        person.status, died, verified, person.pharmacy if random_() < 0.5 and is_ours else NULL,
        person.provider if random_() < 0.7 and is_ours else NULL, chance.choice(company.staff) if random_() < 0.3 else NULL,
        f"{min(230.0, max(60.0, chance.gauss(169, 11))):.1f}" if random_() < 0.8 and is_ours else NULL,
        f"{min(300.0, max(20.0, chance.gauss(86, 21))):.1f}" if random_() < 0.8 and is_ours else NULL,
        f"cus_{person.id[:14]}" if is_ours else NULL,
        array(sorted(chance.sample(words.RISK_FLAGS, chance.randrange(1, 4)))) if random_() < 0.12 and is_ours else "{}",
        chance.choice(["bronze", "silver", "gold", "platinum"]) if random_() < 0.04 and is_ours else NULL, notes, attribution,
        f"LEG/{person.number:07d}" if random_() < 0.3 else NULL, person.owner if merged else NULL, rows.edits("patients", updated),
        tail(person.since, updated, chance.randrange(1, 12), updated if erased else None),
    )  # fmt: skip


def _write_addresses(rows: Rows, chance: random.Random, person: Person) -> None:
    """Everybody has a default shipping address; a merged duplicate's is the survivor's spare one."""
    if person.status == "erased":
        return
    _write_address(rows, chance, person, "shipping", default=person.status != "merged")
    if chance.random() < 0.16:
        _write_address(rows, chance, person, "billing", default=person.status != "merged")
    if chance.random() < 0.15:
        _write_address(rows, chance, person, chance.choice(["home", "work", "shipping"]), default=False)


def _write_address(rows: Rows, chance: random.Random, person: Person, kind: str, *, default: bool) -> None:
    home = person.home if default or chance.random() < 0.5 else a_home(chance)
    made = person.since + 10 * MINUTE
    deleted = made + int((END - made) * chance.random()) if not default and chance.random() < 0.15 else None
    status = chance.choices(["unchecked", "valid", "corrected", "undeliverable"], [30, 60, 8, 2])[0]
    recipient = person.last_name if person.first_name == NULL else f"{person.first_name} {person.last_name}"
    rows.add("patient_addresses", uuid(chance), person.owner, kind, TRUE if default else FALSE,
             recipient if chance.random() < 0.9 else NULL, home.line1, home.line2, home.city,
             home.state if chance.random() < 0.97 else {"TX": "Texas", "CA": "california"}.get(home.state, home.state), home.postal_code, "US",
             person.phone if chance.random() < 0.5 else NULL, status, NULL if status == "unchecked" else moment(made + 1),
             tail(made, deleted or made + 2, 2, deleted))  # fmt: skip


def _write_consents(rows: Rows, chance: random.Random, person: Person) -> None:
    kinds = _CONSENTS[: 2 + int(chance.random() * 2.05)] if person.has_story else _CONSENTS[:1]
    for kind in kinds:
        given = person.since + chance.randrange(1, 600)
        granted = kind in _CONSENTS[:2] or chance.random() < 0.8
        revoked = given + int((END - given) * chance.random()) if granted and kind not in _CONSENTS[:2] and chance.random() < 0.12 else None
        version = chance.choice(["2022-03", "2023-01", "2024-06", "v3"])
        rows.add("patient_consents", uuid(chance), person.owner, kind, version, TRUE if granted else FALSE, moment(given),
                 NULL if revoked is None else moment(revoked), chance.choice(["web", "web", "app", "phone", "import"]),
                 chance.choice([f"10.{chance.randrange(256)}.{chance.randrange(256)}.9", "2001:db8::1", NULL]), chance.choice(words.USER_AGENTS),
                 sha256(kind + version) if chance.random() < 0.8 else NULL, rows.edits("patient_consents", revoked or given),
                 tail(given, revoked or given, 1 if revoked is None else 2))  # fmt: skip


def _write_allergies(rows: Rows, chance: random.Random, person: Person) -> None:
    for _ in range(chance.choices((0, 1, 2, 5), (66, 24, 7.5, 1.5))[0]):
        substance, system, code, category = chance.choice(words.ALLERGENS)
        none_known = system == "nkda"
        made = person.since + chance.randrange(60, 900)
        deleted = made + DAY if chance.random() < 0.01 and made + DAY < END else None
        rows.add("patient_allergies", uuid(chance), person.owner, substance, system or NULL, code or NULL, category or NULL,
                 NULL if none_known or chance.random() < 0.3 else chance.choice(words.REACTIONS),
                 NULL if none_known else chance.choice(["mild", "moderate", "severe", "unknown"]),
                 chance.choices(["active", "inactive", "resolved", "entered_in_error"], [90, 5, 4, 1])[0],
                 day(made - chance.randrange(1, 9000) * DAY) if chance.random() < 0.2 else NULL,
                 chance.choice(["patient", "patient", "provider", "pharmacy", "import"]), tail(made, deleted or made, 1, deleted))  # fmt: skip


def _write_conditions(rows: Rows, chance: random.Random, person: Person) -> None:
    for _ in range(chance.choices((0, 1, 2, 3, 9), (33.5, 34, 19, 10.5, 2.5))[0]):
        icd10, snomed, description = chance.choice(words.CONDITIONS)
        made = person.since + chance.randrange(60, 900)
        onset = made - chance.randrange(1, 7000) * DAY if chance.random() < 0.6 else None
        over = onset is not None and chance.random() < 0.2
        status = (
            chance.choice(["inactive", "remission", "resolved"])
            if over
            else chance.choices(["active", "recurrence", "relapse"], [90, 5, 5])[0]
        )
        reported = chance.random() < 0.6
        rows.add("patient_conditions", uuid(chance), person.owner, icd10 or NULL, snomed or NULL, description, status,
                 chance.choice(["unconfirmed", "provisional"]) if reported else chance.choices(["confirmed", "refuted", "entered_in_error"], [90, 7, 3])[0],
                 NULL if onset is None else day(onset), day(made) if over else NULL, TRUE if reported else FALSE, tail(made, made + 60, 2))  # fmt: skip
