"""`python -m local.salesforce --home DIR --port N --cert F --key F --metadata salesforce/`: the simulator as a process of its own.

Prints one JSON line when it is ready. SIGTERM ends it cleanly. Without a certificate it speaks plain HTTP (tests).
"""

from __future__ import annotations

import gc
import logging
import signal
import socket
import sys
from pathlib import Path

import click
import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from local.salesforce.app import announce, build, close
from local.salesforce.server import DROP, Server
from local.salesforce.setup import write_session

GRACE_SECONDS = 3  # for calls under way; an idle TLS client may never say good-bye


class DroppableProtocol(HttpToolsProtocol):
    """Lets the application close a client's connection without an answer."""

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.scope["extensions"] = {DROP: self.transport.abort}  # type: ignore[dict-item]


class Announcing(uvicorn.Server):
    """Says that it is ready once it listens."""

    def __init__(self, config: uvicorn.Config, line: str) -> None:
        super().__init__(config)
        self.line = line

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            print(self.line, flush=True)


def serve(server: Server, listener: socket.socket, base: str, cert: Path | None, key: Path | None) -> None:
    """Run until SIGTERM or SIGINT."""
    config = uvicorn.Config(
        server,
        http=DroppableProtocol,
        loop="uvloop",
        ssl_certfile=cert,
        ssl_keyfile=key,
        log_level="warning",
        access_log=False,
        lifespan="off",
        server_header=False,
        timeout_keep_alive=75,
        timeout_graceful_shutdown=GRACE_SECONDS,
    )
    runner = Announcing(config, announce(server.state, base))
    runner.run([listener])


@click.command()
@click.option("--home", type=click.Path(file_okay=False, path_type=Path), required=True, help="Where the org's data live.")
@click.option("--metadata", type=click.Path(exists=True, file_okay=False, path_type=Path), multiple=True, help="DX project folder(s).")
@click.option("--host", default="127.0.0.1", show_default=True)
@click.option("--port", type=click.IntRange(0, 65535), default=0, show_default=True, help="0 takes a free one.")
@click.option("--name", help="Host name clients use; default: localhost.", default="localhost", show_default=True)
@click.option("--cert", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="PEM certificate (chain).")
@click.option("--key", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="Its PEM key.")
def main(home: Path, metadata: tuple[Path, ...], host: str, port: int, name: str, cert: Path | None, key: Path | None) -> None:
    """Run a simulated Salesforce org."""
    if (cert is None) != (key is None):
        raise click.UsageError("--cert and --key go together: give both, or neither for plain HTTP")
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(levelname)s %(message)s", stream=sys.stderr)
    logging.getLogger("httpx").setLevel(logging.WARNING)  # its lines would name every callout
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        raise click.ClickException(f"can't listen on {host}:{port}: {error.strerror}; choose another --port") from None
    base = f"{'https' if cert else 'http'}://{name}:{listener.getsockname()[1]}"
    server = build(home, metadata)
    write_session(server.state.authority, home, base)
    assert server.state.publisher is not None
    server.state.publisher.start()
    gc.freeze()  # the org's schema stays; a bulk chunk makes tens of thousands of objects, and by default each 2,000 are searched for cycles
    gc.set_threshold(100_000, 20, 100)
    for ending in (signal.SIGTERM, signal.SIGINT):  # uvicorn raises them again once it has stopped: then put everything down
        signal.signal(ending, lambda *_: sys.exit(0))
    try:
        serve(server, listener, base, cert, key)
    finally:
        close(server)


if __name__ == "__main__":
    main()
