"""Faults on demand, limits, counts and the rest of the admin API."""

from __future__ import annotations

import time

import pytest

from local.salesforce.testing import ConnectionDropped
from local.salesforce.testing import TestOrg as Org

EXCEEDED = [{"message": "TotalRequests Limit exceeded.", "errorCode": "REQUEST_LIMIT_EXCEEDED"}]


def fault(org: Org, kind: str, **more: object) -> None:
    answer = org.admin("POST", "faults", {"kind": kind, **more})
    assert answer.status == 200, answer.text


def test_a_fault_lasts_as_often_as_asked_and_where_asked(org: Org) -> None:
    fault(org, "unavailable", times=2, pattern="GET .*/limits")
    assert [org.get("limits").status for _ in range(3)] == [503, 503, 200]
    assert org.admin("GET", "faults").json() == []


def test_a_rate_strikes_some(org: Org) -> None:
    org.server.state.faults.seed(7)
    fault(org, "unavailable", rate=0.5)
    statuses = [org.get("limits").status for _ in range(40)]
    assert {200, 503} == set(statuses)


def test_a_fault_ends_with_its_time(org: Org) -> None:
    now = [100.0]
    org.server.state.faults.clock = lambda: now[0]
    fault(org, "error", seconds=10)
    assert org.get("limits").json()[0]["errorCode"] == "UNKNOWN_EXCEPTION"
    now[0] += 10
    assert org.get("limits").status == 200
    org.server.errors = 0


def test_latency_waits(org: Org) -> None:
    fault(org, "latency", delay=0.05, times=1)
    begun = time.monotonic()
    assert org.get("limits").status == 200
    assert time.monotonic() - begun >= 0.05


def test_an_expired_session_needs_a_new_log_in(org: Org) -> None:
    token = org.login_as("integration")
    fault(org, "session", times=1)
    first = org.get("limits", token=token)
    assert (first.status, first.json()[0]["errorCode"]) == (401, "INVALID_SESSION_ID")
    assert org.get("limits", token=token).status == 401
    assert org.get("limits", token=org.login_as("integration")).status == 200


def test_a_dropped_connection_has_committed(org: Org) -> None:
    fault(org, "drop", times=1, pattern="POST .*/sobjects/Account")
    with pytest.raises(ConnectionDropped):
        org.post("sobjects/Account", {"Name": "Committed"})
    assert org.get("query?q=SELECT Id FROM Account WHERE Name = 'Committed'").json()["totalSize"] == 1


def test_a_refused_connection_has_not(org: Org) -> None:
    fault(org, "refuse", times=1, pattern="POST .*/sobjects/Account")
    with pytest.raises(ConnectionDropped):
        org.post("sobjects/Account", {"Name": "Never"})
    assert org.get("query?q=SELECT Id FROM Account WHERE Name = 'Never'").json()["totalSize"] == 0


def test_a_locked_row_is_refused_and_its_neighbours_are_saved(org: Org) -> None:
    fault(org, "lock", times=1, pattern="^Account$")
    records = [{"attributes": {"type": "Account"}, "Name": name} for name in "ab"]
    results = org.post("composite/sobjects", {"records": records}).json()
    assert [item["success"] for item in results] == [False, True]
    assert results[0]["errors"][0]["statusCode"] == "UNABLE_TO_LOCK_ROW"
    fault(org, "lock", times=1)
    alone = org.post("sobjects/Account", {"Name": "c"})
    assert (alone.status, alone.json()[0]["errorCode"]) == (400, "UNABLE_TO_LOCK_ROW")
    fault(org, "lock", times=1)
    both = org.post("composite/sobjects", {"allOrNone": True, "records": records}).json()
    assert [item["errors"][0]["statusCode"] for item in both] == ["UNABLE_TO_LOCK_ROW", "ALL_OR_NONE_OPERATION_ROLLED_BACK"]


@pytest.mark.parametrize(
    ("wish", "words"),
    [
        ({"kind": "earthquake"}, "kind is 'earthquake': use one of latency"),
        ({"kind": "lock", "rate": 2}, "rate must be between 0 and 1"),
        ({"kind": "lock", "pattern": "("}, "pattern is no regular expression"),
        ({"kind": "lock", "often": 1}, "unknown: often; known are kind"),
    ],
)
def test_a_wish_that_cannot_be_met_is_explained(org: Org, wish: dict[str, object], words: str) -> None:
    answer = org.admin("POST", "faults", wish)
    assert (answer.status, words in answer.json()["error"]) == (400, True)


def test_the_daily_limit_counts_every_call_and_then_refuses(org: Org) -> None:
    assert org.get("limits").headers["sforce-limit-info"] == "api-usage=1/100000"
    org.admin("POST", "limits", {"maximum": 3})
    assert org.get("nope").headers["sforce-limit-info"] == "api-usage=2/3"
    assert org.get("limits").json()["DailyApiRequests"] == {"Max": 3, "Remaining": 0}
    refused = org.get("limits")
    assert (refused.status, refused.json()) == (403, EXCEEDED)
    assert "retry-after" not in refused.headers
    assert org.get("/services/data", token="").status == 200


def test_calls_are_free_again_after_a_day(org: Org) -> None:
    limits = org.server.state.limits
    org.admin("POST", "limits", {"maximum": 1})
    now = limits.clock()
    assert [org.get("limits").status for _ in range(2)] == [200, 403]
    limits.clock = lambda: now + 24 * 3600
    assert org.get("limits").status == 200


def test_calls_and_their_records_are_counted_by_kind(org: Org) -> None:
    org.admin("DELETE", "calls")
    org.post("composite/sobjects", {"records": [{"attributes": {"type": "Account"}, "Name": str(n)} for n in range(7)]})
    org.get("limits")
    counted = org.admin("GET", "calls").json()
    assert (counted["calls"], counted["records"]) == ({"collections.create": 1}, {"collections.create": 7})


def test_reset_is_an_org_as_on_its_first_day(org: Org) -> None:
    record_id = org.create("Account", Name="Gone")
    org.delete(f"sobjects/Account/{record_id}")
    fault(org, "unavailable")
    assert org.admin("POST", "reset", {}).status == 200
    accounts = org.get("queryAll?q=SELECT Name FROM Account").json()["records"]
    assert [record["Name"] for record in accounts] == ["Upscript Medical Group"]
    assert org.get("query?q=SELECT Id FROM Pricebook2 WHERE IsStandard = true").json()["totalSize"] == 1


def test_the_admin_api_takes_nothing_from_another_site(org: Org) -> None:
    answer = org.call("POST", "/_admin/reset", body={}, headers={"Origin": "https://evil.example"})
    assert answer.status == 403


def test_people_have_the_rights_of_their_permission_sets(org: Org) -> None:
    assert org.get("sobjects/Account/describe", token=org.login_as("coordinator")).status == 200
    users = {
        name: org.admin("POST", "login-as", {"user": name}).json()["user_id"] for name in ("admin", "integration", "load", "clinician")
    }
    granted = {name: org.server.state.granted(user_id) for name, user_id in users.items()}
    assert granted["admin"] == ("*",)
    assert granted["integration"] == ("OMSync_Integration",)
    assert "OMSync_Load" in granted["load"]
    assert granted["clinician"] == ("Clinician",)
    more = org.admin("POST", "permission-sets", {"username": "clinician@omsync.example", "name": "Care_Coordinator"}).json()
    assert more["permission_sets"] == ["Care_Coordinator", "Clinician"]
