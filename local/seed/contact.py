"""Contact: tickets (some under a parent) and messages in every channel."""

from __future__ import annotations

import random

from local.seed import vocabulary as words
from local.seed.care import number_of
from local.seed.commerce import Order, Shop
from local.seed.company import Company
from local.seed.people import Person
from local.seed.text import DAY, END, HOUR, MINUTE, NULL, Rows, escaped, moment, sha256, tail, uuid

_OPEN = ("new", "open", "pending_patient", "pending_pharmacy", "escalated")
_TOLD = (("placed", "order_confirmed"), ("shipped", "order_shipped"), ("delivered", "order_delivered"))


def write_contact(rows: Rows, chance: random.Random, person: Person, company: Company, shop: Shop) -> None:
    """Tickets and messages of a patient."""
    for order in shop.orders:
        for state, template in _TOLD:
            at = order.reached(state)
            if at is not None and chance.random() < 0.9:
                _write_mail(rows, chance, person, template, at + MINUTE, order)
    span = END - person.since
    for _ in range(chance.choices((2, 4, 6, 8, 20), (24, 30, 28, 15, 4))[0]):
        _write_message(rows, chance, person, company, person.since + int(span * chance.random()))
    parent = NULL
    for count in range(chance.choices((0, 1, 2, 6), (62, 25, 11, 2))[0]):
        ticket = _write_ticket(rows, chance, person, company, shop, count, parent)
        parent = ticket if parent == NULL else parent


def _write_ticket(rows: Rows, chance: random.Random, person: Person, company: Company, shop: Shop, count: int, parent: str) -> str:
    ticket, category = uuid(chance), chance.choice(tuple(words.SUBJECTS))
    opened = person.since + int((END - DAY - person.since) * chance.random())
    status = chance.choices(("closed", "resolved", *_OPEN), (70, 10, 4, 4, 4, 4, 4))[0]
    closed = min(END, opened + chance.randrange(1, 200) * HOUR) if status in ("closed", "resolved") else None
    order = chance.choice(shop.orders) if shop.orders and category in ("delivery", "billing", "adverse_event") else None
    known = chance.random() < 0.97
    description = "\n".join(chance.choices(words.MESSAGES, k=chance.randrange(1, 5)))
    if chance.random() < 0.001:
        description = (description + "\n> quoted\n") * 400
    updated = closed or opened
    rows.add("support_cases", ticket, number_of("T", person, count), person.owner if known else NULL, order.id if order else NULL,
             order.prescription if order and category == "adverse_event" else NULL, parent if chance.random() < 0.3 else NULL,
             chance.choice(company.staff) if status != "new" else NULL, category, chance.choice(("low", "medium", "medium", "high", "urgent")), status,
             chance.choice(("email", "phone", "chat", "sms", "web", "system")), chance.choice(words.SUBJECTS[category]), escaped(description[:32000]),
             "Explained, patient satisfied." if closed else NULL, moment(opened), NULL if closed is None else moment(closed),
             rows.edits("support_cases", updated), tail(opened, updated, 2 if closed else 1))  # fmt: skip
    for reply in range(chance.choice((1, 2, 2, 4))):
        at = min(END, opened + (reply + 1) * 20 * MINUTE)
        _write_mail(rows, chance, person, NULL, at, order, ticket, inbound=reply % 2 == 0)
    return ticket


def _write_mail(
    rows: Rows, chance: random.Random, person: Person, template: str, at: int, order: Order | None = None, ticket: str = NULL,
    *, inbound: bool = False,
) -> None:  # fmt: skip
    message, at = uuid(chance), min(at, END)
    body = f"Hi {'there' if person.first_name == NULL else person.first_name},\n\n{chance.choice(words.MESSAGES)}\n\nYour care team"
    theirs, ours = person.email, "care@oms.example.com"
    html = NULL
    if template != NULL and chance.random() < 0.1:
        html = f"<p>{body}</p>".replace("\n", "<br>")
    status = "received" if inbound else chance.choices(("delivered", "opened", "sent", "bounced", "failed"), (60, 30, 6, 3, 1))[0]
    rows.add("communications", message, person.owner, ticket, order.id if order else NULL, NULL, "email", "inbound" if inbound else "outbound",
             f"thread-{ticket[:12]}" if ticket != NULL else NULL, theirs if inbound else ours, ours if inbound else theirs,
             "Re: your request" if template == NULL else template.replace("_", " ").capitalize(), escaped(body), html, sha256(body), template, status,
             "1" if inbound and chance.random() < 0.1 else "0", f"<{message}@mail.example.com>", moment(at), rows.edits("communications", at),
             tail(at, at, 1 if inbound else 2))  # fmt: skip


def _write_message(rows: Rows, chance: random.Random, person: Person, company: Company, at: int) -> None:
    channel = chance.choices(("email", "sms", "chat", "voice", "push", "portal"), (30, 35, 8, 5, 12, 10))[0]
    if channel == "email":
        _write_mail(rows, chance, person, chance.choice(words.TEMPLATES[3:]), at)
        return
    message, inbound = uuid(chance), channel != "push" and chance.random() < 0.4
    body = chance.choice(words.MESSAGES)
    theirs, ours = (person.phone, "+18885550100") if channel in ("sms", "voice") else (NULL, NULL)
    silent = channel == "voice"
    deleted = at + HOUR if chance.random() < 0.003 and at + HOUR < END else None
    rows.add("communications", message, person.owner, NULL, NULL, chance.choice(company.staff) if silent or channel == "chat" else NULL, channel,
             "inbound" if inbound else "outbound", f"{channel}-{person.id[:12]}" if channel in ("sms", "chat", "portal") else NULL,
             theirs if inbound else ours, ours if inbound else theirs, NULL, NULL if silent else body, NULL, sha256("" if silent else body), NULL,
             "received" if inbound else chance.choice(("queued", "sent", "delivered", "delivered", "failed")) if channel != "push" else "sent", "0",
             f"SM{message[:30]}" if channel == "sms" else NULL, moment(at), rows.edits("communications", at),
             tail(at, deleted or at, 1, deleted))  # fmt: skip
