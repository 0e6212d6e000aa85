"""The fixed tables: the company is the same for every seed, its patients are not."""

from __future__ import annotations

import random
from dataclasses import dataclass

from local.seed import vocabulary as words
from local.seed.columns import FIXED
from local.seed.text import DAY, END, FALSE, NULL, TRUE, Rows, array, day, tail, uuid

FOUNDED = END - 5 * 365 * DAY


@dataclass(frozen=True, slots=True)
class Product:
    """What a story needs of a product."""

    id: str
    name: str
    kind: str
    vertical: str
    unit: str
    cents: int
    refrigerated: bool


@dataclass(frozen=True, slots=True)
class Company:
    """Ids that stories refer to."""

    staff: list[str]
    pharmacies: list[str]
    providers: list[str]
    drugs: dict[str, list[Product]]
    others: list[Product]


def found(rows: Rows) -> Company:
    """Write the fixed tables into `rows`; what stories refer to."""
    chance = random.Random("omsync: the company")
    staff = _staff(rows, chance)
    pharmacies = _pharmacies(rows, chance)
    providers = _providers(rows, chance, staff)
    products = _products(rows, chance)
    drugs = {vertical: [p for p in products if p.kind == "rx_drug" and p.vertical == vertical] for vertical in words.VERTICALS}
    return Company(staff, pharmacies, providers, drugs, [p for p in products if p.kind in ("otc", "supply", "lab_kit")])


def _staff(rows: Rows, chance: random.Random) -> list[str]:
    ids = []
    roles = (
        ["agent"] * 60 + ["care_coordinator"] * 25 + ["pharmacist"] * 10 + ["clinician"] * 12 + ["billing"] * 8 + ["admin"] * 4 + ["system"]
    )
    for number in range(FIXED["staff_users"]):
        staff_id, active = uuid(chance), chance.random() < 0.9
        ids.append(staff_id)
        name = f"{chance.choice(words.FIRST_NAMES)} {chance.choice(words.LAST_NAMES)}"
        sso = f"00u{number:09d}" if active else NULL
        begun = FOUNDED + chance.randrange(900) * DAY
        rows.add("staff_users", staff_id, f"E{number:05d}", name, f"staff{number}@oms.example.com", roles[number],
                 chance.choice(["UTC", "America/New_York", "America/Chicago"]), sso, TRUE if active else FALSE, tail(begun, begun + DAY, 2))  # fmt: skip
    return ids


def _pharmacies(rows: Rows, chance: random.Random) -> list[str]:
    ids = []
    for number in range(FIXED["pharmacies"]):
        pharmacy_id = uuid(chance)
        ids.append(pharmacy_id)
        city, state, prefix, zone = chance.choice(words.PLACES)
        kind = chance.choices(["mail_order", "retail", "compounding", "specialty"], [5, 3, 3, 1])[0]
        served = sorted(chance.sample(words.STATES, chance.randrange(1, len(words.STATES))))
        rows.add("pharmacies", pharmacy_id, f"{city} {['Care', 'Apothecary', 'Rx', 'Phärmacy'][number % 4]} {number + 1}",
                 f"{5_000_000 + number:07d}" if number % 9 else NULL, f"{1_200_000_000 + number:010d}", kind,
                 f"+1 800 555 {number:04d}", f"+1 800 556 {number:04d}" if number % 3 else NULL, f"{chance.randrange(1, 9999)} {chance.choice(words.STREETS)}",
                 NULL, city, state, f"{prefix}{chance.randrange(100):02d}", "US", array(served), TRUE if number % 11 else FALSE, zone,
                 str(chance.choice([24, 48, 72])) if number % 5 else NULL, FALSE if number % 15 == 14 else TRUE,
                 tail(FOUNDED, FOUNDED + chance.randrange(900) * DAY, chance.randrange(1, 9)))  # fmt: skip
    return ids


def _providers(rows: Rows, chance: random.Random, staff: list[str]) -> list[str]:
    ids = []
    specialties = [
        "family_medicine",
        "internal_medicine",
        "dermatology",
        "psychiatry",
        "obesity_medicine",
        "nurse_practitioner",
        "physician_assistant",
    ]
    for number in range(FIXED["providers"]):
        provider_id = uuid(chance)
        ids.append(provider_id)
        first, last = chance.choice(words.FIRST_NAMES), chance.choice([*words.LAST_NAMES, "O'Connor", "Müller"])
        licensed = sorted(chance.sample(words.STATES, chance.randrange(1, len(words.STATES))))
        rows.add("providers", provider_id, chance.choice(staff) if number % 4 == 0 else NULL, f"{1_300_000_000 + number:010d}", first, last,
                 chance.choice(["MD", "DO", "NP", "PA-C", "PharmD", NULL]), chance.choice(specialties), f"provider{number}@clinic.example.com",
                 f"+1 888 555 {number:04d}", f"{chance.choice('ABFM')}{last[0]}{chance.randrange(10**7):07d}" if number % 3 else NULL, array(licensed),
                 day(END + chance.randrange(-60, 700) * DAY), chance.choice(words.PLACES)[3], FALSE if number % 12 == 11 else TRUE,
                 tail(FOUNDED, FOUNDED + chance.randrange(900) * DAY, chance.randrange(1, 9)))  # fmt: skip
    return ids


def _products(rows: Rows, chance: random.Random) -> list[Product]:
    products: list[Product] = []
    drugs = [(drug, strength) for drug in words.DRUGS for strength in drug[2]]
    for number in range(FIXED["products"]):
        product_id, retired = uuid(chance), number % 10 == 9
        pack = number // (len(drugs) + len(words.OTHER_PRODUCTS)) + 1
        place = number % (len(drugs) + len(words.OTHER_PRODUCTS))
        code = strength = form = ndc = NULL
        schedule, cold, vertical = "none", False, ""
        if place < len(drugs):
            (base, code, _, form, unit, vertical, schedule, cold, cents), strength = drugs[place]
            name, kind, ndc = f"{base} {strength} × {pack * 30}", "rx_drug", f"{number:011d}"
        else:
            base, kind, unit, cents = words.OTHER_PRODUCTS[place - len(drugs)]
            name = f"{base}, pack of {pack}" if pack > 1 else base
        successor = products[-1].id if retired and products else NULL
        description = f"{name}. Keep refrigerated 2–8 °C.\\nDo not freeze." if cold else (NULL if number % 3 else f"{name}.")
        products.append(Product(product_id, name, kind, vertical, unit, cents * pack, cold))
        rows.add("products", product_id, f"SKU-{number:05d}", name, kind, code, ndc, strength, form, schedule, TRUE if kind == "rx_drug" else FALSE,
                 TRUE if cold else FALSE, str(cents * pack), unit, description, successor, FALSE if retired else TRUE,
                 tail(FOUNDED, FOUNDED + chance.randrange(900) * DAY, chance.randrange(1, 9)))  # fmt: skip
    return products
