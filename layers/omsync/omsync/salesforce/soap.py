"""Undelete, which REST does not have: SOAP's `undelete` with the OAuth session.

Source: "undelete()" (SOAP API Developer Guide).
"""

from __future__ import annotations

from collections.abc import Sequence
from xml.etree.ElementTree import Element
from xml.sax.saxutils import escape

from defusedxml import ElementTree

from omsync.platform.errors import OmsyncError
from omsync.salesforce.client import API_VERSION, SalesforceClient
from omsync.salesforce.errors import translate

_PARTNER = "{urn:partner.soap.sforce.com}"


def undelete(client: SalesforceClient, ids: Sequence[str]) -> list[OmsyncError | None]:
    """Bring records back from the recycle bin (at most 200); None for each that lives again, else why not."""
    body = "".join(f"<ids>{escape(one)}</ids>" for one in ids)
    envelope = (
        '<?xml version="1.0" encoding="UTF-8"?>'
        '<env:Envelope xmlns:env="http://schemas.xmlsoap.org/soap/envelope/" xmlns="urn:partner.soap.sforce.com">'
        f"<env:Header><SessionHeader><sessionId>{escape(client.tokens.token())}</sessionId></SessionHeader>"
        "<CallOptions><client>omsync</client></CallOptions></env:Header>"
        f"<env:Body><undelete>{body}</undelete></env:Body></env:Envelope>"
    )
    response = client.send(
        "POST",
        f"/services/Soap/u/{API_VERSION}",
        repeatable=True,
        headers={"Content-Type": "text/xml; charset=UTF-8", "SOAPAction": '""'},
        data=envelope.encode(),
    )
    return [_result(node) for node in ElementTree.fromstring(response.content).iter(f"{_PARTNER}result")]


def _result(node: Element) -> OmsyncError | None:
    if node.findtext(f"{_PARTNER}success") == "true":
        return None
    fault = node.find(f"{_PARTNER}errors")
    code = fault.findtext(f"{_PARTNER}statusCode") if fault is not None else None
    return translate(code or "UNKNOWN")
