"""The demo's commands: their output is told, their failure is a fault, and none outlives the demo."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from local.demo.children import Children
from local.stack.home import StackFault


def test_a_command_is_told_line_by_line(tmp_path: Path) -> None:
    told: list[str] = []
    output = Children(tmp_path).omsync("--help", told=told.append)
    assert any("demo" in line for line in told)
    assert output.startswith("Usage: omsync")


def test_a_failed_command_is_a_fault_with_its_last_lines(tmp_path: Path) -> None:
    with pytest.raises(StackFault, match="no-such-command"):
        Children(tmp_path).omsync("no-such-command")


def test_a_command_ends_with_its_block(tmp_path: Path) -> None:
    children = Children(tmp_path)
    with children.start("local", "clock", "list") as process:
        assert os.getpgid(process.pid) == process.pid  # Ctrl-C in a terminal does not reach it
    assert process.poll() is not None
