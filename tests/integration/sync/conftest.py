"""Both real systems: the reference OMS on its database, and the Salesforce simulator with the project's metadata."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
import requests

ROOT = Path(__file__).parents[3]


def _by_path(name: str, path: Path) -> ModuleType:
    """A module beside other tests."""
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


_oms = _by_path("omsync_integration_oms", ROOT / "tests" / "integration" / "oms" / "conftest.py")
postgres, oms = _oms.postgres, _oms.oms


class Simulator:
    """The simulator as a process of its own."""

    def __init__(self, url: str) -> None:
        self.url = url

    def admin(self, path: str, body: object) -> dict[str, str]:
        answer = requests.post(f"{self.url}/_admin/{path}", json=body, timeout=30)
        assert answer.status_code == 200, answer.text
        return dict(answer.json())


@pytest.fixture(scope="session")
def simulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Simulator]:
    folder = tmp_path_factory.mktemp("simulator")
    command = [sys.executable, "-m", "local.salesforce", "--home", str(folder / "org"), "--metadata", str(ROOT / "salesforce")]
    with (folder / "log").open("w") as log, subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True, cwd=ROOT) as process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            assert line, (folder / "log").read_text()
            yield Simulator(json.loads(Path(json.loads(line)["session"]).read_text())["instance_url"])
        finally:
            process.terminate()
            assert process.wait(timeout=30) == 0
