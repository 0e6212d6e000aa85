"""`omsync salesforce`: generate the metadata that follows from the mapping, and check all of it."""

from __future__ import annotations

import click

from omsync.platform.errors import Permanent
from ops.salesforce import agreement, apex, project, xsd


@click.group()
def cli() -> None:
    """Generate and check the Salesforce metadata."""


@cli.command()
@click.option("--check", is_flag=True, help="Change nothing; fail if a generation would.")
def generate(check: bool) -> None:
    """Bring salesforce/generated up to date with the mapping and the presentation."""
    if check:
        stale = project.stale()
        for line in stale:
            click.echo(line)
        if stale:
            raise Permanent(f"{len(stale)} files are stale; run `omsync salesforce generate`", code="salesforce.stale")
        click.echo(f"{len(project.render())} files, none stale")
        return
    written, removed = project.write()
    click.echo(f"{written} files written, {removed} removed, {len(project.render()) - written} unchanged")


@cli.command()
def check() -> None:
    """Everything at once: schema, Apex, agreement with the mapping, staleness. One line per fault."""
    metadata = sorted(project.ROOT.rglob("*-meta.xml"))
    code = sorted([*project.ROOT.rglob("*.cls"), *project.ROOT.rglob("*.trigger")])
    found = [*xsd.faults(metadata), *apex.faults(code), *agreement.faults(), *project.stale()]
    for line in found:
        click.echo(line)
    if found:
        raise Permanent(f"{len(found)} faults in the Salesforce metadata", code="salesforce.check")
    click.echo(f"{len(metadata)} metadata files valid, {len(code)} Apex files parsed, mapping and metadata agree, nothing stale")
