"""What the documents promise exists: alarms have an entry, commands an option, links an end, pictures their source."""

from __future__ import annotations

import re
import shlex
import subprocess
from pathlib import Path
from typing import Any

import click
import pytest
import yaml

from ops.main import GROUPS, cli
from tests.unit.test_template import TEMPLATES, CloudFormation

ROOT = Path(__file__).resolve().parents[3]
OURS = [
    ROOT / "README.md",
    ROOT / "events/README.md",
    *(ROOT / "docs" / name for name in ("runbook.md", "architecture.md", "embedded-stack.md")),
]
#: imported here, as a test may open no socket and the X-Ray SDK makes one when it is imported
COMMANDS = {name: cli.get_command(click.Context(cli), name) for name in GROUPS}


def resources() -> dict[str, dict[str, Any]]:
    return {name: resource for path in TEMPLATES for name, resource in yaml.load(path.read_text(), CloudFormation)["Resources"].items()}


def blocks(path: Path) -> list[str]:
    """Lines of a document's code blocks that have no language or a shell's."""
    found = re.findall(r"^```(?:sh|bash)?\n(.*?)^```", path.read_text(), re.DOTALL | re.MULTILINE)
    return [line.split("   #")[0].strip() for block in found for line in block.splitlines() if line.strip() and not line.startswith("#")]


def mentioned() -> list[tuple[str, str]]:
    """(document, command line) of every command in a code block, and every `omsync ...`, `make ...` in running text."""
    found = []
    for path in OURS:
        name, text = str(path.relative_to(ROOT)), path.read_text()
        lines = blocks(path) + re.findall(r"`((?:omsync|make|tools/|sam local) ?[^`\n]*)`", text)
        found += [(name, line) for line in dict.fromkeys(lines)]
    return found


MENTIONED = mentioned()


def of_program(*programs: str) -> list[tuple[str, str]]:
    return [(name, line) for name, line in MENTIONED if line.split()[0] in programs]


@pytest.mark.parametrize(("document", "line"), of_program("omsync"))
def test_every_omsync_command_and_option_exists(document: str, line: str) -> None:
    words = [word for word in shlex.split(re.sub(r"\[|\]|\s{2,}.*", " ", line)) if word not in ("...", "|")]
    command: click.Command = cli
    path = ["omsync"]
    for word in words[1:]:
        if isinstance(command, click.Group) and not word.startswith("-"):
            found = COMMANDS.get(word) if command is cli else command.get_command(click.Context(command), word)
            assert found is not None, f"{document}: `{' '.join(path)}` has no command {word!r}"
            command = found
            path.append(word)
        elif word.startswith("-"):
            options = {name for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts)} | {"--help", "-h"}
            assert word.partition("=")[0] in options, f"{document}: `{' '.join(path)}` has no option {word!r}"


@pytest.mark.parametrize(("document", "line"), of_program("make"))
def test_every_make_target_exists(document: str, line: str) -> None:
    targets = set(re.findall(r"^([a-z0-9-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert {word for word in line.split()[1:] if "=" not in word} <= targets


@pytest.mark.parametrize(("document", "line"), of_program("sam"))
def test_every_sam_command_names_what_is_there(document: str, line: str) -> None:
    words = shlex.split(line)
    assert words[1] in ("build", "deploy", "validate", "local")
    if words[1:3] == ["local", "invoke"]:
        assert resources()[words[3]]["Type"] == "AWS::Serverless::Function"
        event = words[words.index("-e") + 1].replace(".local/sam/", "")  # what `omsync local sam` writes is named alike
        assert event.startswith("<") or (ROOT / event).is_file(), event
    if "--config-env" in words:
        assert f"[{words[words.index('--config-env') + 1]}.deploy.parameters]" in (ROOT / "samconfig.toml").read_text()


@pytest.mark.parametrize(("document", "line"), [(name, line) for name, line in MENTIONED if line.startswith("tools/")])
def test_every_tool_exists_and_can_be_run(document: str, line: str) -> None:
    tool = ROOT / line.split()[0]
    assert tool.stat().st_mode & 0o111


def test_the_shell_can_read_every_command() -> None:
    """Placeholders in angle brackets aside, nothing is misspelt for the shell."""
    lines = [re.sub(r"<[^>|]+>", "x", line) for path in OURS[:3] for line in blocks(path)]
    done = subprocess.run(["bash", "-n"], input="\n".join(lines), capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("path", OURS, ids=lambda path: path.name)
def test_every_link_and_picture_has_an_end(path: Path) -> None:
    text = path.read_text()
    headings = {
        re.sub(r"[^\w\- ]", "", line.lstrip("# ")).strip().lower().replace(" ", "-") for line in text.splitlines() if line.startswith("#")
    }
    for target in re.findall(r"\]\(([^)]+)\)", text):
        file, _, anchor = target.partition("#")
        if not file:
            assert anchor in headings, target
        elif "://" not in file:
            assert (path.parent / file).exists(), target


def test_every_dlq_and_alarm_has_an_entry_in_the_runbook() -> None:
    text = (ROOT / "docs/runbook.md").read_text()
    alarms = [name for name, resource in resources().items() if resource["Type"] == "AWS::CloudWatch::Alarm"]
    queues = [name for name, resource in resources().items() if resource["Type"] == "AWS::SQS::Queue" and name.endswith("Dlq")]
    assert [name for name in alarms if f"`{name}`" not in text] == []
    assert [name for name in queues if f"### {name}\n" not in text] == []
    entries = {entry.partition("\n")[0]: entry for entry in text.split("### ")[1:]}
    plain = {name: re.sub(r"(?<!^)([A-Z])", r"-\1", name.removesuffix("Dlq")).lower() for name in queues}
    assert [name for name in queues if f"omsync redrive {plain[name]} " not in entries[name]] == []


def test_every_secret_is_told_how_to_be_rotated() -> None:
    text = (ROOT / "docs/runbook.md").read_text()
    names = [name for name, resource in resources().items() if resource["Type"] == "AWS::SecretsManager::Secret"]
    assert [name for name in names if f"`{name}`" not in text] == []


def test_every_picture_is_of_its_source() -> None:
    done = subprocess.run([str(ROOT / "tools/render-diagrams"), "--check"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_every_guard_of_an_invariant_is_a_test() -> None:
    text = (ROOT / "docs/architecture.md").read_text()
    named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", text)
    assert len(named) >= 7
    for file, name in named:
        assert re.search(rf"^def {name}\(", (ROOT / file).read_text(), re.MULTILINE), f"{file}::{name}"


def test_the_readmes_map_names_every_folder() -> None:
    text = (ROOT / "README.md").read_text()
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()
    folders = {line.split("/")[0] for line in tracked if "/" in line and not line.startswith(".")}
    assert [folder for folder in sorted(folders) if f"`{folder}/" not in text] == []
