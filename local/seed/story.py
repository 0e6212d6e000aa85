"""The rows of N patients, chunk by chunk: blocks of eight people, each block from a random number generator of its own."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection

from local.seed import people
from local.seed.care import write_care
from local.seed.columns import FIXED, TABLES
from local.seed.commerce import write_commerce
from local.seed.company import Company, found
from local.seed.contact import write_contact
from local.seed.text import Rows

BLOCK = 8
_PER_CHUNK = 50  # blocks; about 33,000 rows, 15 MB


@dataclass(frozen=True, slots=True)
class Plan:
    """What to make. Patients are numbered from `first` on; `edit_times` as in `Rows`."""

    patients: int
    seed: int
    first: int
    company: bool
    edit_times: dict[str, str]


type Chunk = list[tuple[str, int, bytes]]
"""(table, rows, COPY text), parents before children"""


def chunks(plan: Plan) -> Iterator[Chunk]:
    """All rows. The same plan makes the same bytes; fewer patients are the first of more."""
    rows = Rows(TABLES, plan.edit_times)
    company = found(rows)
    if plan.company:
        yield _packed(rows)
    else:
        for table in FIXED:
            rows.lines[table].clear()
    blocks = -(-plan.patients // BLOCK)
    for block in range(blocks):
        _write_block(rows, plan, company, block)
        if block % _PER_CHUNK == _PER_CHUNK - 1 or block == blocks - 1:
            yield _packed(rows)


def send(plan: Plan, pipe: Connection) -> None:
    """`chunks` from a process of its own: generating keeps one core busy while PostgreSQL keeps the other."""
    try:
        for chunk in chunks(plan):
            pipe.send_bytes(len(chunk).to_bytes(2))
            for table, count, text in chunk:
                pipe.send((table, count))
                pipe.send_bytes(text)
        pipe.send_bytes(b"")
    except (BrokenPipeError, KeyboardInterrupt):
        return  # the reader went away and has said why


def receive(pipe: Connection) -> Iterator[Chunk]:
    """The other end of `send`."""
    while head := pipe.recv_bytes():
        yield [(*pipe.recv(), pipe.recv_bytes()) for _ in range(int.from_bytes(head))]


def _write_block(rows: Rows, plan: Plan, company: Company, block: int) -> None:
    chance = random.Random(f"{plan.seed}/{block}")
    start = block * BLOCK
    for number, person in enumerate(_block_of_people(chance, company, plan.first + start), start):
        if number >= plan.patients:
            return
        story = random.Random(chance.getrandbits(64))
        people.write_person(rows, story, person, company)
        if person.has_story:
            care = write_care(rows, story, person, company)
            shop = write_commerce(rows, story, person, company, care)
            write_contact(rows, story, person, company, shop)


def _block_of_people(chance: random.Random, company: Company, first: int) -> Iterator[people.Person]:
    """Eight patients in households of one to four. A merged one follows its survivor."""
    left = BLOCK
    while left:
        home, size = people.a_home(chance), min(left, chance.choices((1, 2, 3, 4), (55, 25, 12, 8))[0])
        shares = size > 1 and chance.random() < 0.5
        for _ in range(size):
            person = people.a_person(chance, company, first + BLOCK - left, home, shares)
            left -= 1
            yield person
            if left and person.status == "active" and chance.random() < 0.03:
                yield people.a_duplicate(chance, person, first + BLOCK - left)
                left -= 1
            if not left:
                return


def _packed(rows: Rows) -> Chunk:
    chunk = [(table, len(lines), ("\n".join(lines) + "\n").encode()) for table, lines in rows.lines.items() if lines]
    for lines in rows.lines.values():
        lines.clear()
    return chunk
