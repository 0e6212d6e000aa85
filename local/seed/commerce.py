"""Commerce: orders along their state machine, with lines, payments, refunds, parcels, scans, returns and reships."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator
from dataclasses import dataclass, field

from local.seed import vocabulary as words
from local.seed.care import Care, Treatment, number_of
from local.seed.company import Company, Product
from local.seed.people import Person
from local.seed.text import DAY, END, FALSE, HOUR, MINUTE, NULL, TRUE, Rows, day, moment, tail, uuid

_FILL = ["approved", "routing", "placed", "filling", "shipped", "delivered"]
_FULL = ["pending_payment", "pending_review", *_FILL]
#: ways an order goes, with their weights; every step is one of the state machine's
_NEW = (
    (560, _FULL), (200, [*_FULL, "completed"]), (70, ["draft", *_FULL]), (14, ["draft"]), (10, ["draft", "cancelled"]),
    (15, ["pending_payment", "cancelled"]), (10, ["pending_payment", "error", "cancelled"]), (8, ["pending_payment", "pending_review", "cancelled"]),
    (30, [*_FULL[:2], "on_hold", "pending_review", *_FILL]), (10, [*_FULL[:2], "on_hold", "cancelled"]),
    (10, [*_FULL[:4], "error", *_FILL[1:]]), (12, [*_FULL[:6], "on_hold", *_FILL[3:]]), (25, [*_FULL[:6], "partially_shipped", *_FILL[4:]]),
    (14, [*_FULL, "returned"]), (10, [*_FULL[:7], "returned"]), (5, [*_FULL, "completed", "returned"]), (6, [*_FULL[:5], "cancelled"]),
)  # fmt: skip
_REFILL = (
    (700, _FILL), (120, [*_FILL, "completed"]), (40, ["pending_payment", *_FILL]), (20, ["pending_payment"]), (20, ["approved", "cancelled"]),
    (12, [*_FILL[:2], "error", *_FILL[1:]]), (12, [*_FILL[:4], "on_hold", *_FILL[3:]]), (40, [*_FILL[:4], "partially_shipped", *_FILL[4:]]),
    (12, [*_FILL, "returned"]), (10, [*_FILL[:5], "returned"]),
)  # fmt: skip
_OTC = ((80, ["pending_payment", *_FILL]), (10, ["pending_payment", *_FILL, "completed"]), (6, ["draft"]), (6, ["draft", "cancelled"]))
_DECLINED = ((1, ["pending_payment", "pending_review", "declined"]),)

_ROUTES = {
    kind: ([route for _, route in ways], list(itertools.accumulate(weight for weight, _ in ways)))
    for kind, ways in {"new": _NEW, "refill": _REFILL, "reship": ((1, _FILL),), "otc": _OTC, "lab": _OTC, "declined": _DECLINED}.items()
}
#: shortest and longest time spent before a state is reached
_WAIT = {
    "draft": (0, 1), "pending_payment": (MINUTE, HOUR), "pending_review": (MINUTE, 10 * MINUTE), "approved": (HOUR, DAY), "routing": (MINUTE, HOUR),
    "placed": (MINUTE, 4 * HOUR), "filling": (HOUR, 20 * HOUR), "partially_shipped": (HOUR, DAY), "shipped": (2 * HOUR, 2 * DAY),
    "delivered": (DAY, 5 * DAY), "completed": (7 * DAY, 14 * DAY), "returned": (3 * DAY, 12 * DAY), "on_hold": (MINUTE, DAY),
    "cancelled": (HOUR, DAY), "declined": (HOUR, DAY), "error": (MINUTE, HOUR),
}  # fmt: skip
_ACTOR = {"approved": "provider", "declined": "provider", "placed": "pharmacy", "filling": "pharmacy", "shipped": "pharmacy", "delivered": "carrier",
          "returned": "carrier", "pending_payment": "patient", "on_hold": "staff"}  # fmt: skip
_SHIPPED = {"partially_shipped", "shipped", "delivered", "completed", "returned"}
_LINE_STATUS = {
    "placed": "sent",
    "filling": "filling",
    "cancelled": "cancelled",
    "declined": "rejected",
    "on_hold": "scheduled",
    "routing": "scheduled",
}


@dataclass(slots=True)
class Order:
    """An order as parcels, messages and tickets need it."""

    id: str
    number: str
    status: str
    steps: list[tuple[str, int]]
    pharmacy: str
    prescription: str
    total: int
    parcel: str = NULL

    def reached(self, status: str) -> int | None:
        """When it was first in that status."""
        return next((at for step, at in self.steps if step == status), None)


@dataclass(slots=True)
class Shop:
    """A patient's orders so far."""

    orders: list[Order] = field(default_factory=list)
    parcels: int = 0


@dataclass(slots=True)
class _Wish:
    """An order to be made."""

    kind: str
    at: int
    product: Product
    treatment: Treatment | None = None
    consultation: str = NULL
    parent: str = NULL
    fill: int = 0


def write_commerce(rows: Rows, chance: random.Random, person: Person, company: Company, care: Care) -> Shop:
    """All orders of a patient."""
    shop = Shop()
    for wish in itertools.islice(_wishes(chance, person, company, care), 34):
        order = _write_order(rows, chance, person, company, shop, wish)
        lost = order.status in ("shipped", "delivered", "completed") and chance.random() < 0.02
        at = order.steps[-1][1] + 3 * DAY
        if lost and at < END and len(shop.orders) < 34:
            _write_order(
                rows, chance, person, company, shop, _Wish("reship", at, wish.product, wish.treatment, parent=order.id, fill=wish.fill)
            )
    return shop


def _wishes(chance: random.Random, person: Person, company: Company, care: Care) -> Iterator[_Wish]:
    for treatment in care.treatments:
        first = max(person.since + HOUR, treatment.since - HOUR)
        yield _Wish("new", first, treatment.product, treatment, treatment.consultation)
        if treatment.subscription != NULL:
            at, fill = first + treatment.interval * DAY, 1
            while at < treatment.until:
                if chance.random() < 0.37:  # others pause or skip one
                    yield _Wish("refill", at, treatment.product, treatment, fill=fill)
                at, fill = at + treatment.interval * DAY, fill + 1
    for consultation, product, at in care.declined:
        yield _Wish("declined", at, product, consultation=consultation)
    for _ in range(chance.choices((0, 1, 3), (76, 21, 3))[0]):
        product = chance.choice(company.others)
        yield _Wish("lab" if product.kind == "lab_kit" else "otc", person.since + int((END - person.since) * chance.random()), product)


def _walk(chance: random.Random, kind: str, at: int) -> list[tuple[str, int]]:
    """The states an order went through and when: up to the end of history, some stuck on the way."""
    routes, weights = _ROUTES[kind]
    route = chance.choices(routes, cum_weights=weights)[0]
    if chance.random() < 0.04:
        route = route[: chance.randrange(1, len(route) + 1)]
    steps = [(route[0], at)]
    random_ = chance.random
    for state in route[1:]:
        shortest, longest = _WAIT[state]
        at += shortest + int((longest - shortest) * random_()) + 1
        if at > END:
            break
        steps.append((state, at))
    return steps


def _write_order(rows: Rows, chance: random.Random, person: Person, company: Company, shop: Shop, wish: _Wish) -> Order:
    steps = _walk(chance, wish.kind, wish.at)
    status, updated = steps[-1]
    order = Order(uuid(chance), number_of("O", person, len(shop.orders)), status, steps,
                  person.pharmacy, wish.treatment.prescription if wish.treatment else NULL, 0)  # fmt: skip
    shop.orders.append(order)
    if order.reached("routing") is None:
        order.pharmacy = NULL
    lines, subtotal = _lines(chance, company, wish)
    free = wish.kind == "reship"
    discount = subtotal if free else subtotal // 10 if chance.random() < 0.15 else 0
    shipping, tax = (0, 0) if free else (chance.choice((0, 0, 599, 1299)), (subtotal - discount) * 7 // 100 if chance.random() < 0.3 else 0)
    order.total = subtotal - discount + shipping + tax
    _write_order_row(rows, chance, person, wish, order, (subtotal, discount, shipping, tax), updated)
    _write_lines(rows, chance, wish, order, lines, updated)
    _write_history(rows, chance, company, order)
    payment = NULL if free else _write_payments(rows, chance, person, wish, order, status)
    returned = status == "returned"
    if payment != NULL and (returned or status == "declined" or chance.random() < 0.012):
        _write_refund(rows, chance, company, order, payment, updated)
    if any(step in _SHIPPED or step == "filling" for step, _ in steps):
        _write_parcels(rows, chance, person, shop, order)
    return order


def _write_order_row(
    rows: Rows, chance: random.Random, person: Person, wish: _Wish, order: Order, money: tuple[int, int, int, int], updated: int
) -> None:
    subtotal, discount, shipping, tax = money
    status = order.status
    approved, placed = order.reached("approved"), order.reached("pending_payment") or order.steps[0][1]
    consultation = wish.consultation if wish.kind in ("new", "declined") else NULL
    ship_to = person.ship_to if chance.random() < 0.97 or status in _SHIPPED else "\t".join([NULL] * 7)
    rows.add("orders", order.id, order.number, person.owner, consultation,
             wish.treatment.subscription if wish.treatment and wish.kind != "otc" else NULL, order.pharmacy, wish.parent,
             "new" if wish.kind == "declined" else wish.kind, chance.choice(("web", "web", "app", "phone", "api")), status,
             chance.choice(words.HOLD_REASONS) if status == "on_hold" else NULL, str(subtotal), str(discount), str(shipping), str(tax), str(order.total),
             "WELCOME10" if discount and wish.kind != "reship" else NULL, NULL if status == "draft" else moment(placed),
             NULL if approved is None else moment(approved), moment(updated) if status == "cancelled" else NULL, ship_to,
             chance.choice(words.CUSTOMER_NOTES).replace("\n", "\\n") if chance.random() < 0.06 else NULL,
             chance.choice(words.MESSAGES) if chance.random() < 0.04 else NULL,
             day(min(updated + 5 * DAY, END + 20 * DAY)) if status in ("error", "on_hold", "filling") and chance.random() < 0.6 else NULL,
             rows.edits("orders", updated), tail(order.steps[0][1], updated, len(order.steps)))  # fmt: skip


def _lines(chance: random.Random, company: Company, wish: _Wish) -> tuple[list[tuple[Product, int]], int]:
    """(product, quantity) of each line, and their sum in cents."""
    lines = [(wish.product, 1 if wish.treatment else chance.choice((1, 1, 2, 3)))]
    if chance.random() < 0.22:
        lines += [(chance.choice(company.others), 1) for _ in range(chance.choice((1, 1, 2)))]
    return lines, sum(product.cents * quantity for product, quantity in lines)


def _write_lines(rows: Rows, chance: random.Random, wish: _Wish, order: Order, lines: list[tuple[Product, int]], updated: int) -> None:
    status = "filled" if order.status in _SHIPPED else _LINE_STATUS.get(order.status, "new")
    for place, (product, quantity) in enumerate(lines, 1):
        rows.add("order_items", uuid(chance), order.id, str(place), product.id, order.prescription if place == 1 else NULL, product.name, str(quantity),
                 str(product.cents), str(product.cents // 10) if chance.random() < 0.1 else "0", "0", status, str(wish.fill if place == 1 else 0),
                 f"LOT{chance.randrange(99999):05d}" if status == "filled" else NULL, tail(order.steps[0][1], updated, 2))  # fmt: skip


def _write_history(rows: Rows, chance: random.Random, company: Company, order: Order) -> None:
    before = NULL
    for seq, (status, at) in enumerate(order.steps, 1):
        actor = _ACTOR.get(status, "system")
        reason = chance.choice(words.HOLD_REASONS) if status in ("on_hold", "error") else NULL
        rows.add("order_status_history", uuid(chance), order.id, str(seq), before, status, reason, actor,
                 chance.choice(company.staff) if actor == "staff" else NULL, moment(at), tail(at, at))  # fmt: skip
        before = status


def _write_payments(rows: Rows, chance: random.Random, person: Person, wish: _Wish, order: Order, status: str) -> str:
    """The order's charge, and sometimes attempts before it; the id of what was captured."""
    if status == "draft":
        return NULL
    begun = order.steps[0][1]
    plan = wish.treatment.subscription if wish.treatment else NULL
    for _ in range(chance.choices((0, 1, 2, 4), (81, 14, 4, 0.8))[0]):
        _write_payment(rows, chance, person, order, plan, "canceled", "card_declined", begun, 0)
    if status in ("pending_payment", "cancelled", "error") and chance.random() < 0.8:
        state = (
            "canceled"
            if status == "cancelled"
            else chance.choice(("requires_payment_method", "requires_confirmation", "requires_action", "processing"))
        )
        _write_payment(rows, chance, person, order, plan, state, NULL, begun, 0)
        return NULL
    if status == "pending_review" and chance.random() < 0.7:
        _write_payment(rows, chance, person, order, plan, "requires_capture", NULL, begun, 0)
        return NULL
    refunded = order.total if status in ("returned", "declined") else 0
    return _write_payment(rows, chance, person, order, plan, "succeeded", NULL, begun, refunded)


def _write_payment(  # noqa: PLR0913 - the columns that differ
    rows: Rows, chance: random.Random, person: Person, order: Order, plan: str, state: str, failure: str, at: int, refunded: int
) -> str:
    payment, paid = uuid(chance), state == "succeeded"
    processor = chance.choices(("stripe", "hsa_fsa", "insurance", "manual", "credit"), (86, 6, 4, 2, 2))[0]
    card = processor in ("stripe", "hsa_fsa")
    amount, captured = str(order.total), min(END, at + 2 * MINUTE)
    rows.add("payments", payment, person.owner, order.id, plan, processor, f"pi_{payment[:24]}" if card else NULL, amount, amount if paid else "0",
             str(refunded), state, chance.choice(("visa", "visa", "mastercard", "amex", "discover")) if card else NULL,
             f"{chance.randrange(10000):04d}" if card else NULL, failure, moment(captured + DAY) if paid and chance.random() < 0.003 else NULL,
             moment(captured) if paid else NULL, tail(at, captured, 3 if paid else 2))  # fmt: skip
    return payment


def _write_refund(rows: Rows, chance: random.Random, company: Company, order: Order, payment: str, at: int) -> None:
    """The whole sum of an order that came back or was declined; otherwise a request that was not granted (yet)."""
    if order.total == 0:
        return
    whole = order.status in ("returned", "declined")
    refund = uuid(chance)
    status = "succeeded" if whole else chance.choice(("pending", "requires_action", "failed", "canceled"))
    rows.add("refunds", refund, payment, order.id, chance.choices(("refund", "chargeback", "goodwill"), (85, 5, 10))[0],
             str(order.total if whole else max(1, order.total // 4)), chance.choice(words.REFUND_REASONS), status,
             f"re_{refund[:24]}" if status != "pending" else NULL, chance.choice(company.staff) if chance.random() < 0.5 else NULL,
             moment(min(END, at + HOUR)) if whole else NULL, tail(at, min(END, at + HOUR), 2))  # fmt: skip


def _write_parcels(rows: Rows, chance: random.Random, person: Person, shop: Shop, order: Order) -> None:
    """One parcel; two if it was shipped in parts; a cancelled label before it now and then; a return if it came back after delivery."""
    shipped, delivered, returned = order.reached("shipped"), order.reached("delivered"), order.reached("returned")
    partly = order.reached("partially_shipped")
    labelled = order.reached("filling")
    assert labelled is not None
    if chance.random() < 0.025:
        _write_parcel(rows, chance, person, shop, order, "cancelled", labelled + 1, None, None)
    if partly is not None:
        _write_parcel(rows, chance, person, shop, order, "delivered" if delivered else "handed_over", labelled + 2, partly, delivered)
    if shipped is None:
        _write_parcel(rows, chance, person, shop, order, chance.choice(("pending", "label_created")), labelled + 3, None, None)
        return
    if returned is not None and delivered is None:
        _write_parcel(rows, chance, person, shop, order, "returned", labelled + 3, shipped, returned)
        return
    out = _write_parcel(rows, chance, person, shop, order, "delivered" if delivered else "handed_over", labelled + 3, shipped, delivered)
    if returned is not None and delivered is not None:
        _write_parcel(rows, chance, person, shop, order, "delivered", delivered + DAY, delivered + 2 * DAY, returned, out)


def _write_parcel(  # noqa: PLR0913 - the columns that differ
    rows: Rows, chance: random.Random, person: Person, shop: Shop, order: Order, status: str, made: int, left: int | None,
    arrived: int | None, return_of: str = NULL,
) -> str:  # fmt: skip
    parcel = uuid(chance)
    shop.parcels += 1
    carrier, service, link = chance.choice(words.CARRIERS)
    tracking = f"{chance.randrange(10**12):012d}" if status != "pending" else NULL
    if left is None:
        seen = [] if status == "pending" else [("cancelled" if status == "cancelled" else "pre_transit", made)]
    else:
        seen = _scans(chance, status, made, left, arrived)
    latest = seen[-1][0] if seen else "unknown"
    made, updated = min(made, END), min(END, seen[-1][1] if seen else made)
    if return_of == NULL:
        order.parcel = parcel
    rows.add("shipments", parcel, number_of("SH", person, shop.parcels - 1), order.id, person.owner,
             order.pharmacy, return_of, carrier, service, tracking, NULL if tracking == NULL else link + tracking, status, latest,
             str(chance.randrange(350, 4000)) if left else NULL, str(chance.randrange(40, 3000)) if left else NULL,
             TRUE if chance.random() < 0.1 else FALSE, NULL if left is None else moment(left),
             day((left or made) + 4 * DAY) if status != "pending" else NULL, moment(arrived) if status == "delivered" and arrived else NULL,
             tail(made, max(made, updated), len(seen) + 1))  # fmt: skip
    _write_scans(rows, chance, person, parcel, seen)
    return parcel


def _scans(chance: random.Random, status: str, made: int, left: int, arrived: int | None) -> list[tuple[str, int]]:
    """What the carrier told, oldest first."""
    until = arrived or min(END, left + 3 * DAY)
    on_the_way = chance.choices((1, 2, 3, 4, 9), (35, 38, 19, 6, 2))[0]
    scans = [("pre_transit", min(made, left)), ("in_transit", left)]
    scans += [("in_transit", left + (until - left) * place // (on_the_way + 1)) for place in range(1, on_the_way + 1)]
    if arrived is None:
        return scans
    if status == "returned":
        return [*scans, ("failure", until - HOUR), ("return_to_sender", until)]
    if chance.random() < 0.06:
        scans.append(("available_for_pickup", until - 6 * HOUR))
    return [*scans, ("out_for_delivery", max(left, until - 5 * HOUR)), ("delivered", until)]


def _write_scans(rows: Rows, chance: random.Random, person: Person, parcel: str, scans: list[tuple[str, int]]) -> None:
    home = person.home
    for place, (status, at) in enumerate(scans):
        told = at + chance.randrange(1, 900) if chance.random() < 0.95 else at + chance.randrange(HOUR, 2 * DAY)  # late, out of order
        told = min(END, told)
        rows.add("shipment_events", uuid(chance), parcel, moment(at), moment(max(at, told)), status,
                 "exception" if status == "failure" else NULL, "Arrived at facility" if status == "in_transit" else NULL,
                 home.city if place > 1 else NULL, home.state if place > 1 else NULL, home.postal_code if status == "delivered" else NULL,
                 f"{parcel}:{place}", tail(max(at, told), max(at, told)))  # fmt: skip
