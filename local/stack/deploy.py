"""`sam build` and `sam deploy` of the project's template into the embedded AWS, only when the sources have changed.

A build is cached by the hash over everything that goes into it; the same hash is the template's BuildId, which the deployed stack tells.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

from local.stack.home import ROOT, Home, StackFault

if TYPE_CHECKING:
    from mypy_boto3_cloudformation import CloudFormationClient

REGION = "us-east-1"
STACK = "omsync-local"

#: What a build is made of.
_SOURCES = ("template.yaml", "samconfig.toml", "emails", "functions", "layers", "statemachines")
_KEPT_BUILDS = 3
_CREDENTIALS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_DEFAULT_REGION": REGION}


@dataclass(frozen=True, slots=True)
class Aws:
    """The embedded AWS at `url`."""

    url: str

    def client(self, service: str) -> Any:
        """A boto3 client of it."""
        config = Config(connect_timeout=5, read_timeout=60, retries={"total_max_attempts": 2}, s3={"addressing_style": "path"})
        return boto3.client(
            service,  # type: ignore[call-overload]
            endpoint_url=self.url,
            region_name=REGION,
            aws_access_key_id="test",
            aws_secret_access_key="test",
            config=config,
        )


def build_id() -> str:
    """SHA-256 over the sources' paths and contents, and the Python that they are built for."""
    digest = hashlib.sha256(f"{sys.version_info[:2]}".encode())
    for path in sorted(_files()):
        digest.update(f"\0{path.relative_to(ROOT)}\0".encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _files() -> list[Path]:
    found: list[Path] = []
    for source in _SOURCES:
        path = ROOT / source
        found += [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
    return [file for file in found if "__pycache__" not in file.parts and file.suffix != ".pyc"]


def build(home: Home, build_id: str) -> Path:
    """The built template of these sources; at most one build at a time."""
    folder = home.cache / "builds" / build_id[:20]
    folder.parent.mkdir(parents=True, exist_ok=True)
    with (home.cache / "builds.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "template.yaml").exists():
            draft = folder.with_name(f"{folder.name}.draft")
            shutil.rmtree(draft, ignore_errors=True)
            _sam(home, "build", "--config-env", "local", "--cached", "--cache-dir", str(home.cache / "sam"), "--build-dir", str(draft))
            draft.rename(folder)
        os.utime(folder)
        _forget_old(folder.parent)
    return folder / "template.yaml"


def _forget_old(folder: Path) -> None:
    builds = sorted((path for path in folder.iterdir() if path.is_dir()), key=lambda path: path.stat().st_mtime)
    for path in builds[:-_KEPT_BUILDS]:
        shutil.rmtree(path, ignore_errors=True)


def deployed(aws: Aws) -> dict[str, str]:
    """The parameters the stack was last deployed with; empty if there is none, or the deployment was not finished."""
    cloudformation: CloudFormationClient = aws.client("cloudformation")
    try:
        stack = cloudformation.describe_stacks(StackName=STACK)["Stacks"][0]
    except ClientError:
        return {}
    if stack["StackStatus"] not in ("CREATE_COMPLETE", "UPDATE_COMPLETE"):
        return {}
    return {parameter["ParameterKey"]: parameter["ParameterValue"] for parameter in stack.get("Parameters", [])}


def outputs(aws: Aws) -> dict[str, str]:
    """What the stack tells."""
    stack = aws.client("cloudformation").describe_stacks(StackName=STACK)["Stacks"][0]
    return {output["OutputKey"]: output["OutputValue"] for output in stack.get("Outputs", [])}


def deploy(home: Home, aws: Aws, template: Path, parameters: Mapping[str, str]) -> bool:
    """Deploy unless the stack already has these parameters, the build's id among them; True if it did."""
    wanted = _static_parameters() | dict(parameters)
    if wanted.items() <= deployed(aws).items():
        return False
    bucket = _settings()["s3_bucket"]
    s3 = aws.client("s3")
    if bucket not in {entry["Name"] for entry in s3.list_buckets()["Buckets"]}:
        s3.create_bucket(Bucket=bucket)
    overrides = [f"{name}={value}" for name, value in wanted.items() if value]
    _sam(
        home,
        *("deploy", "--config-file", str(ROOT / "samconfig.toml"), "--config-env", "local", "--template-file", str(template)),
        *("--parameter-overrides", *overrides),
        endpoint=aws.url,
    )
    if not wanted.items() <= deployed(aws).items():
        raise StackFault(
            f"the deployment did not succeed; the end of {home.log('sam-deploy')}:\n{home.log('sam-deploy').read_text()[-3000:]}"
        )
    return True


def _settings() -> dict[str, Any]:
    with (ROOT / "samconfig.toml").open("rb") as config:
        return dict(tomllib.load(config)["local"]["deploy"]["parameters"])


def _static_parameters() -> dict[str, str]:
    pairs = (override.partition("=") for override in _settings()["parameter_overrides"])
    return {name: value for name, _, value in pairs}


def _sam(home: Home, command: str, *arguments: str, endpoint: str | None = None) -> None:
    """Run sam with this Python first on PATH (a shim of an inactive version would stop it); its output goes to a log."""
    path = os.pathsep.join([str(Path(sys.executable).parent), str(Path(sys.base_prefix) / "bin"), os.environ.get("PATH", "")])
    environment = {
        **os.environ,
        **_CREDENTIALS,
        "PATH": path,
        "SAM_CLI_TELEMETRY": "0",
        "SAM_CLI_POLL_DELAY": "0.5",
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
    }
    if endpoint:
        environment["AWS_ENDPOINT_URL"] = endpoint
    log = home.log(f"sam-{command}")
    with log.open("wb") as out:
        sam = str(Path(sys.executable).with_name("sam"))
        code = subprocess.run(
            [sam, command, *arguments], cwd=ROOT, env=environment, stdin=subprocess.DEVNULL, stdout=out, stderr=out, check=False
        )
    if code.returncode:
        text = log.read_text(errors="replace").replace("\r", "\n")
        end = "\n".join(f"  | {line}" for line in text.splitlines()[-15:])
        raise StackFault(f"sam {command} failed; the end of {log}:\n{end}")
