"""Garbage at every route: whatever comes in, what goes out is an answer in Salesforce's words, never a 500.

SOAP faults are HTTP 500 by the protocol; there the server's own count of unforeseen exceptions decides.
More examples by hand: `OMSYNC_FUZZ=20000 pytest tests/unit/salesforce_sim/http/test_fuzz.py --timeout 3600`.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from local.salesforce.schema import Org as Schema
from local.salesforce.testing import TestOrg as Org
from local.salesforce.testing import open_org

EXAMPLES = int(os.environ.get("OMSYNC_FUZZ", "500"))
METADATA = Path(__file__).parents[4] / "salesforce"
METHODS = ("GET", "POST", "PATCH", "PUT", "DELETE", "HEAD")
VERSIONS = ("v67.0",) * 6 + ("v45.0", "v99.0", "x")

IDS = """001Om0000000001IAA 001Om0000000001 001Om0000000001IAB 005Om0000000001IAA 750Om0000000001IAA
01gOm0000000001IAA-2000 x""".split()  # noqa: SIM905
WORDS = """Account account Contact Order Case EmailMessage Clinical_Note__c Record_Changed__e Organization Nope
Id Name OMS_Id__c PersonEmail AccountId OMS_Version__c Sync_Save__c CreatedDate BillingAddress ToIds Account.Name a,b
describe jobs ingest query batches updated deleted null true 0 -1 1e400 2026-01-01T00:00:00Z 2026-01-01
9999-12-31T23:59:59.999Z 0001-01-01T00:00:00+14:00 JobComplete Aborted upsert @{a.id} @{a.b[0].c} ../.. %2F ' " \\""".split()  # noqa: SIM905
PHRASES = (
    "SELECT Id FROM Account",
    "SELECT Id, (SELECT Id FROM Contacts) FROM Account WHERE Name LIKE '%a' ORDER BY Id LIMIT 5",
    "SELECT FIELDS(ALL) FROM Case",
    "SELECT COUNT(Id), Name FROM Account GROUP BY Name HAVING COUNT(Id) > 1",
    "FIND {ab} RETURNING Account(Id, Name)",
    "FIND {",
    "\x00",
    "\u2028",
    "\U0001f600",
)
KEYS = """attributes type referenceId records allOrNone ids fields compositeRequest method url body httpHeaders batchRequests
richInput graphs graphId object operation state query externalIdFieldName contentType lineEnding columnDelimiter Name LastName Id
OMS_Id__c Contacts Patient__r AccountId RecordTypeId collateSubrequests kind client_id public_key users name user username mode
delays haltOnError""".split()  # noqa: SIM905
FIELDS = "Name LastName AccountId OMS_Id__c CreatedDate NumberOfEmployees PersonEmail IsActive Parent BillingCity".split()  # noqa: SIM905
PARAMETERS = """q fields ids start end explain columns sObjects allOrNone locator maxRecords updateOnly _HttpMethod after type
isPkChunkingEnabled""".split()  # noqa: SIM905
HEADERS = """content-type content-encoding accept accept-encoding if-match if-none-match if-modified-since if-unmodified-since
sforce-call-options sforce-query-options sforce-auto-assign cookie origin authorization""".split()  # noqa: SIM905
VALUES = (
    "application/json",
    "text/csv",
    "multipart/form-data; boundary=x",
    "gzip",
    "Sat, 1 Jan 2000 00:00:01 GMT",
    "batchSize=200",
    '"x"',
    "*",
)
RAW = (
    b"{}",
    b"[]",
    b"null",
    b'"',
    b"Name,OMS_Id__c\nx,1\n",
    b"\xef\xbb\xbf{}",
    b"grant_type=password",
    b"user=admin&back=//x",
    b"\xff\xfe",
)

text = st.one_of(st.sampled_from((*WORDS, *IDS, *PHRASES)), st.text(max_size=20))
scalar = st.one_of(text, st.sampled_from((None, True, False, 0, -1, 2**63, 10**30, 1e308, 0.1, "")))
fields = st.dictionaries(st.sampled_from(FIELDS), scalar, max_size=3)
value = st.recursive(
    scalar,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.one_of(st.sampled_from(KEYS), text), inner, max_size=4)),
    max_leaves=12,
)
record = st.builds(lambda kind, rest: {"attributes": {"type": kind, "referenceId": "r"}, **rest}, text, fields)
url = st.builds("/services/data/v67.0/{}/{}/{}".format, st.sampled_from(("sobjects", "query", "composite", "limits", "x")), text, text)
sub = st.fixed_dictionaries(
    {"method": st.sampled_from((*METHODS, "x")), "referenceId": st.sampled_from(("a", "b", "c", "")), "url": url},
    optional={"body": value, "httpHeaders": value},
)
subs = st.lists(sub, max_size=3)
document = st.one_of(
    value,
    fields,
    st.fixed_dictionaries({"records": st.lists(record, max_size=3), "allOrNone": st.booleans()}),
    st.fixed_dictionaries({"compositeRequest": subs, "allOrNone": st.booleans(), "collateSubrequests": st.booleans()}),
    st.fixed_dictionaries({"graphs": st.lists(st.fixed_dictionaries({"graphId": text, "compositeRequest": subs}), max_size=2)}),
    st.fixed_dictionaries({"batchRequests": st.lists(sub, max_size=3)}),
    st.fixed_dictionaries({"object": text, "operation": st.sampled_from(("insert", "upsert", "query", "x"))}, optional={"query": text}),
)
soap = text.map(lambda found: f"<E xmlns='x'><Header/><Body><undelete><ids>{found}</ids></undelete></Body></E>".encode("utf-8", "replace"))
body = st.one_of(document.map(lambda found: json.dumps(found).encode()), st.sampled_from(RAW), st.binary(max_size=40), soap, st.none())
query = st.dictionaries(st.sampled_from(PARAMETERS), text, max_size=3)
headers = st.dictionaries(
    st.sampled_from(HEADERS), st.one_of(st.sampled_from(VALUES), st.text(max_size=20).filter(str.isprintable)), max_size=2
)


@pytest.fixture(scope="module")
def org(tmp_path_factory: pytest.TempPathFactory, template: Path, schema: Schema) -> Iterator[Org]:
    """One org for all: what one example leaves behind is garbage for the next."""
    home = shutil.copytree(template, tmp_path_factory.mktemp("fuzz") / "org")
    with open_org(home, [METADATA], org=schema) as opened:
        yield opened


def path_of(pattern: str, draw: st.DataObject) -> str:
    """The pattern with garbage in its parameters, now and then bent."""
    segment = st.one_of(st.sampled_from((*IDS, *WORDS[:22])), text)
    path = pattern.replace("{version}", draw.draw(st.sampled_from(VERSIONS)))
    path = re.sub(r"\{[^}]*\}", lambda _: draw.draw(segment).replace("/", "%2F").replace("?", ""), path)
    return path + draw.draw(st.sampled_from(("", "", "", "", "/", "//", "/x", "%00")))


@pytest.mark.timeout(600)
@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck), database=None)
@given(draw=st.data())
def test_no_garbage_makes_a_500(org: Org, draw: st.DataObject) -> None:
    route = draw.draw(st.sampled_from(org.server.router.routes))
    method = draw.draw(st.sampled_from((route.method, route.method, route.method, *METHODS)))
    path = path_of(route.pattern, draw)
    if re.search("_admin/(faults|limits|reset|sessions)", path):  # what these do would show in every later answer
        method = "GET"
    sent = draw.draw(body)
    answer = org.call(method, path, content=sent, params=draw.draw(query), headers=draw.draw(headers))
    what = f"{method} {path} {sent!r}: {answer.status} {answer.body[:300]!r}"
    assert org.server.errors == 0, what
    if answer.status == 500:
        assert b":Fault>" in answer.body, what
    if path.startswith("/services/data/") and answer.status >= 400 and answer.body and method != "HEAD":
        errors = answer.json()
        assert isinstance(errors, dict) or all({"message", "errorCode"} <= set(error) for error in errors), what
