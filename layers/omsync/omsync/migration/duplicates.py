"""Who is in the OMS twice: typing errors, swapped names, a day and month the wrong way round, a moved house.

People who could be the same stand near each other in at least one of several orders (`ORDERS`, built by the database): a blocking key, and
a name to sort by within it. Each person is compared with the few before that share the key, so memory does not grow with the table and a
key that thousands share (a clinic's e-mail, the first of January) costs no more than any other.

Two people are weighed field by field (`WEIGHTS`): the base-2 logarithm of how much more often the field agrees, or differs, between two
records of one person than between two people (Fellegi and Sunter). What a household shares (family name, address, e-mail, phone) counts up
to `HOUSEHOLD` together. Where first names or birth dates contradict each other the pair is only `possible`: twins, a father and his
namesake, or a nickname; a person has to look.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

from rapidfuzz.distance import OSA, JaroWinkler
from rapidfuzz.fuzz import token_sort_ratio

#: people before one, of the same key, that it is compared with
WINDOW = 25
#: from here on two records look like one person's; a name alone, or a first name and a birth date, say less than that
ALIKE = 11.0
#: (agrees, nearly agrees, differs); a field that is missing on either side counts 0
WEIGHTS = {
    "given": (5.0, 3.0, -6.0),
    "family": (5.5, 3.5, -6.0),
    "birth": (9.0, 4.0, -5.0),
    "street": (6.0, 3.0, -1.5),
    "postal": (4.0, 1.5, -0.5),
    "city": (2.5, 1.5, -0.5),
    "email": (7.0, 3.0, -0.5),
    "phone": (6.0, 0.0, -0.5),
}
#: most that what a household shares can say
HOUSEHOLD = 18.0
#: names: so alike are the same name written twice, and so alike could be
SAME_NAME, LIKE_NAME = 0.92, 0.82
#: names the wrong way round say this much of what they would say the right way round
SWAPPED = 0.75

type Grade = Literal["duplicate", "possible"]


@dataclass(frozen=True, slots=True)
class Person:
    """What is compared; lower case, None or empty if unknown. `birth` is YYYY-MM-DD. `key` is the order's."""

    id: str
    key: str
    given: str
    family: str
    birth: str
    street: str = ""
    postal: str = ""
    city: str = ""
    email: str = ""
    phone: str = ""


@dataclass(frozen=True, slots=True)
class Pair:
    """Two rows; `one` is the smaller id."""

    one: str
    other: str
    grade: Grade
    weight: float


def weigh(one: Person, other: Person) -> tuple[float, Grade]:
    """(evidence that both are one person, what it is if that is `ALIKE` or more)."""
    straight = _name("given", one.given, other.given), _name("family", one.family, other.family)
    crossed = _name("given", one.given, other.family) * SWAPPED, _name("family", one.family, other.given) * SWAPPED
    given, family = crossed if min(crossed) > 0 and sum(crossed) > sum(straight) else straight
    birth = _birth(one.birth, other.birth)
    if given < 0 and birth < 0:
        return given + birth, "possible"  # at best they live together
    household = family + _text("street", one.street, other.street) + _near("postal", one.postal, other.postal)
    household += _text("city", one.city, other.city) + _near("email", one.email, other.email) + _near("phone", one.phone, other.phone)
    return given + birth + min(household, HOUSEHOLD), "possible" if given < 0 or birth < 0 else "duplicate"


def _name(field: str, one: str, other: str) -> float:
    if not one or not other:
        return 0.0
    same, like, differs = WEIGHTS[field]
    if one == other:
        return same
    found = JaroWinkler.similarity(one, other, score_cutoff=LIKE_NAME)
    return same - 0.5 if found >= SAME_NAME else like if found else differs


def _birth(one: str, other: str) -> float:
    """Equal; nearly (two of year, month and day, or exchanged, or one slip of the keyboard); else another day."""
    if not one or not other:
        return 0.0
    same, like, differs = WEIGHTS["birth"]
    if one == other:
        return same
    parts, others = one.split("-"), other.split("-")
    alike = sum(mine == theirs for mine, theirs in zip(parts, others, strict=False))
    if alike >= 2 or sorted(parts) == sorted(others) or OSA.distance(one, other, score_cutoff=1) <= 1:
        return like
    return differs


def _near(field: str, one: str, other: str) -> float:
    if not one or not other:
        return 0.0
    same, like, differs = WEIGHTS[field]
    return same if one == other else like if OSA.distance(one, other, score_cutoff=1) <= 1 else differs


def _text(field: str, one: str, other: str) -> float:
    if not one or not other:
        return 0.0
    same, like, differs = WEIGHTS[field]
    if one == other:
        return same
    found = token_sort_ratio(one, other, score_cutoff=70)
    return same - 0.5 if found >= 88 else like if found else differs


def pairs(people: Iterable[Person], window: int = WINDOW) -> Iterator[Pair]:
    """Those who look like one person, from people sorted by key: at most `window` of them are held."""
    before: deque[Person] = deque(maxlen=window)
    for person in people:
        if before and before[-1].key != person.key:
            before.clear()
        for other in before:
            weight, grade = weigh(other, person)
            if weight >= ALIKE:
                yield Pair(min(other.id, person.id), max(other.id, person.id), grade, round(weight, 1))
        before.append(person)
