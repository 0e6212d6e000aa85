"""From a batch of queue records to what becomes of each: the part all consumers share.

The handler decides, SQS's receive count only catches crashes:
- done: the record is deleted;
- Retryable: a new message with a delay and jitter takes its place, as often as it takes (what waits for a parent that never comes gives up
  after `GIVE_UP_ATTEMPTS`). For half an hour it tries at least once a minute, and whatever met an absent system does so for ever: it is the
  breaker that spares the system, and whoever waits ought to be served soon after its return;
- Permanent: the message goes to the DLQ by us, with a row in the failure table and one Case per distinct cause;
- received for the third time: it may be what kills its process, so it moves to the isolation queue, where it harms nobody else;
- not reached before the deadline: sent again, many of them a few at a time.
Only what could not even be sent on is reported back to SQS, which then redelivers it.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from pydantic import BaseModel, ValidationError

from omsync.platform.errors import BreakerOpen, OmsyncError, Permanent, Retryable, Stale
from omsync.platform.telemetry import logger
from omsync.sync.breaker import Breakers, System, absent
from omsync.sync.ports import MissingParent

#: received this often without an answer: a crash suspect
SUSPECT_RECEIVES = 3
#: SQS delays a message by at most 15 minutes
MAX_DELAY = 900
#: seconds, at most, between two attempts, as long as there were fewer than `PATIENCE` (about half an hour of them)
SOON_DELAY, PATIENCE = 60, 40
#: another function is at work on it: it is sure to be over
_SOON = frozenset({"sync.lease", "sync.contended"})
#: what was not reached comes back at this rate a second, within so many seconds: all at once it would be too much again
SPREAD_RATE, SPREAD_SECONDS = 10, 30
#: attempts of a message that waits for its parent: about a day
GIVE_UP_ATTEMPTS = 130


@dataclass(frozen=True, slots=True)
class QueueRecord:
    """One SQS record: its id, how often it was received, its body as it travels, and what that says (another text if S3 holds it)."""

    message_id: str
    receives: int
    body: str
    said: str | None = None
    postponed: bool = False  # too much for this batch: it is sent again

    @property
    def text(self) -> str:
        """The message itself."""
        return self.body if self.said is None else self.said


@dataclass(frozen=True, slots=True)
class Result:
    """What became of one message. `fault` None: done, in the way `kind` says (applied, superseded, unchanged, skipped ...).

    `reached` False: its turn did not come before the deadline.
    """

    kind: str
    fault: OmsyncError | None = None
    record: str | None = None
    reached: bool = True


NOT_REACHED = Result("not_reached", reached=False)


class Sender(Protocol):
    """The sending end of a queue, for bodies as they are. Raises Retryable with nothing promised about which were sent."""

    def send_raw(self, messages: Sequence[tuple[str, int]]) -> None:
        """Send bodies, each with its delay in seconds."""


class FailureLog(Protocol):
    """Where a Permanent failure is written down and made known."""

    def record(self, result: Result, *, body: str, correlation_id: str, request_id: str) -> None:
        """A row in the failure table, and one Case per distinct cause."""


class Counter(Protocol):
    """Metrics."""

    def count(self, outcome: str, number: int) -> None:
        """So many messages ended so."""


#: a record, the body that takes its place, and its delay in seconds
type _Posting = tuple[QueueRecord, str, int]


@dataclass(slots=True)
class _Post:
    """What a batch sends at its end, each queue's together: to be tried later, or dead.

    `unreached`: how many its deadline cut off. `pace`: the jitter of those that wait together.
    """

    unreached: int
    pace: float
    later: list[_Posting] = field(default_factory=list)
    dead: list[_Posting] = field(default_factory=list)


type Worker[M: BaseModel] = Callable[[Sequence[M]], Sequence[Result]]


@dataclass(slots=True)
class Consumer[M: BaseModel]:
    """Runs `worker` over batches of messages of one queue. `isolated`: this is the isolation queue's consumer, which suspects nobody."""

    model: type[M]
    worker: Worker[M]
    queue: Sender
    dlq: Sender
    isolation: Sender
    failures: FailureLog
    breakers: Breakers
    needs: tuple[System, ...]
    metrics: Counter
    isolated: bool = False
    jitter: random.Random = field(default_factory=random.SystemRandom)

    def handle(self, records: Sequence[QueueRecord], *, request_id: str) -> list[str]:
        """Deal with a batch; returns the ids of records that SQS must deliver again."""
        again: list[str] = []
        suspects = [] if self.isolated else [record for record in records if record.receives >= SUSPECT_RECEIVES]
        again += self._send([(record, record.body, 0) for record in suspects], self.isolation)
        self.metrics.count("isolated", len(suspects))
        aside: list[tuple[QueueRecord, Result]] = []
        messages: list[tuple[QueueRecord, M]] = []
        for record in records:
            if record in suspects:
                continue
            if record.postponed:
                aside.append((record, NOT_REACHED))
                continue
            try:
                messages.append((record, self.model.model_validate_json(record.text)))
            except ValidationError as fault:
                aside.append((record, Result("unreadable", Permanent(_first(fault), code="omsync.message"))))
        settled = aside + list(zip([record for record, _ in messages], self._work([message for _, message in messages]), strict=True))
        post = _Post(unreached=sum(not result.reached for _, result in settled), pace=self.jitter.uniform(0.5, 1))
        for record, result in settled:
            again += self._settle(record, result, request_id, post)
            _log(record, result)
        again += self._send(post.later, self.queue) + self._send(post.dead, self.dlq)
        self._count(settled)
        return again

    def _work(self, messages: Sequence[M]) -> Sequence[Result]:
        if not messages:
            return []
        try:
            self.breakers.require_closed(self.needs)
            results = self.worker(messages)
        except OmsyncError as fault:  # the batch as a whole met it: a system is away, a credential refused
            results = [Result("failed", fault)] * len(messages)
        self._report(results)
        return results

    def _report(self, results: Sequence[Result]) -> None:
        """Tell the breakers: a system was away if every record that could tell found it so."""
        reached = [result for result in results if result.reached and not isinstance(result.fault, BreakerOpen)]
        if not reached:
            return
        met: dict[System, bool] = {}
        for system in self.needs:
            met[system] = not all(absent(result.fault) == system for result in reached)
        if any(not answered for answered in met.values()):  # the other one was not heard of
            met = {system: answered for system, answered in met.items() if not answered}
        self.breakers.report(met)

    def _settle(self, record: QueueRecord, result: Result, request_id: str, post: _Post) -> list[str]:
        """Deal with one message; `post` grows by what is to be sent. Returns its id if SQS must deliver it again."""
        fault = result.fault
        if not result.reached:
            spread = min(SPREAD_SECONDS, post.unreached / SPREAD_RATE)
            post.later.append((record, record.body, int(self.jitter.uniform(0, spread)) if spread > 1 else 0))
            return []
        if fault is None:
            return []
        attempt = _attempt(record.body)
        if isinstance(fault, MissingParent) and attempt >= GIVE_UP_ATTEMPTS:
            fault = Permanent("its parent never came", code="omsync.orphan", record=fault.record)
        if isinstance(fault, Retryable | Stale) or absent(fault) is not None:
            post.later.append(self._later(record, fault, attempt, post))
            return []
        return self._bury(record, Result(result.kind, fault, result.record), request_id, post.dead)

    def _later(self, record: QueueRecord, fault: OmsyncError, attempt: int, post: _Post) -> _Posting:
        blameless = isinstance(fault, BreakerOpen) or absent(fault) is not None or fault.code in _SOON
        counted = min(attempt, PATIENCE - 1) if blameless else attempt
        after = min(SOON_DELAY if blameless else MAX_DELAY, fault.after or 0.0) if isinstance(fault, Retryable) else 0.0
        ceiling = max(after, _ceiling(counted))
        # children wait together: each call of Salesforce is to bring as many as possible
        share = post.pace if isinstance(fault, MissingParent) else self.jitter.uniform(0.5, 1)
        delay = int(max(after, ceiling * share))
        return record, _with_attempt(record.body, attempt if counted + 1 == PATIENCE and blameless else attempt + 1), delay

    def _bury(self, record: QueueRecord, result: Result, request_id: str, dead: list[_Posting]) -> list[str]:
        try:
            self.failures.record(result, body=record.body, correlation_id=_correlation(record.text), request_id=request_id)
        except Retryable:
            return [record.message_id]
        dead.append((record, record.body, 0))
        return []

    def _send(self, messages: Sequence[_Posting], to: Sender) -> list[str]:
        """Send on; returns the ids of the records whose messages may not have been sent."""
        if not messages:
            return []
        try:
            to.send_raw([(body, delay) for _, body, delay in messages])
        except Retryable:
            return [record.message_id for record, _, _ in messages]
        return []

    def _count(self, settled: Sequence[tuple[QueueRecord, Result]]) -> None:
        counts: dict[str, int] = {}
        for _, result in settled:
            name = result.kind if result.fault is None else _name(result.fault)
            counts[name] = counts.get(name, 0) + 1
        for name, number in counts.items():
            self.metrics.count(name, number)


def _ceiling(attempt: int) -> float:
    """Seconds until the next attempt, at most: a second, two, four ... a minute; for what has lasted, up to `MAX_DELAY`."""
    return (
        min(SOON_DELAY, 2.0 ** min(attempt, 10))
        if attempt < PATIENCE
        else min(MAX_DELAY, SOON_DELAY * 2.0 ** min(attempt - PATIENCE + 1, 10))
    )


def _name(fault: OmsyncError) -> str:
    return "permanent" if isinstance(fault, Permanent) and absent(fault) is None else "stale" if isinstance(fault, Stale) else "retryable"


def _log(record: QueueRecord, result: Result) -> None:
    """A line a message, under the correlation id that its event came with: what `omsync trace` finds."""
    envelope, fault = _envelope(record.text), result.fault
    logger.info(
        "message",
        correlation_id=envelope.correlation_id,
        record=result.record,
        outcome=result.kind if fault is None else _name(fault),
        code=fault.code if fault is not None else None,
        attempt=envelope.attempt,
    )


class _Envelope(BaseModel):
    """What every message has, whatever else it holds."""

    correlation_id: str = "unknown"
    attempt: int = 0


def _envelope(body: str) -> _Envelope:
    try:
        return _Envelope.model_validate_json(body)
    except ValidationError:
        return _Envelope()


def _attempt(body: str) -> int:
    return _envelope(body).attempt


def _correlation(body: str) -> str:
    return _envelope(body).correlation_id


def _with_attempt(body: str, attempt: int) -> str:
    message: Mapping[str, object] = json.loads(body)
    return json.dumps({**message, "attempt": attempt}, ensure_ascii=False, separators=(",", ":"))


def _first(fault: ValidationError) -> str:
    error = fault.errors(include_input=False, include_url=False, include_context=False)[0]
    return f"the message's {'.'.join(map(str, error['loc'])) or 'body'} is not readable: {error['msg']}"
