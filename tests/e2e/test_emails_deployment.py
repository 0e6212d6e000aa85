"""A template that SES cannot render stops the deployment that brings it, on the whole stack."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from local.stack.home import ROOT
from tests.e2e.conftest import own_home

pytestmark = [pytest.mark.e2e, pytest.mark.long, pytest.mark.timeout(600)]

NOT_COPIED = shutil.ignore_patterns(".git", ".venv", ".local", ".aws-sam", ".*_cache", ".hypothesis", "__pycache__", "docs", "tests")


def up(checkout: Path, home: Path, command: str = "up") -> subprocess.CompletedProcess[str]:
    """`omsync local up` of another checkout, with this one's packages."""
    environment = {
        **os.environ,
        "OMSYNC_HOME": str(home),
        "OMSYNC_CACHE": os.environ.get("OMSYNC_CACHE", str(ROOT / ".local" / "cache")),
        "PYTHONPATH": f"{checkout / 'layers' / 'omsync'}{os.pathsep}{checkout}",
    }
    arguments = [sys.executable, "-m", "ops.main", "local", command]
    return subprocess.run(arguments, cwd=checkout, env=environment, capture_output=True, text=True, check=False, timeout=400)


def test_a_template_that_does_not_render_stops_the_deployment() -> None:
    with own_home() as home:
        checkout = home / "checkout"
        shutil.copytree(ROOT, checkout, ignore=NOT_COPIED)
        text = checkout / "layers" / "omsync" / "omsync" / "emails" / "built" / "en" / "order-shipped.txt"
        text.write_text(text.read_text().replace("Carrier: {{carrier}}", "Carrier: {{courier}}"))
        told = up(checkout, home)
        try:
            assert told.returncode != 0, told.stdout
            assert "CREATE_FAILED" in told.stderr
            reasons = (home / "logs" / "aws.log").read_text()
            assert "order-shipped: the data is without courier" in reasons, told.stderr
            deployed = re.sub(r"\s|\|", "", (home / "logs" / "sam-deploy.log").read_text())  # a table, whose cells are wrapped
            assert "CREATE_FAILEDCustom::EmailTemplatesEmailTemplates" in deployed, deployed[-3000:]
        finally:
            up(checkout, home, "down")
