"""The template that `sam local invoke` is given: what the running stack was deployed with, code, layers and variables.

Differences from the real one: SAM passes on only variables that a template names, and AWS_ENDPOINT_URL has no place in ours; the handler is
`inside.handler`, which lets the container reach the stack and then hands over to `app.handler`; and the layers' packages lie beside the code,
compiled, because SAM would build an image of 130 MB with every call.
"""

from __future__ import annotations

import compileall
import io
import py_compile
import shutil
import urllib.request
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from local.stack.home import Home
from ops.connections import Connections

#: where code is in the container, and the certificate authority of the Salesforce simulator
TASK = "/var/task"
_CREDENTIALS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}


def write(home: Home, connections: Connections, gate: str) -> Path:
    """Write template and code into `<home>/sam`; `gate` is the host that containers reach this machine by."""
    folder, endpoints = home.folder("sam"), home.endpoints()
    way_in = {"OMSYNC_GATE": gate, "OMSYNC_GATE_PORTS": ",".join(map(str, sorted(ports(home).values())))}
    variables = {"AWS_ENDPOINT_URL": endpoints["aws_endpoint_url"], **_CREDENTIALS, **way_in}
    deployed = functions(connections)
    code = _code(connections, deployed, folder / "code")
    shutil.copy(Path(__file__).with_name("inside.py"), code)
    shutil.copy(endpoints["salesforce_ca"], code / "ca.pem")
    resources = {name: _function(name, one["Configuration"], code, variables) for name, one in deployed.items()}
    path = folder / "template.json"
    home.write(
        path, {"AWSTemplateFormatVersion": "2010-09-09", "Transform": "AWS::Serverless-2016-10-31", "Resources": resources}, private=True
    )
    return path


def ports(home: Home) -> dict[str, int]:
    """What the stack listens on."""
    return {name: port for name, port in home.read(home.path / "ports.json").items() if isinstance(port, int)}


def functions(connections: Connections) -> dict[str, Mapping[str, Any]]:
    """Logical id -> what Lambda tells of every deployed function."""
    client = connections.client("lambda")
    found = {name: physical for name, (kind, physical) in connections.resources.items() if kind == "AWS::Lambda::Function"}
    return {name: client.get_function(FunctionName=physical) for name, physical in sorted(found.items())}


def _code(connections: Connections, deployed: Mapping[str, Mapping[str, Any]], folder: Path) -> Path:
    """All that is deployed in one folder: the layers' packages, and `functions/<logical id>/`. Kept as long as it is what is deployed."""
    client, layers = connections.client("lambda"), dict[str, Mapping[str, str]]()
    for arn in sorted({layer["Arn"] for one in deployed.values() for layer in one["Configuration"]["Layers"]}):
        layers[arn] = client.get_layer_version_by_arn(Arn=arn)["Content"]
    told = [content["CodeSha256"] for content in layers.values()] + [one["Configuration"]["CodeSha256"] for one in deployed.values()]
    mark, wanted = folder.with_suffix(".sha256"), "\n".join(told)
    if mark.exists() and mark.read_text() == wanted:
        return folder
    mark.unlink(missing_ok=True)
    shutil.rmtree(folder, ignore_errors=True)
    for content in layers.values():
        _unpack(content["Location"], folder.with_name("layer"))
        shutil.copytree(folder.with_name("layer") / "python", folder, dirs_exist_ok=True)
        shutil.rmtree(folder.with_name("layer"))
    for name, one in deployed.items():
        _unpack(one["Code"]["Location"], folder / "functions" / name)
    compileall.compile_dir(folder, quiet=2, invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH)
    mark.write_text(wanted)
    return folder


def _unpack(url: str, folder: Path) -> None:
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(url, timeout=60) as answer:
        zipfile.ZipFile(io.BytesIO(answer.read())).extractall(folder)


def _function(name: str, told: Mapping[str, Any], code: Path, variables: Mapping[str, str]) -> dict[str, Any]:
    own = dict(told["Environment"]["Variables"]) | {"OMSYNC_FUNCTION": f"{TASK}/functions/{name}"}
    if own.get("SALESFORCE_CA"):
        own["SALESFORCE_CA"] = f"{TASK}/ca.pem"
    properties = {
        "CodeUri": str(code),
        "Handler": "inside.handler",
        "Runtime": told["Runtime"],
        "Architectures": ["x86_64"],
        "MemorySize": told["MemorySize"],
        "Timeout": told["Timeout"],
        "Environment": {"Variables": own | variables},
    }
    return {"Type": "AWS::Serverless::Function", "Properties": properties}
