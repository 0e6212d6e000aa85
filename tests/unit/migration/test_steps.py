"""What a handler answers whatever happens, by which the state machine decides: wait, with jitter; hold still; fail for good."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest

from omsync.migration.control import Control
from omsync.migration.model import ChunkRef
from omsync.migration.steps import AGAIN, control_step, load_step, source_step, verify_step
from omsync.platform.errors import Permanent, Retryable
from omsync.salesforce.client import Usage
from tests.unit.mapping.samples import sample
from tests.unit.migration.test_certificate import Cursor, Tokens
from tests.unit.migration.test_chunks import row_id
from tests.unit.migration.world import World

REF = ChunkRef(migration="m", run=1, table="products", number=0)


@dataclass
class Steps:
    """`steps.OrgSteps` over a world."""

    world: World
    backlog: int = 0
    usage: Usage = Usage(0, 100)  # noqa: RUF009  (frozen)
    tokens: Tokens = field(default_factory=Tokens)

    def __post_init__(self) -> None:
        world = self.world
        self.files, self.chunks, self.load, self.link, self.verify = world.files, world.chunks, world.load, world.link, world.verify
        live = Backlog(lambda: self.backlog)
        self.control = Control(
            world.files, world.states, world.judge, Cursor(), live, lambda: self.usage, self.tokens.release, now=world.now
        )  # type: ignore[arg-type]
        self.load.held_up = self.link.held_up = self.control.held_up
        self.prepare: Any = None


@dataclass
class Backlog:
    """`ports.Live` that is only asked how much waits."""

    backlog: Callable[[], int]


@pytest.fixture
def steps() -> Steps:
    world = World()
    world.oms.put("products", sample("products", id=row_id(1)))
    world.plan.run("m", 1)
    world.extract.run(REF)
    return Steps(world)


def failing(steps: Steps, fault: Exception) -> None:
    def look(*_: object, **__: object) -> None:
        raise fault

    steps.world.org.present = look  # type: ignore[method-assign,assignment]


def told(steps: Steps, step: str = "load") -> dict[str, Any]:
    return load_step(steps, {"step": step, "ref": REF.model_dump()})


def test_a_passing_fault_waits_with_jitter(steps: Steps) -> None:
    failing(steps, Retryable("Salesforce is away", code="salesforce.unavailable"))
    answers = [told(steps) for _ in range(30)]
    assert {one["outcome"] for one in answers} == {"wait"}
    seconds = {one["wait_seconds"] for one in answers}
    assert AGAIN[0] <= min(seconds) < max(seconds) <= AGAIN[1]
    assert len(seconds) > 5, "chunks that failed together do not come back together"


def test_a_fault_that_says_when_is_believed(steps: Steps) -> None:
    failing(steps, Retryable("busy", code="busy", after=120))
    assert 120 <= told(steps)["wait_seconds"] <= 125


def test_a_lasting_fault_ends_the_chunk_and_only_it(steps: Steps) -> None:
    failing(steps, Permanent("no such object", code="INVALID_TYPE"))
    answer = told(steps)
    assert (answer["outcome"], answer["reason"]) == ("failed", "INVALID_TYPE: no such object")
    shown = control_step(steps, {"step": "status", "migration": "m", "run": 1})["tables"]
    assert next(one for one in shown if one["table"] == "products")["failures"] == ["INVALID_TYPE: no such object"]


def test_a_crash_leaves_its_kind_and_nothing_that_it_says(steps: Steps) -> None:
    """It is still a crash: Step Functions calls again."""
    failing(steps, KeyError("Ada Lovelace"))
    with pytest.raises(KeyError):
        told(steps)
    shown = products(steps)
    assert shown["failures"] == ["crashed: KeyError, see the log of the step load"]
    assert shown["unexplained"] == 0


def test_a_chunk_that_its_process_took_along_is_counted_among_the_unexplained(steps: Steps) -> None:
    assert products(steps)["unexplained"] == 1, "neither verified nor a word why"


def products(steps: Steps) -> dict[str, Any]:
    shown = control_step(steps, {"step": "status", "migration": "m", "run": 1})["tables"]
    return next(one for one in shown if one["table"] == "products")


@pytest.mark.parametrize(
    ("usage", "backlog", "paused", "reason"),
    [
        (Usage(0, 100), 0, True, "paused by Ada"),
        (Usage(81, 100), 0, False, "the API budget is down to 19 of 100"),
        (Usage(0, 100), 20_001, False, "20,001 messages wait for the live writers"),
    ],
    ids=["an operator", "API budget", "sync lag"],
)
def test_work_that_holds_still_begins_no_job_and_goes_on_by_itself(
    steps: Steps, usage: Usage, backlog: int, paused: bool, reason: str
) -> None:
    steps.usage, steps.backlog = usage, backlog
    steps.control.pause("m", paused=paused, by="Ada")
    answer = told(steps)
    assert answer["outcome"] == "paused"
    assert answer["reason"].startswith(reason)
    assert answer["wait_seconds"] > 0
    assert steps.world.org.jobs == {}
    assert control_step(steps, {"step": "status", "migration": "m", "run": 1})["held_up"].startswith(reason)
    steps.usage, steps.backlog = Usage(0, 100), 0
    steps.control.pause("m", paused=False, by="Ada")
    assert told(steps)["outcome"] == "wait"
    assert len(steps.world.org.jobs) == 1


def test_a_job_under_way_is_finished_while_work_holds_still(steps: Steps) -> None:
    assert told(steps)["outcome"] == "wait"
    steps.control.pause("m", paused=True, by="Ada")
    assert told(steps)["outcome"] == "paused", "the next object's job is not begun"
    first, second = steps.chunks.read(REF).parts
    assert (first.done, first.succeeded, second.job) == (True, 1, None)


def test_the_live_writers_are_waited_for_until_nearly_nothing_is_left(steps: Steps) -> None:
    steps.backlog = 201
    assert control_step(steps, {"step": "quiet", "migration": "m", "run": 1})["outcome"] == "wait"
    steps.backlog = 200
    assert control_step(steps, {"step": "quiet", "migration": "m", "run": 1})["outcome"] == "done"


def test_the_longer_they_are_waited_for_the_rarer_are_the_looks(steps: Steps) -> None:
    """A look is about nine events of the run's own history, which holds 25,000: an outage of days must fit."""
    steps.backlog, waits = 500, [0]
    while sum(waits) < 5 * 86_400:
        waits.append(control_step(steps, {"step": "quiet", "migration": "m", "run": 4, "waited": waits[-1]})["wait_seconds"])
    assert len(waits) * 9 < 20_000
    assert waits[1] == 5, "mostly it is a matter of seconds"
    assert max(waits) == 300
    assert all(wait <= 5 + sum(waits[:place]) / 5 for place, wait in enumerate(waits)), "nobody waits much longer than they have"


def test_what_failed_is_judged_at_the_runs_end(steps: Steps) -> None:
    """A chunk's failure is tolerated while its neighbours work; then the certificate says what is wanting."""
    answer = control_step(steps, {"step": "judge", "migration": "m", "run": 1})
    assert answer["outcome"] == "failed"
    assert "chunks not verified" in answer["reason"]


def test_who_could_not_ask_crashes_so_that_it_is_called_again(steps: Steps) -> None:
    """A state that waits for a token reads no answer: with one, the run would wait for an approval that nobody is asked for."""

    def busy(*_: object, **__: object) -> bool:
        raise Retryable("AWS asks to try again", code="aws.busy")

    replace, steps.world.states.replace = steps.world.states.replace, busy  # type: ignore[method-assign]
    event = {"step": "ask", "migration": "m", "run": 1, "gate": "start", "token": "t"}
    with pytest.raises(Retryable):
        control_step(steps, event)
    steps.world.states.replace = replace  # type: ignore[method-assign]
    assert control_step(steps, event)["outcome"] == "done"
    assert control_step(steps, {"step": "status", "migration": "m", "run": 1})["waits_for"] == ["1/start"]


def test_a_run_that_waits_is_counted_for_the_alarm_and_one_that_goes_on_is_not(steps: Steps, monkeypatch: pytest.MonkeyPatch) -> None:
    counted: list[str] = []
    monkeypatch.setattr("omsync.migration.steps.metrics.add_metric", lambda name, **_: counted.append(name))
    event = {"migration": "m", "run": 1, "gate": "start", "token": "t"}
    control_step(steps, {"step": "ask", **event})
    assert counted == ["ApprovalsAsked"]
    control_step(steps, {"step": "approve", "by": "Ada", **event})
    control_step(steps, {"step": "ask", **event})
    assert counted == ["ApprovalsAsked"]


def test_an_approval_tells_whether_somebody_waited_and_no_token(steps: Steps) -> None:
    told = {"migration": "m", "run": 1, "gate": "start"}
    control_step(steps, {"step": "ask", "token": "secret-token", **told})
    answer = control_step(steps, {"step": "approve", "by": "Ada", **told})
    assert answer["waited"] is True
    assert "secret-token" not in str(answer)
    assert control_step(steps, {"step": "approve", "by": "Ada", **told})["waited"] is False


def test_the_dry_run_of_the_last_run_leaves_the_delta_out(steps: Steps) -> None:
    for run in (2, 3):
        steps.world.plan.run("m", run)
    source: Any = SimpleNamespace(plan=steps.world.plan, bucket="staging", chunks=steps.chunks)
    answer = source_step(source, {"step": "plan", "migration": "m", "run": 4})
    assert [one["wave"] for one in answer["waves"]] == ["4a", "4b", "4c", "delta"]
    assert [one["wave"] for one in answer["own_waves"]] == ["4a", "4b", "4c"]


def test_a_run_that_has_begun_says_so(steps: Steps) -> None:
    """What it has loaded already needs no storage any more: a dry run would count it again."""
    assert control_step(steps, {"step": "reopen", "migration": "m", "run": 1})["begun"] is True
    steps.world.plan.run("m", 2)
    assert control_step(steps, {"step": "reopen", "migration": "m", "run": 2}) | {"reason": ""} == {
        "outcome": "done", "wait_seconds": 0, "reason": "", "begun": False
    }  # fmt: skip


@pytest.mark.parametrize("step", [load_step, verify_step, control_step])
def test_a_step_that_nobody_has_is_named(steps: Steps, step: Callable[..., dict[str, Any]]) -> None:
    if step is verify_step:
        assert step(steps, {"step": "verify"})["reason"].endswith("step verify needs a ref")
    else:
        assert "no step 'dance'" in step(steps, {"step": "dance", "ref": REF.model_dump()})["reason"]
