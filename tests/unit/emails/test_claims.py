"""Sent at most once, and never silently not at all: under crashes, time-outs, redeliveries and late events of SES, in any order."""

from __future__ import annotations

from datetime import timedelta

from hypothesis import given, settings
from hypothesis import strategies as st

from omsync.emails.claims import GRACE_SECONDS, LEASE_SECONDS
from omsync.emails.feedback import Feedback, SesEvent
from omsync.emails.occurrences import communication_id
from tests.unit.emails.world import FLOWS, EmailWorld, FakeClaims, FakeOms, stamp


class Crash(BaseException):
    """The process is gone: nothing after this line happens."""


class Dying:
    """Any port, whose nth call kills the process, before or after it took effect."""

    def __init__(self, port: object, plan: list[str]) -> None:
        self._port, self._plan = port, plan

    def __getattr__(self, name: str) -> object:
        member = getattr(self._port, name)
        if not callable(member):
            return member

        def call(*arguments: object, **named: object) -> object:
            step = self._plan.pop(0) if self._plan else "well"
            if step == "before":
                raise Crash
            answer = member(*arguments, **named)
            if step == "after":
                raise Crash
            return answer

        return call


def event_of(world: EmailWorld, kind: str, number: int = 0, **more: object) -> SesEvent:
    envelope = world.mailer.sent[number]
    mail = {"messageId": f"ses-{number + 1}", "timestamp": stamp(world.clock.now()), "destination": [envelope.address],
            "tags": {"claim": [envelope.tag]}}  # fmt: skip
    return SesEvent.model_validate({"id": "e", "detail": {"eventType": kind, "mail": mail, **more}})


def feedback(world: EmailWorld) -> Feedback:
    return Feedback(FLOWS, world.oms, world.claims, world.suppressions, world.reputation, world.cases, lambda: stamp(world.clock.now()))


def placed(world: EmailWorld) -> str:
    """An order placed; its confirmation waits in the queue. Returns the claim."""
    order = world.order(world.patient())
    world.lifecycle([event for event in world.oms.events if event.table == "orders"])
    world.oms.events = []
    return f"order-confirmation:{order['id']}:2"


steps = st.lists(st.sampled_from(["well", "well", "well", "before", "after"]), max_size=14)
moods = st.lists(st.sampled_from(["well", "well", "silent_before", "silent_after", "throttled"]), min_size=1, max_size=6)


@settings(max_examples=150, deadline=None)
@given(plan=steps, moods=moods, tells=st.booleans(), waits=st.lists(st.integers(0, LEASE_SECONDS * 3), min_size=1, max_size=6))
def test_at_most_once_and_never_silently(plan: list[str], moods: list[str], tells: bool, waits: list[int]) -> None:
    """Whatever dies wherever: one email or none, and in the end it is known which, in the OMS's communications or by a Case."""
    world = EmailWorld()
    claim = placed(world)
    object.__setattr__(world.sender.world, "claims", Dying(world.claims, plan))
    object.__setattr__(world.sender.world, "mailer", Dying(world.mailer, plan))
    object.__setattr__(world.sender.world, "oms", Dying(world.oms, plan))
    moods_left = list(moods)
    for attempt in range(60):
        if not world.queue:
            break
        world.mailer.mood = moods_left.pop(0) if moods_left else "well"  # type: ignore[assignment]
        jobs = list(world.queue)
        try:
            results = world.sender(jobs)
        except Crash:
            results = None
        except Exception:  # noqa: BLE001 (a whole batch that could not be read comes again)
            results = None
        if results is not None:
            world.queue = [job for job, result in zip(jobs, results, strict=True) if result.fault is not None]
        assert len(world.mailer.sent) <= 1, "sent twice"
        if tells and world.mailer.sent:
            feedback(world)([event_of(world, "Send")])
        world.clock.pass_(timedelta(seconds=waits[attempt % len(waits)] + 1))
        if attempt > 40:
            world.clock.pass_(timedelta(seconds=GRACE_SECONDS))
    assert not world.queue
    held = world.claims.items[claim]
    if held.state == "sent":
        assert len(world.mailer.sent) == 1
        assert communication_id(claim) in world.oms.tables["communications"]
    else:
        assert held.state == "unknown"
        assert [kind for kind, _, _ in world.cases.opened] == ["email_unknown"]
    if tells and world.mailer.sent:
        assert held.state == "sent", "SES said so"


def test_a_refused_email_is_tried_again_and_its_cap_is_free() -> None:
    world = EmailWorld()
    world.oms.add("intake_responses", patient_id=world.patient()["id"], consultation_id=None, submitted_at=None)
    world.push()
    world.mailer.mood = "throttled"
    world.after(days=1)
    assert (world.claims.items.keys() - {"welcome"}, world.claims.caps) == (set(), {})
    world.mailer.mood = "well"
    world.work()
    assert len(world.sent("finish-intake")) == 1


def test_a_time_out_never_releases() -> None:
    world = EmailWorld()
    claim = placed(world)
    world.mailer.mood = "silent_after"
    world.work()
    assert world.claims.items[claim].state == "claimed"
    world.mailer.mood = "well"
    for _ in range(5):
        world.clock.pass_(timedelta(seconds=LEASE_SECONDS))
        world.work()
    assert len(world.mailer.sent) == 1
    world.clock.pass_(timedelta(seconds=GRACE_SECONDS))
    world.work()
    assert world.queue == []
    assert world.claims.items[claim].state == "unknown"
    assert len(world.cases.opened) == 1


def test_ses_own_event_settles_a_time_out() -> None:
    world = EmailWorld()
    claim = placed(world)
    world.mailer.mood = "silent_after"
    world.work()
    feedback(world)([event_of(world, "Send")])
    world.work()
    assert world.claims.items[claim].logged
    assert world.cases.opened == []
    assert len(world.mailer.sent) == 1


def test_an_event_settles_even_what_was_given_up() -> None:
    claims = FakeClaims(EmailWorld().clock)
    claims.take("a:b:1", "me", 0, cap=None)
    claims.give_up("a:b:1", "me")
    assert claims.confirm("a:b:1", message_id="m", at="t")
    assert not claims.confirm("a:b:1", message_id="m", at="t")


def test_the_oms_away_after_sending_loses_no_log() -> None:
    world = EmailWorld()
    claim = placed(world)
    create, world.oms.create = world.oms.create, lambda *a, **k: world.oms._call("x") or create(*a, **k)  # type: ignore[assignment]
    down = FakeOms._call

    def away(self: FakeOms, what: str) -> None:
        self.down = what == "x"
        down(self, what)

    FakeOms._call = away  # type: ignore[method-assign]
    try:
        world.work()
    finally:
        FakeOms._call = down  # type: ignore[method-assign]
        world.oms.down = False
    assert world.claims.items[claim].state == "sent"
    assert communication_id(claim) not in world.oms.tables.get("communications", {})
    world.oms.create = create  # type: ignore[method-assign]
    world.work()
    assert communication_id(claim) in world.oms.tables["communications"]
    assert len(world.mailer.sent) == 1
