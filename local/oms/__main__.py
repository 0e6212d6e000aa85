"""Run the OMS: `python -m local.oms [--database-url URL] [--port N]`.

Without a database URL the embedded PostgreSQL below the data directory is started (and stopped again at the end). Clients and
delivery settings are files of the data directory, made on first use: `oms-clients.json`, `oms-delivery.json`.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
from pathlib import Path

import click
import uvicorn

from omsync.platform.errors import OmsyncError

from . import database
from .app import Settings, create_app
from .auth import Clients
from .delivery import DeliveryFile


def _leave(_: int, __: object) -> None:
    raise SystemExit(0)


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--database-url", envvar="OMS_DATABASE_URL", default=None, help="Any PostgreSQL 14 or later; embedded one if left out.")
@click.option("--port", type=int, default=0, help="TCP port on 127.0.0.1; a free one if left out.")
@click.option("--home", type=click.Path(path_type=Path), default=None, help="Data directory (default: OMSYNC_HOME or .local).")
@click.option("--dispatcher/--no-dispatcher", default=True, help="Deliver the outbox from this process.")
def main(database_url: str | None, port: int, home: Path | None, dispatcher: bool) -> None:
    """The reference OMS."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    for number in (signal.SIGTERM, signal.SIGINT):  # uvicorn raises the signal again when it is done: leave by way of `finally`
        signal.signal(number, _leave)
    home = home or Path(os.environ.get("OMSYNC_HOME", ".local"))
    own = home / "postgres" if database_url is None else None
    try:
        settings = Settings(
            database_url=database_url or database.start(home / "postgres"),
            clients=Clients.load(home / "oms-clients.json"),
            delivery=DeliveryFile(home / "oms-delivery.json"),
            dispatch=dispatcher,
        )
        app = create_app(settings)
        listener = socket.create_server(("127.0.0.1", port))
        click.echo(f"OMS: http://127.0.0.1:{listener.getsockname()[1]} (OpenAPI page: /docs)")
        config = uvicorn.Config(app, access_log=False, log_level="warning", timeout_graceful_shutdown=5)
        uvicorn.Server(config).run(sockets=[listener])
    except (OmsyncError, OSError) as fault:
        raise click.ClickException(str(fault)) from fault
    finally:
        if own:
            database.stop(own)


if __name__ == "__main__":
    main()
