"""Starts MiniStack, mended: `python -m local.stack.ministack_launcher`. Told everything by its environment, see `local.stack.parts`.

Beside AWS it serves `/_omsync/`: the schedules (`GET schedules`, `POST advance`, `POST fire`) and the mailbox (`GET mailbox`).
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import resource
import signal
from collections.abc import Awaitable, Callable
from typing import Any

from hypercorn.asyncio import serve
from hypercorn.config import Config

from local.stack import mailbox, mends

type Scope = dict[str, Any]
type Receive = Callable[[], Awaitable[dict[str, Any]]]
type Send = Callable[[dict[str, Any]], Awaitable[None]]

_PREFIX = "/_omsync/"


async def application(scope: Scope, receive: Receive, send: Send) -> None:
    """MiniStack, with our few routes in front."""
    from ministack.app import app

    if scope["type"] != "http" or not scope["path"].startswith(_PREFIX):
        await app(scope, receive, send)
        return
    body = await _body(receive)
    status, content_type, content = await asyncio.to_thread(_answer, scope["method"], scope["path"].removeprefix(_PREFIX), body)
    await send({"type": "http.response.start", "status": status, "headers": [(b"content-type", content_type.encode())]})
    await send({"type": "http.response.body", "body": content})


def _answer(method: str, route: str, body: bytes) -> tuple[int, str, bytes]:
    from local.stack.mends import clock, ses

    told = json.loads(body or b"{}")
    match method, route.strip("/").split("/"):
        case "GET", ["schedules"]:
            return _json([entry.as_json() for entry in clock.schedules()])
        case "POST", ["advance"]:
            return _json([entry.as_json() for entry in clock.advance(float(told["until"]), recurring=bool(told.get("recurring", True)))])
        case "POST", ["fire"]:
            return _json([entry.as_json() for entry in clock.fire(str(told["name"]))])
        case "GET", ["mailbox"]:
            return 200, "text/html; charset=utf-8", mailbox.index().encode()
        case "GET", ["mailbox", "messages.json"]:
            return _json(mailbox.messages())
        case "GET", ["mailbox", "calls"]:
            return _json(ses.calls)
        case "GET", ["mailbox", message_id, "html"]:
            return 200, "text/html; charset=utf-8", mailbox.body(message_id).encode()
        case "GET", ["mailbox", message_id]:
            return 200, "text/html; charset=utf-8", mailbox.page(message_id).encode()
    return 404, "text/plain", b"not here"


def _json(content: Any) -> tuple[int, str, bytes]:
    return 200, "application/json", json.dumps(content).encode()


async def _body(receive: Receive) -> bytes:
    parts: list[bytes] = []
    while True:
        message = await receive()
        parts.append(message.get("body", b""))
        if not message.get("more_body"):
            return b"".join(parts)


async def _serve() -> None:
    config = Config()
    config.bind = [f"{os.environ['BIND_HOST']}:{os.environ['GATEWAY_PORT']}"]
    config.keep_alive_timeout = 75
    config.graceful_timeout = 2
    config.loglevel = os.environ.get("LOG_LEVEL", "INFO")
    stop = asyncio.Event()
    for name in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(name, stop.set)
    await serve(application, config, shutdown_trigger=stop.wait)  # type: ignore[arg-type]


def main() -> None:
    """Mend, then serve until told to stop."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    mends.install()
    gc.freeze()  # a request of a hundred writes makes thousands of objects; by default each 2,000 are searched for cycles, tables and all
    gc.set_threshold(100_000, 20, 100)
    asyncio.run(_serve())
    # Threads that run a function's last batch must not keep the process.
    os._exit(0)


if __name__ == "__main__":
    main()
