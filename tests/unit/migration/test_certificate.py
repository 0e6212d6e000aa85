"""When a certificate is issued, when not, and what its page tells."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from omsync.migration.certificate import page
from omsync.migration.control import Control
from omsync.migration.files import read_lines
from omsync.migration.model import ChunkRef, ChunkState
from omsync.migration.plan import read_refs
from omsync.platform.errors import OmsyncError, Retryable
from omsync.salesforce.client import Usage
from tests.unit.mapping.samples import sample
from tests.unit.migration.test_chunks import row_id
from tests.unit.migration.world import World


@dataclass
class Cursor:
    """The certified runs."""

    positions: dict[str, str] = field(default_factory=dict)

    def read(self, feed: str) -> str | None:
        return self.positions.get(feed)

    def move(self, feed: str, position: str, *, seen: str | None) -> bool:
        self.positions[feed] = position
        return True


@pytest.fixture
def world() -> World:
    world = World()
    world.oms.put("products", *(sample("products", id=row_id(n), sku=f"S{n}") for n in range(1, 8)))
    return world


@dataclass
class Tokens:
    """Task tokens given back; `gone`: who waited is not there any more."""

    given: list[str] = field(default_factory=list)
    gone: bool = False
    fault: OmsyncError | None = None

    def release(self, token: str) -> bool:
        if self.fault is not None:
            raise self.fault
        self.given.append(token)
        return not self.gone


def control(world: World, usage: Usage = Usage(0, 100), tokens: Tokens | None = None) -> Control:  # noqa: B008  (frozen)
    release = (tokens or Tokens()).release
    return Control(world.files, world.states, world.judge, Cursor(), world.live, lambda: usage, release, now=world.now)


def finished(world: World) -> list[ChunkRef]:
    refs = read_refs(world.files, world.plan.run("m", 1, rows=3))
    for ref in refs:
        assert world.whole(ref).outcome == "done"
    return refs


def change(world: World, ref: ChunkRef, **values: object) -> None:
    world.chunks.write(ref, ChunkState.model_validate({**world.chunks.read(ref).model_dump(), **values}))


def test_a_run_whose_every_row_is_verified_gets_its_certificate(world: World) -> None:
    finished(world)
    steering = control(world)
    made = steering.certify("m", 1)
    assert made.issued
    assert steering.certified("m") == 1
    assert sum(one.verified for one in made.tables) == 7
    assert steering.certify("m", 1) == made, "doing it again changes nothing"


def test_a_rehearsal_is_certified_by_itself_and_the_live_sync_does_not_hear_of_it(world: World) -> None:
    finished(world)
    steering = control(world)
    assert steering.certify("m", 1).issued
    assert (steering.certified("m"), steering.certified("second"), steering.certified("main")) == (1, 0, 0)
    assert steering.cursors.read("migration/certified_run") is None, "this is what the live sync reads"
    for ref in read_refs(world.files, world.plan.run("main", 1, rows=3)):
        assert world.whole(ref).outcome == "done"
    assert steering.certify("main", 1).issued
    assert steering.cursors.read("migration/certified_run") == "1"


@pytest.mark.parametrize("kind", ["missing", "mismatched", "unknown"])
def test_one_row_that_is_not_verified_is_enough_to_refuse(world: World, kind: str) -> None:
    ref = next(one for one in finished(world) if one.table == "products")
    state = world.chunks.read(ref)
    change(world, ref, verified=state.verified - 1, **{kind: 1})
    made = control(world).certify("m", 1)
    assert not made.issued
    assert made.refused_because == [f"1 rows {kind}"]


def test_a_chunk_that_was_not_verified_refuses(world: World) -> None:
    change(world, finished(world)[0], phase="loaded")
    assert "1 chunks not verified" in control(world).certify("m", 1).refused_because


def test_rows_that_do_not_add_up_refuse(world: World) -> None:
    ref = next(one for one in finished(world) if one.table == "products")
    change(world, ref, verified=world.chunks.read(ref).verified - 1)
    assert control(world).certify("m", 1).refused_because == ["products: rows do not add up"]


def test_quarantined_rows_need_a_named_sign_off(world: World) -> None:
    world.oms.put("products", sample("products", id=row_id(8), sku="S8", name="n" * 300))
    finished(world)
    steering = control(world)
    assert not steering.certify("m", 1).issued
    steering.approve("m", 1, "certificate", "Ada Lovelace")
    made = steering.certify("m", 1)
    assert made.issued
    assert made.signed_by == "Ada Lovelace"
    assert [(one.table, one.id) for one in made.quarantine] == [("products", row_id(8))]
    assert "Ada Lovelace" in page(made)


def spoiled(world: World, count: int) -> None:
    """So many products that cannot be carried."""
    world.oms.put("products", *(sample("products", id=row_id(n), sku=f"S{n}", name="n" * 300) for n in range(20, 20 + count)))


def test_a_signature_does_not_stand_for_rows_that_came_into_quarantine_later(world: World) -> None:
    spoiled(world, 1)
    ref = finished(world)[-1]
    tokens = Tokens()
    steering = control(world, tokens=tokens)
    steering.judged("m", 1)
    steering.approve("m", 1, "certificate", "Ada")
    assert steering.judged("m", 1).issued
    state = world.chunks.read(ref)
    change(world, ref, quarantined=state.quarantined + 500, rows=state.rows + 500)
    made = steering.certify("m", 1)
    assert not made.issued
    assert made.signed_by is None
    said = "501 rows in quarantine need a named sign-off: Ada signed for 1 (products 1), these are products 1, providers 500"
    assert made.refused_because == [said]
    assert steering.approved("m", 1, "certificate") is None
    steering.ask("m", 1, "certificate", "token")
    assert tokens.given == [], "it is asked for anew"
    assert steering.approve("m", 1, "certificate", "Grace")
    assert steering.certify("m", 1).signed_by == "Grace"


def test_a_signature_stands_for_the_tables_that_were_signed_for(world: World) -> None:
    spoiled(world, 2)
    refs = finished(world)
    steering = control(world)
    steering.judged("m", 1)
    steering.approve("m", 1, "certificate", "Ada")
    gone, come = next(one for one in refs if world.chunks.read(one).quarantined), next(one for one in refs if one.table == "providers")
    change(world, gone, quarantined=0, verified=world.chunks.read(gone).rows)
    assert steering.judged("m", 1).issued, "fewer than were signed for"
    change(world, come, quarantined=1, rows=world.chunks.read(come).rows + 1)
    assert not steering.judged("m", 1).issued, "as many, but others"


@pytest.mark.parametrize(("up_to", "issued"), [(None, False), (1, False), (2, True)])
def test_a_signature_in_advance_has_a_limit(world: World, up_to: int | None, issued: bool) -> None:
    spoiled(world, 2)
    steering = control(world)
    steering.approve("m", 1, "certificate", "Ada", up_to=up_to)
    finished(world)
    made = steering.certify("m", 1)
    assert made.issued is issued
    if not issued:
        said = f"2 rows in quarantine need a named sign-off: Ada signed for up to {up_to or 0}, these are products 2"
        assert made.refused_because == [said]


def test_a_signature_in_advance_is_enough_where_nothing_is_in_quarantine(world: World) -> None:
    steering = control(world)
    steering.approve("m", 1, "certificate", "Ada")
    finished(world)
    assert steering.certify("m", 1).signed_by == "Ada"


def test_lists_that_are_cut_say_of_how_many_and_all_are_kept(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("omsync.migration.judge.NAMED", 2)
    spoiled(world, 5)
    finished(world)
    steering = control(world)
    made = steering.judged("m", 1)
    assert (len(made.quarantine), made.quarantined_rows) == (2, 5)
    assert "2 of 5" in page(made)
    assert "2 of 5" not in page(made.model_copy(update={"quarantine": made.quarantine * 2 + made.quarantine[:1]})), (
        "whole lists need no word"
    )
    assert made.model_dump(mode="json")["quarantined_rows"] == 5
    folder = "migrations/m/run-1"
    assert len(list(read_lines(world.files, f"{folder}/verification-quarantine.jsonl.gz"))) == 5
    steering.approve("m", 1, "certificate", "Ada")
    assert steering.certify("m", 1).certified
    assert len(list(read_lines(world.files, f"{folder}/certificate-quarantine.jsonl.gz"))) == 5


def test_a_run_that_goes_on_looks_again_at_what_stood_in_the_way(world: World) -> None:
    ref = next(one for one in finished(world) if one.table == "products")
    state = world.chunks.read(ref)
    change(world, ref, verified=state.verified - 1, missing=1)
    steering = control(world)
    steering.reopen("m", 1, everything=False)
    phases = {one.name: world.chunks.read(one).phase for one in read_refs(world.files, world.plan.run("m", 1))}
    assert [name for name, phase in phases.items() if phase == "linked"] == [ref.name]
    world.until_done(world.verify.run, ref)
    assert steering.certify("m", 1).issued


def test_what_verification_finds_later_does_not_touch_the_certificate(world: World) -> None:
    ref = next(one for one in finished(world) if one.table == "products")
    steering = control(world)
    issued = steering.certify("m", 1)
    assert issued.certified
    steering.reopen("m", 1, everything=True)
    assert "chunks not verified" in steering.judged("m", 1).refused_because[0]
    assert steering.certify("m", 1) == issued
    state = world.chunks.read(ref)
    assert (state.phase, state.verified, state.rows) == ("linked", 0, 2)


def test_nothing_is_verified_of_a_run_that_was_only_planned(world: World) -> None:
    assert control(world).reopen("m", 1, everything=True).outcome == "failed"
    world.plan.run("m", 1, dry=True)
    assert control(world).reopen("m", 1, everything=True).outcome == "failed"


def test_the_page_needs_nothing_from_elsewhere(world: World) -> None:
    finished(world)
    shown = page(control(world).judged("m", 1))
    assert not any(word in shown for word in ("http:", "https:", "src=", "<script", "<link", "url("))
    assert "every value of every row" in shown


def test_work_holds_still_while_paused_or_short_of_budget(world: World) -> None:
    steering = control(world)
    assert steering.held_up("m") is None
    steering.pause("m", paused=True, by="Ada")
    assert steering.held_up("m") == "paused by Ada"
    steering.pause("m", paused=False, by="Ada")
    assert "API budget" in str(control(world, Usage(90, 100)).held_up("m"))


def test_an_approval_gives_the_token_that_waits_back_once(world: World) -> None:
    tokens = Tokens()
    steering = control(world, tokens=tokens)
    steering.ask("m", 1, "start", "secret-token")
    assert tokens.given == []
    assert steering.approve("m", 1, "start", "Ada")
    assert not steering.approve("m", 1, "start", "Ada"), "nothing waits any more"
    assert tokens.given == ["secret-token"]
    assert steering.approved("m", 1, "start") == "Ada"


def test_an_approval_for_somebody_who_is_gone_is_written_down(world: World) -> None:
    steering = control(world, tokens=Tokens(gone=True))
    steering.ask("m", 1, "start", "of a stopped execution")
    assert not steering.approve("m", 1, "start", "Ada")
    assert steering.approved("m", 1, "start") == "Ada"
    assert steering.steering("m").waits_for == {}


def test_who_asks_for_what_is_approved_already_goes_on_at_once(world: World) -> None:
    """The approval fell between `IsApproved` and `ask`."""
    tokens = Tokens()
    steering = control(world, tokens=tokens)
    steering.approve("m", 1, "start", "Ada")
    steering.ask("m", 1, "start", "late")
    assert tokens.given == ["late"]
    assert steering.steering("m").waits_for == {}


def test_a_token_that_could_not_be_given_back_still_waits(world: World) -> None:
    tokens = Tokens(fault=Retryable("AWS asks to try again", code="aws.busy"))
    steering = control(world, tokens=tokens)
    steering.ask("m", 1, "start", "secret-token")
    with pytest.raises(Retryable):
        steering.approve("m", 1, "start", "Ada")
    assert steering.steering("m").waits_for == {"1/start": "secret-token"}
    tokens.fault = None
    assert steering.approve("m", 1, "start", "Ada")


def test_who_steers_at_the_same_time_undoes_nothing(world: World) -> None:
    """Between the reading of one and its writing, others ask, approve and pause."""
    tokens = Tokens()
    steering, other = control(world, tokens=tokens), control(world, tokens=tokens)
    steering.ask("m", 1, "start", "first")
    read, others = world.states.read, [
        lambda: other.ask("m", 2, "start", "second"),
        lambda: other.pause("m", paused=True, by="Grace"),
        lambda: other.approve("m", 3, "start", "Grace"),
    ]  # fmt: skip

    def overtaken(key: str) -> str | None:
        found = read(key)
        if others:
            others.pop()()
        return found

    world.states.read = overtaken  # type: ignore[method-assign]
    assert steering.approve("m", 1, "start", "Ada")
    found = steering.steering("m")
    assert (found.paused, found.waits_for, set(found.approved)) == (True, {"2/start": "second"}, {"1/start", "3/start"})
    assert tokens.given == ["first"]


def test_who_is_always_overtaken_says_so(world: World) -> None:
    world.states.replace = lambda *_, **__: False  # type: ignore[method-assign]
    with pytest.raises(Retryable):
        control(world).pause("m", paused=True, by="Ada")
