"""`omsync redrive <queue>`: send messages of a DLQ to work again, all or one record's.

SQS's own redrive moves whole queues and counts a new start as none. This one receives, sends, deletes: chosen messages, with their `attempt`
reset, so that what gave up after many tries gets all of them again. A message is deleted only after its copy was sent: dying in between leaves
both, which is harmless, because versions are applied once and looking at a record twice changes nothing.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import click

from omsync.mapping.load import load_mappings
from omsync.platform.queues import Message, SqsSender
from ops import queues
from ops.causes import causes
from ops.connections import ConnectionFault, Connections, with_connections
from ops.life import resolve
from ops.queues import Waiting
from ops.undelivered import deliver


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("queue")
@click.option("--record", help="Only messages about <table>/<OMS id> or <Object>/<Salesforce id>.")
@click.option("--all", "everything", is_flag=True, help="All messages of the DLQ.")
@click.option("--remove", is_flag=True, help="Delete them instead: nobody needs them. Asks first.")
@click.option("--yes", is_flag=True, help="With --remove: don't ask.")
@click.option("--dry-run", is_flag=True, help="Say what would be done, and why each is there; change nothing.")
@with_connections
def cli(connections: Connections, queue: str, record: str | None, everything: bool, remove: bool, yes: bool, dry_run: bool) -> None:
    """Send messages of QUEUE's DLQ to QUEUE again: mirror, sync, isolation, lifecycle, email, email-feedback.

    Where there is a DLQ alone (async, lifecycle-bus, email-rules), each message goes where AWS could not deliver it.
    """
    if (record is None) == (not everything):
        raise click.UsageError("say which messages: --record <table>/<id>, or --all")
    name = queue_named(connections, queue)
    wanted = _about(connections, record) if record is not None else lambda _message: True
    if remove and not dry_run and not yes:
        click.confirm(f"Delete {'all messages' if everything else f'what is about {record}'} from {name}Dlq for good?", abort=True)
    done = run(connections, name, wanted, dry_run=dry_run, remove=remove)
    verb = "remove" if remove else "send"
    past = f"would {verb}" if dry_run else "removed" if remove else "sent"
    known = causes(connections, done.sent)
    for message in done.sent:
        why = f"  {known[message.message_id]}" if message.message_id in known else ""
        correlation, since = message.content.get("correlation_id", "-"), f"waited since {message.sent_at:%Y-%m-%d %H:%M:%S} UTC"
        click.echo(f"{past}  {message.record}{why}  correlation {correlation}  {since}")
    for message, why in done.refused:
        click.echo(f"not sent  {message.record}  {why}")
    made = f"would be {'removed' if remove else 'sent'}" if dry_run else past
    goal = "" if remove else f" to {destination(connections, name)}"
    click.echo(f"{len(done.sent)} messages {made} from {name}Dlq{goal}, {done.left} left there")
    raise SystemExit(1 if done.refused else 0)


@dataclass(frozen=True, slots=True)
class Done:
    """What a redrive did: messages sent, those that nobody took and why, and how many are left in the DLQ (these among them)."""

    sent: list[Waiting]
    refused: list[tuple[Waiting, str]]
    left: int


def queue_named(connections: Connections, queue: str) -> str:
    """The logical id's beginning: `mirror`, `Mirror`, `MirrorQueue`, `mirror-dlq` -> Mirror. A fault lists what there is."""
    known = {name.removesuffix("Dlq").lower(): name.removesuffix("Dlq") for name in connections.queues if name.endswith("Dlq")}
    plain = queue.lower().replace("-", "").replace("_", "").removesuffix("dlq").removesuffix("queue")
    if plain not in known:
        raise ConnectionFault(f"no queue {queue!r} with a DLQ; there are {', '.join(sorted(known))}")
    return known[plain]


def destination(connections: Connections, name: str) -> str:
    """Where a DLQ's messages go: its queue; without one, to whatever each was meant for."""
    return f"{name}Queue" if f"{name}Queue" in connections.queues else "their targets"


def run(
    connections: Connections,
    name: str,
    wanted: Callable[[Waiting], bool],
    *,
    dry_run: bool,
    remove: bool = False,
    at_most: int = queues.AT_MOST,
) -> Done:
    """Redrive one DLQ, or remove from it. What is not wanted, or not taken, is given back, whatever happens."""
    held: dict[str, Waiting] = {}
    done = Done([], [], 0)
    try:
        for message in queues.receive(connections, f"{name}Dlq", at_most=at_most):
            held[message.message_id] = message
        chosen = [message for message in held.values() if wanted(message)]
        if dry_run:
            return Done(chosen, [], len(held))
        for part in queues.tens(chosen):
            taken = part if remove else _send(connections, name, part, done.refused)
            queues.delete(connections, taken)
            done.sent.extend(taken)
            for message in taken:
                del held[message.message_id]
    finally:
        queues.give_back(connections, list(held.values()))
    return replace(done, left=len(held))


def _about(connections: Connections, record: str) -> Callable[[Waiting], bool]:
    key = resolve(record, load_mappings(), lambda: connections)
    sobject, _, record_id = record.partition("/")
    if isinstance(key, str):
        if sobject not in load_mappings().objects():
            raise ConnectionFault(key)
        return lambda message: (
            message.content.get("salesforce_id") == record_id
        )  # a record that the org no longer knows may still have a message
    ids = [record_id] if sobject != key.table else []
    return lambda message: message.is_about(key.table, key.id, ids)


def _send(connections: Connections, name: str, messages: Sequence[Waiting], refused: list[tuple[Waiting, str]]) -> Sequence[Waiting]:
    """Those that were taken; of the others, one message that nobody takes must not hold up its neighbours."""
    url = connections.queues.get(f"{name}Queue")
    if url is not None:
        SqsSender(connections.sqs, url, connections.payloads).send(Message(afresh(message.body)) for message in messages)
        return messages
    taken = []
    for message in messages:
        try:
            deliver(connections, message)
        except ConnectionFault as fault:
            refused.append((message, fault.message))
        else:
            taken.append(message)
    return taken


def afresh(body: str) -> str:
    """A message as at its first attempt."""
    try:
        content = json.loads(body)
    except ValueError:
        return body
    if not isinstance(content, dict) or not content.get("attempt"):
        return body
    return json.dumps({**content, "attempt": 0}, ensure_ascii=False, separators=(",", ":"))
