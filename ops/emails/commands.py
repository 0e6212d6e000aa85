"""`omsync emails ...`: list, build, preview, try and look at the lifecycle emails."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from omsync.platform.errors import Permanent

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_sesv2 import SESV2Client

ROOT = Path(__file__).resolve().parents[2]


@click.group()
def cli() -> None:
    """The 22 lifecycle emails."""


@cli.command("list")
def list_flows() -> None:
    """All flows: number, name, category, when, subject."""
    from ops.emails.build import build, load_flows_source

    for flow in load_flows_source():
        when = flow.timing.anchor + "".join(f" {offset.text}" for offset in flow.timing.at if offset.text != "0")
        click.echo(f"{flow.number:2}  {flow.flow:25} {flow.category:14} {when:20} {build(flow, 'en').subject}")


@cli.command()
@click.option("--check", is_flag=True, help="Write nothing; fail if the package's templates are not those of the sources.")
def build(check: bool) -> None:
    """Compile the sources in emails/ into the package."""
    from ops.emails.build import PACKAGED, build_all

    files = build_all()
    stale = [path for path, content in files.items() if not path.exists() or path.read_text() != content]
    left = sorted({path for path in PACKAGED.rglob("*") if path.is_file()} - set(files))
    if check:
        if stale or left:
            raise Permanent(
                f"{(stale + left)[0].relative_to(ROOT)} is not what emails/ says: run `omsync emails build`", code="emails.stale"
            )
        click.echo(f"{len(files)} files are up to date")
        return
    for path in stale:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(files[path])
    for path in left:
        path.unlink()
    click.echo(f"{len(files)} files, {len(stale)} written, {len(left)} removed")


@cli.command()
@click.argument("flows", nargs=-1)
@click.option("--to", "folder", type=click.Path(path_type=Path), default=ROOT / ".local" / "emails", show_default=".local/emails")
@click.option("--locale", default="en", show_default=True)
@click.option("--no-pictures", is_flag=True, help="The page alone; needs no browser.")
def preview(flows: tuple[str, ...], folder: Path, locale: str, no_pictures: bool) -> None:
    """One page with all emails, light and dark, desktop and phone; and a PNG of each (of FLOWS alone, if named)."""
    from ops.emails.browser import browser
    from ops.emails.preview import built_flows, page, pictures

    emails = built_flows(locale)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "index.html").write_text(page(emails))
    click.echo(folder / "index.html")
    if not no_pictures:
        chosen = [made for made in emails if not flows or made.flow.flow in flows]
        with browser() as opened:
            click.echo(f"{sum(1 for _ in pictures(chosen, opened, folder))} pictures in {folder}")


@cli.command("test-send")
@click.argument("flow")
@click.option("--to", required=True, help="The address it goes to.")
@click.option("--sender", envvar="EMAIL_SENDER", default="UpScript Health <care@upscript.example>", show_default=True)
@click.option("--locale", default="en", show_default=True)
def test_send(flow: str, to: str, sender: str, locale: str) -> None:
    """Send FLOW with its sample data, once, to one address: no claim, no template stored, nothing noted."""
    from ops.emails.build import build as built_from
    from ops.emails.build import fill, load_flows_source

    found = load_flows_source().get(flow)
    if found is None:
        raise Permanent(f"no flow '{flow}': see `omsync emails list`", code="emails.flow")
    made = built_from(found, locale)
    body = {
        "Text": {"Data": fill(made.text, made.sample), "Charset": "UTF-8"},
        "Html": {"Data": fill(made.html, made.sample), "Charset": "UTF-8"},
    }
    subject = {"Data": f"[test] {fill(made.subject, made.sample)}", "Charset": "UTF-8"}
    with _embedded():
        answer = _ses().send_email(
            FromEmailAddress=sender, Destination={"ToAddresses": [to]}, Content={"Simple": {"Subject": subject, "Body": body}}
        )
    click.echo(answer["MessageId"])


@cli.command()
@click.option("-n", "--lines", default=50, show_default=True)
def outbox(lines: int) -> None:
    """What was sent and what was left out, newest first: when, what became of it, flow, claim."""
    with _embedded():
        tables = _tables()
        entries = [
            _line(item) for table in tables for page in _dynamo().get_paginator("scan").paginate(TableName=table) for item in page["Items"]
        ]
    for at, line in sorted((entry for entry in entries if entry), reverse=True)[:lines]:
        click.echo(f"{at}  {line}")


def _line(item: dict[str, dict[str, str]]) -> tuple[str, str]:
    plain = {name: value.get("S", value.get("N", "")) for name, value in item.items()}
    if "reason" in plain:
        return plain["sk"], f"skipped {plain['reason']:24} {plain['pk']}"
    if "state" in plain:
        return plain.get("claimed_at", ""), f"{plain['state']:8}{plain.get('outcome', ''):24} {plain['pk']}"
    return ("", "")


def _ses() -> SESV2Client:
    import boto3

    return boto3.client("sesv2")


def _dynamo() -> DynamoDBClient:
    import boto3

    return boto3.client("dynamodb")


def _tables() -> list[str]:
    """The claims' and the skips' tables of the deployed stack."""
    import boto3

    stack = os.environ.get("OMSYNC_STACK", "omsync-local")
    told = boto3.client("cloudformation").describe_stacks(StackName=stack)["Stacks"][0]["Outputs"]
    outputs = {output["OutputKey"]: output["OutputValue"] for output in told}
    return [outputs["ClaimTableName"], outputs["EmailSkipTableName"]]


@contextlib.contextmanager
def _embedded() -> Iterator[None]:
    """Point boto3 at the embedded stack if one runs in OMSYNC_HOME and no other AWS was chosen."""
    endpoints = Path(os.environ.get("OMSYNC_HOME", ROOT / ".local")) / "endpoints.json"
    if not endpoints.exists() or "AWS_PROFILE" in os.environ or "AWS_ACCESS_KEY_ID" in os.environ:
        yield
        return
    told = json.loads(endpoints.read_text())
    own = {
        "AWS_ENDPOINT_URL": told["aws_endpoint_url"],
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": told["region"],
    }
    before = {name: os.environ.get(name) for name in own}
    os.environ.update(own)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name)
            else:
                os.environ[name] = value
