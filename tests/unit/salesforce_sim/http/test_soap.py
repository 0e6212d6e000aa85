"""SOAP: undelete and merge with an OAuth session; log-in is refused."""

from __future__ import annotations

from xml.etree.ElementTree import Element
from xml.sax.saxutils import escape

import pytest
from defusedxml.ElementTree import fromstring

from local.salesforce.testing import Answer
from local.salesforce.testing import TestOrg as Org

PARTNER = "{urn:partner.soap.sforce.com}"


def call(org: Org, operation: str, *, token: str | None = None) -> Answer:
    session = org.token if token is None else token
    envelope = (
        '<env:Envelope xmlns:env="http://schemas.xmlsoap.org/soap/envelope/" xmlns="urn:partner.soap.sforce.com" '
        'xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance">'
        f"<env:Header><SessionHeader><sessionId>{escape(session)}</sessionId></SessionHeader></env:Header>"
        f"<env:Body>{operation}</env:Body></env:Envelope>"
    )
    headers = {"Content-Type": "text/xml; charset=UTF-8", "SOAPAction": '""'}
    return org.call("POST", "/services/Soap/u/67.0", content=envelope.encode(), headers=headers, token="")


def results(answer: Answer) -> list[Element]:
    assert answer.status == 200, answer.text
    return list(fromstring(answer.body).iter(f"{PARTNER}result"))


def test_undelete_brings_back_a_record_with_its_children(org: Org) -> None:
    account = org.create("Account", Name="Acme")
    contact = org.create("Contact", LastName="Doe", AccountId=account)
    org.delete(f"sobjects/Account/{account}")
    found = results(call(org, f"<undelete><ids>{account}</ids><ids>{account}</ids></undelete>"))
    assert found[0].findtext(f"{PARTNER}success") == "true"
    assert found[0].findtext(f"{PARTNER}id") == account
    assert org.get(f"sobjects/Account/{account}").status == 200
    assert org.get(f"sobjects/Contact/{contact}").json()["AccountId"] == account


def test_what_is_not_in_the_bin_is_refused_by_itself(org: Org) -> None:
    account = org.create("Account", Name="Acme")
    found = results(call(org, f"<undelete><ids>{account}</ids></undelete>"))[0]
    assert found.findtext(f"{PARTNER}success") == "false"
    assert found.find(f"{PARTNER}errors/{PARTNER}statusCode") is not None


def test_merge_deletes_the_losers_and_keeps_their_children(org: Org) -> None:
    winner, loser = (org.create("Account", Name=name) for name in ("Winner", "Loser"))
    contact = org.create("Contact", LastName="Doe", AccountId=loser)
    request = (
        f'<masterRecord xsi:type="Account"><Id>{winner}</Id><Site>merged</Site></masterRecord><recordToMergeIds>{loser}</recordToMergeIds>'
    )
    found = results(call(org, f"<merge><request>{request}</request></merge>"))[0]
    assert found.findtext(f"{PARTNER}success") == "true"
    assert found.findtext(f"{PARTNER}mergedRecordIds") == loser
    assert org.get(f"sobjects/Contact/{contact}").json()["AccountId"] == winner
    gone = org.get(f"queryAll?q=SELECT MasterRecordId FROM Account WHERE Id = '{loser}'").json()["records"][0]
    assert gone["MasterRecordId"] == winner
    assert org.get(f"sobjects/Account/{winner}").json()["Site"] == "merged"


@pytest.mark.parametrize(
    ("operation", "token", "words"),
    [
        ("<login><username>a</username></login>", None, "SOAP API login() is disabled by default in this org."),
        ("<undelete/>", "nobody", "Invalid Session ID found in SessionHeader"),
        ("<emptyRecycleBin/>", None, "No operation available"),
        ("", None, "The SOAP body is empty."),
        ("<undelete", None, "not valid XML"),
    ],
)
def test_a_fault_says_why(org: Org, operation: str, token: str | None, words: str) -> None:
    answer = call(org, operation, token=token)
    assert (answer.status, answer.headers["content-type"]) == (500, "text/xml;charset=UTF-8")
    assert words in answer.text
    assert "Fault" in answer.text


def test_a_document_type_is_not_expanded(org: Org) -> None:
    bomb = b'<!DOCTYPE x [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]><x>&b;</x>'
    answer = org.call("POST", "/services/Soap/u/67.0", content=bomb, token="")
    assert "not valid XML" in answer.text
