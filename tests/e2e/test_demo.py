"""The demo as somebody runs it, in its shorter variant: every promise kept, and what it wrote; interrupted, it leaves nothing."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from local.stack.home import ROOT
from tests.e2e.conftest import own_home
from tests.e2e.test_stack import processes_of

#: after so many seconds it hangs; how fast it is, `make demo` tells
HANGS = 1000

pytestmark = [pytest.mark.e2e, pytest.mark.long, pytest.mark.timeout(HANGS + 180)]

type Demo = tuple[subprocess.Popen[str], Path]


@pytest.fixture
def demo() -> Iterator[Demo]:
    """`omsync demo --quick` in a process group of its own, as in a terminal, and where it writes. Whoever gives up on it, it is ended."""
    environment = {**os.environ, "PYTHONPATH": f"{ROOT / 'layers' / 'omsync'}{os.pathsep}{ROOT}"}
    with own_home() as folder:
        out = folder / "demo"
        command = [sys.executable, "-m", "ops.main", "demo", "--quick", "--out", str(out)]
        process = subprocess.Popen(
            command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
        )
        try:
            yield process, out
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGINT)
                process.communicate(timeout=150)


def test_every_promise_is_kept_and_told(demo: Demo) -> None:
    process, out = demo
    told, _ = process.communicate(timeout=HANGS)
    assert process.returncode == 0, told
    summary = json.loads((out / "summary.json").read_text())
    assert summary["promises_broken"] == []
    assert len(summary["sync"]["oms_to_salesforce_seconds"]) > 20
    assert len(summary["sync"]["salesforce_to_oms_seconds"]) > 3
    assert summary["sync"]["conflicts"] == 1
    assert (summary["outage"]["lost"], summary["outage"]["dlq"]) == (0, 0)
    assert summary["compared"]["different"] == 0
    assert summary["compared"]["values"] > 1000
    page = (out / "index.html").read_text()
    assert "every promise was kept" in page
    assert "Maya Whitfield" in page
    assert processes_of(out) == []


#: lines of the demo; after each it is interrupted
MOMENTS = ["The embedded stack comes up", "aws", "Four runs migrate it", "Salesforce goes away"]


@pytest.mark.parametrize("moment", MOMENTS)
def test_interrupted_it_leaves_nothing(demo: Demo, moment: str) -> None:
    process, out = demo
    assert process.stdout is not None
    told = []
    for line in process.stdout:
        told.append(line)
        if line.strip().startswith(moment):
            break
    os.killpg(process.pid, signal.SIGINT)
    rest, _ = process.communicate(timeout=120)
    assert process.returncode == 130, "".join([*told, rest])
    assert "Traceback" not in rest
    assert processes_of(out) == []
    assert not (out / "summary.json").exists()
