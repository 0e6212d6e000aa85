"""SQS as Lambda sees it: batches as configured, batching windows, no lost message, whole-batch failures, message move tasks.

Sources: AWS Lambda developer guide "Using Lambda with Amazon SQS" (batch size, window, 6 MB payload, reporting batch item failures),
Amazon SQS API reference StartMessageMoveTask, ListMessageMoveTasks, CancelMessageMoveTask.
"""

from __future__ import annotations

import contextvars
import functools
import hashlib
import json
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from ministack.core.concurrency import spawn_background
from ministack.services import eventbridge, lambda_svc, sns
from ministack.services import sqs as service

type Queue = dict[str, Any]
type Message = dict[str, Any]

#: Lambda's payload limit. A record's frame (ids, attributes, ARN) adds about this much to its body.
_PAYLOAD = 6 * 1024 * 1024
_FRAME = 700

#: One lock for whatever rebuilds or appends to a queue's list of messages: requests run on the event loop, event source mappings,
#: rules and schedules on threads, and an append between "rebuild" and "assign" would vanish.
_lock = threading.RLock()

#: The event source mapping's batch now being run on this thread.
_batch_ids: contextvars.ContextVar[frozenset[str] | None] = contextvars.ContextVar("batch_ids", default=None)
_throttled: contextvars.ContextVar[list[bool] | None] = contextvars.ContextVar("throttled", default=None)


def install() -> None:
    """Put the mends in place."""
    _serialise()
    service._receive_messages_for_esm = _receive_batch
    _run = lambda_svc._run_sqs_batch
    _execute = lambda_svc._execute_function
    lambda_svc._sqs_esm_concurrency = functools.partial(_concurrency, lambda_svc._sqs_esm_concurrency)
    lambda_svc._run_sqs_batch = functools.partial(_run_batch, _run)
    lambda_svc._execute_function = functools.wraps(_execute)(functools.partial(_judge_batch, _execute))
    service._HANDLERS.update(
        {"StartMessageMoveTask": _start_move, "ListMessageMoveTasks": _list_moves, "CancelMessageMoveTask": _cancel_move}
    )


def _concurrency(own: Callable[..., int], esm: dict[str, Any], *arguments: Any, **named: Any) -> int:
    """MaximumConcurrency as a number: a template's parameter gives text."""
    scaling = {name: int(value) for name, value in (esm.get("ScalingConfig") or {}).items()}
    return own({**esm, "ScalingConfig": scaling}, *arguments, **named)


def _serialise() -> None:
    service._queues_lock = _lock
    for name in ("_expire_retained", "_dlq_sweep", "_collect_msgs", "_refresh_counts", "_delete_messages_for_esm"):
        setattr(service, name, _locked(getattr(service, name)))
    for action, function in list(service._HANDLERS.items()):
        if action == "ReceiveMessage":  # waits between looks; what it does to the queue is in the functions above
            continue
        guarded = _locked(function)
        service._HANDLERS[action] = guarded
        setattr(service, function.__name__, guarded)
    eventbridge._dispatch_to_sqs = _locked(eventbridge._dispatch_to_sqs)
    sns._deliver_to_sqs = _locked(sns._deliver_to_sqs)
    lambda_svc._route_async_failure = _locked(lambda_svc._route_async_failure)


def _locked[**P, R](function: Callable[P, R]) -> Callable[P, R]:
    @functools.wraps(function)
    def guarded(*args: P.args, **kwargs: P.kwargs) -> R:
        with _lock:
            return function(*args, **kwargs)

    return guarded


# ---------------------------------------------------------------- batches for event source mappings


def _receive_batch(queue_url: str, max_number: int) -> list[Message]:
    """Up to BatchSize messages (10 of a FIFO queue) and 6 MB, once the batch is full or its window is over."""
    with _lock:
        queue = service._get_q(queue_url)
        service._expire_retained(queue)
        service._dlq_sweep(queue)
        visibility = int(queue["attributes"].get("VisibilityTimeout", "30"))
        if queue["is_fifo"]:
            return list(service._collect_msgs(queue, min(int(max_number or 1), 10), visibility))
        now = time.time()
        batch, full = _visible(queue, int(max_number or 1), now)
        if not batch or not (full or now - min(message["visible_at"] for message in batch) >= _window(queue)):
            return []
        for message in batch:
            _take(message, now, visibility)
        return batch


def _visible(queue: Queue, limit: int, now: float) -> tuple[list[Message], bool]:
    batch: list[Message] = []
    size = 0
    for message in queue["messages"]:
        if message["visible_at"] > now:
            continue
        size += len(message["body"]) + _FRAME
        if batch and size > _PAYLOAD:
            return batch, True
        batch.append(message)
        if len(batch) == limit:
            return batch, True
    return batch, False


def _take(message: Message, now: float, visibility: int) -> None:
    service._ensure_msg_fields(message)
    message["receipt_handle"] = str(uuid.uuid4())
    message["visible_at"] = now + visibility
    message["receive_count"] += 1
    if message["first_receive_at"] is None:
        message["first_receive_at"] = now


def _window(queue: Queue) -> float:
    """MaximumBatchingWindowInSeconds of the queue's event source mapping."""
    arn = queue["attributes"].get("QueueArn")
    windows = [
        mapping.get("MaximumBatchingWindowInSeconds") or 0
        for _account, _region, mapping in lambda_svc._iter_all_esms()
        if mapping.get("EventSourceArn") == arn and mapping.get("Enabled", True)
    ]
    return float(min(windows, default=0))


def _run_batch(run: Callable[..., None], mapping: Any, function: Any, event: Any, batch: list[Message], url: str, name: str) -> None:
    """A batch that finds no free concurrency goes back as it came: on AWS the pollers adapt, and no receive is counted."""
    ids = _batch_ids.set(frozenset(message["id"] for message in batch))
    throttled: list[bool] = []
    noted = _throttled.set(throttled)
    try:
        run(mapping, function, event, batch, url, name)
    finally:
        _batch_ids.reset(ids)
        _throttled.reset(noted)
    if throttled:
        with _lock:
            for message in batch:
                message["visible_at"] = time.time() + 0.5
                message["receive_count"] -= 1


def _judge_batch(execute: Callable[..., dict[str, Any]], function: Any, event: Any) -> dict[str, Any]:
    """An unknown, empty or missing itemIdentifier fails the whole batch on AWS; so does an answer that is no object."""
    result = execute(function, event)
    ids, throttled = _batch_ids.get(), _throttled.get()
    if ids is None:
        return result
    if result.get("throttle") and throttled is not None:
        throttled.append(True)
    body = result.get("body")
    if result.get("error") or not isinstance(body, dict) or not isinstance(body.get("batchItemFailures"), list):
        return result
    named = [failure.get("itemIdentifier") if isinstance(failure, dict) else None for failure in body["batchItemFailures"]]
    if all(name in ids for name in named):
        return result
    return {
        **result,
        "error": True,
        "body": {"errorType": "InvalidBatchItemFailures", "errorMessage": "an itemIdentifier is not a message id of the batch"},
    }


# ---------------------------------------------------------------- message move tasks


@dataclass(slots=True)
class _Move:
    """One task; `handle` is opaque to callers."""

    source: str
    destination: str | None
    rate: int
    expected: int
    handle: str = field(default_factory=lambda: uuid.uuid4().hex)
    started: float = field(default_factory=time.time)
    status: str = "RUNNING"
    moved: int = 0
    reason: str | None = None

    def as_json(self) -> dict[str, Any]:
        entry: dict[str, Any] = {
            "SourceArn": self.source,
            "Status": self.status,
            "MaxNumberOfMessagesPerSecond": self.rate,
            "ApproximateNumberOfMessagesMoved": self.moved,
            "ApproximateNumberOfMessagesToMove": self.expected,
            "StartedTimestamp": int(self.started * 1000),
        }
        if self.destination:
            entry["DestinationArn"] = self.destination
        if self.status in ("RUNNING", "CANCELLING"):
            entry["TaskHandle"] = self.handle
        if self.reason:
            entry["FailureReason"] = self.reason
        return entry


_moves: list[_Move] = []


def _start_move(data: dict[str, Any], _url: str) -> dict[str, Any]:
    source = data.get("SourceArn", "")
    destination = data.get("DestinationArn") or None
    with _lock:
        queue = _known(source)
        if destination:
            _known(destination)
        if not any(_dead_letter_target(other) == source for other in _queues()):
            raise service._Err("InvalidParameterValue", "Source queue must be configured as a Dead Letter Queue.")
        if any(move.source == source and move.status in ("RUNNING", "CANCELLING") for move in _moves):
            raise service._Err(
                "UnsupportedOperation", "There is already a task running. Only one active task is allowed for a source queue arn."
            )
        now = time.time()
        expected = sum(message["visible_at"] <= now for message in queue["messages"])
        move = _Move(source, destination, int(data.get("MaxNumberOfMessagesPerSecond") or 500), expected)
        _moves.append(move)
    # The request's account and region go with the thread.
    spawn_background(_carry_out, move, thread_name="sqs-move-task")
    return {"TaskHandle": move.handle}


def _list_moves(data: dict[str, Any], _url: str) -> dict[str, Any]:
    with _lock:
        _known(data.get("SourceArn", ""))
        found = [move.as_json() for move in reversed(_moves) if move.source == data["SourceArn"]]
    return {"Results": found[: int(data.get("MaxResults") or 1)]}


def _cancel_move(data: dict[str, Any], _url: str) -> dict[str, Any]:
    with _lock:
        for move in _moves:
            if move.handle == data.get("TaskHandle") and move.status == "RUNNING":
                move.status = "CANCELLING"
                return {"ApproximateNumberOfMessagesMoved": move.moved}
    raise service._Err("ResourceNotFoundException", "Task does not exist or is not running.")


def _carry_out(move: _Move) -> None:
    """In tenths of a second, at most `rate` messages a second."""
    share = max(1, move.rate // 10)
    while True:
        with _lock:
            if move.status == "CANCELLING":
                move.status = "CANCELLED"
                return
            left = _move_some(move, share)
            if move.status == "FAILED":
                return
            if not left or move.moved >= move.expected:
                move.status = "COMPLETED"
                return
        time.sleep(0.1)


def _move_some(move: _Move, share: int) -> bool:
    queue = _known(move.source)
    now = time.time()
    waiting = [message for message in queue["messages"] if message["visible_at"] <= now]
    for message in waiting[: min(share, move.expected - move.moved)]:
        target = move.destination or message.get("sys", {}).get("DeadLetterQueueSourceArn")
        if not target or not (destination := service._queue_by_arn(target)):
            move.status, move.reason = "FAILED", "CouldNotDetermineMessageSource"
            return True
        queue["messages"].remove(message)
        destination["messages"].append(_renewed(message))
        move.moved += 1
    service.esm_wake.set()
    return len(waiting) > share


def _renewed(message: Message) -> Message:
    """A moved message is a new message: new id, nothing received yet."""
    now = time.time()
    fresh = {key: value for key, value in message.items() if key in ("body", "message_attributes", "md5_attrs", "attributes")}
    fresh |= {"id": str(uuid.uuid4()), "md5_body": hashlib.md5(message["body"].encode()).hexdigest(), "sent_at": now, "visible_at": now}
    service._ensure_msg_fields(fresh)
    return fresh


def _known(arn: str) -> Queue:
    queue = service._queue_by_arn(arn) if arn else None
    if queue is None:
        raise service._Err("ResourceNotFoundException", "The resource that you specified for the SourceArn parameter doesn't exist.")
    return queue


def _queues() -> Iterator[Queue]:
    yield from list(service._queues.values())


def _dead_letter_target(queue: Queue) -> str | None:
    policy = queue["attributes"].get("RedrivePolicy")
    return json.loads(policy).get("deadLetterTargetArn") if policy else None
