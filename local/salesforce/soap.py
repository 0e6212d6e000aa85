"""The SOAP API's few calls that REST lacks: undelete and merge, with an OAuth session. Login is refused, as new orgs do.

Source: "undelete()", "merge()", "login()" (SOAP API Developer Guide). Partner (`/u/`) and enterprise (`/c/`) endpoints answer
alike. A SOAP fault is HTTP 500 by the protocol, whatever went wrong.
"""

from __future__ import annotations

from dataclasses import dataclass
from xml.etree.ElementTree import Element, ParseError
from xml.sax.saxutils import escape

from defusedxml import DefusedXmlException
from defusedxml.ElementTree import fromstring

from local.salesforce.auth import Session
from local.salesforce.context import Surface
from local.salesforce.dml_types import Error, Json, Result
from local.salesforce.rest.http import Request, Response, Route
from local.salesforce.rest.state import OrgState

MOST_RECORDS = 200
_ENVELOPE = "http://schemas.xmlsoap.org/soap/envelope/"
_XSI = "http://www.w3.org/2001/XMLSchema-instance"
_CONTENT_TYPE = "text/xml;charset=UTF-8"
LOGIN_REFUSED = "SOAP API login() is disabled by default in this org."


class Fault(Exception):
    """A SOAP fault. `kind` is its detail's type."""

    def __init__(self, code: str, message: str, kind: str = "UnexpectedErrorFault") -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.kind = kind


@dataclass
class Soap:
    """Handlers under `/services/Soap`."""

    state: OrgState

    def routes(self) -> list[Route]:
        patterns = [f"/services/Soap/{kind}/{{version}}{tail}" for kind in ("u", "c") for tail in ("", "/{org}")]
        return [Route("POST", pattern, self.call, auth=False, counts=False) for pattern in patterns]

    def call(self, request: Request) -> Response:
        flavour = "enterprise" if "/soap/c/" in request.path.lower() else "partner"
        try:
            operation, header = _parse(request.body)
            name = _local(operation)
            if name == "login":
                raise Fault("INVALID_OPERATION", LOGIN_REFUSED, "LoginFault")
            self._authenticate(request, header)
            body = self._dispatch(request, name, operation)
        except Fault as fault:
            return Response(500, _fault(fault, flavour), {"Content-Type": _CONTENT_TYPE})
        limits = self.state.limits
        usage = f"<current>{limits.used()}</current><limit>{limits.maxima['DailyApiRequests']}</limit><type>API REQUESTS</type>"
        envelope = (
            f'<?xml version="1.0" encoding="UTF-8"?><soapenv:Envelope xmlns:soapenv="{_ENVELOPE}" '
            f'xmlns="urn:{flavour}.soap.sforce.com" xmlns:xsi="{_XSI}"><soapenv:Header><LimitInfoHeader><limitInfo>{usage}</limitInfo>'
            f"</LimitInfoHeader></soapenv:Header><soapenv:Body>{body}</soapenv:Body></soapenv:Envelope>"
        )
        return Response(200, envelope, {"Content-Type": _CONTENT_TYPE})

    def _authenticate(self, request: Request, header: Element | None) -> None:
        """The session of the SessionHeader, charged for one API call."""
        token = _text(_find(header, "sessionId")) if header is not None else ""
        session: Session | None = self.state.authority.session(token)
        if session is None:
            raise Fault(
                "INVALID_SESSION_ID", "Invalid Session ID found in SessionHeader: Illegal Session. Session not found, missing session hash"
            )
        request.session = session
        if not self.state.limits.take():
            raise Fault("REQUEST_LIMIT_EXCEEDED", "TotalRequests Limit exceeded.", "ApiFault")

    def _dispatch(self, request: Request, name: str, operation: Element) -> str:
        if name == "undelete":
            return self._undelete(request, operation)
        if name == "merge":
            return self._merge(request, operation)
        raise Fault("INVALID_OPERATION", f"No operation available for request {{urn:partner.soap.sforce.com}}{escape(name)}", "ApiFault")

    def _undelete(self, request: Request, operation: Element) -> str:
        ids = [_text(child) for child in operation if _local(child) == "ids"]
        if len(ids) > MOST_RECORDS:
            raise Fault("EXCEEDED_ID_LIMIT", f"record limit reached. cannot submit more than {MOST_RECORDS} records into this call")
        self.state.calls.note("soap.undelete", len(ids))
        results = self.state.store.undelete(ids, self.state.context(request, surface=Surface.SOAP))
        return f"<undeleteResponse>{''.join(_result(result) for result in results)}</undeleteResponse>"

    def _merge(self, request: Request, operation: Element) -> str:
        answers: list[str] = []
        for item in (child for child in operation if _local(child) == "request"):
            answers.append(self._merge_one(request, item))
        self.state.calls.note("soap.merge", len(answers))
        return f"<mergeResponse>{''.join(answers)}</mergeResponse>"

    def _merge_one(self, request: Request, item: Element) -> str:
        master = _find(item, "masterRecord")
        losers = [_text(child) for child in item if _local(child) == "recordToMergeIds"]
        fields = _record(master) if master is not None else {}
        kind = str(fields.pop("type", ""))
        obj = self.state.org.object(kind)
        if obj is None or not obj.mergeable:
            raise Fault("INVALID_TYPE", f"sObject type '{escape(kind)}' can't be merged", "InvalidSObjectFault")
        result = self.state.store.merge(obj.name, fields, losers, self.state.context(request, surface=Surface.SOAP))
        merged = "".join(f"<mergedRecordIds>{escape(loser)}</mergedRecordIds>" for loser in losers) if result.success else ""
        return _result(result, merged)


# -- XML in --------------------------------------------------------------------------------------------------------------


def _parse(body: bytes) -> tuple[Element, Element | None]:
    """The operation element and the SOAP header."""
    try:
        envelope = fromstring(body, forbid_dtd=True)
    except (ParseError, DefusedXmlException, ValueError, LookupError) as error:
        raise Fault("UNKNOWN_EXCEPTION", f"The request is not valid XML: {escape(type(error).__name__)}") from None
    inside = _find(envelope, "Body")
    if inside is None or len(inside) == 0:
        raise Fault("UNKNOWN_EXCEPTION", "The SOAP body is empty.")
    return inside[0], _find(envelope, "Header")


def _local(element: Element) -> str:
    tag = element.tag
    return tag.rpartition("}")[2] if isinstance(tag, str) else ""


def _find(element: Element | None, name: str) -> Element | None:
    """The first descendant of this local name."""
    if element is None:
        return None
    return next((found for found in element.iter() if found is not element and _local(found) == name), None)


def _text(element: Element | None) -> str:
    return (element.text or "").strip() if element is not None else ""


def _record(element: Element) -> dict[str, Json]:
    """An sObject's fields; `fieldsToNull` become None, `xsi:type="urn:Account"` the type."""
    fields: dict[str, Json] = {}
    kind = element.get(f"{{{_XSI}}}type")
    if kind:
        fields["type"] = kind.rpartition(":")[2]
    for child in element:
        name = _local(child)
        if name == "fieldsToNull":
            fields[_text(child)] = None
        elif name and name != "Id":
            fields[name] = _text(child)
        elif name == "Id" and _text(child):
            fields["Id"] = _text(child)
    return fields


# -- XML out -------------------------------------------------------------------------------------------------------------


def _result(result: Result, extra: str = "") -> str:
    errors = "".join(_error(error) for error in result.errors)
    record_id = f"<id>{escape(result.id)}</id>" if result.id and result.success else '<id xsi:nil="true"/>'
    return f"<result>{errors}{record_id}{extra}<success>{str(result.success).lower()}</success></result>"


def _error(error: Error) -> str:
    fields = "".join(f"<fields>{escape(name)}</fields>" for name in error.fields or ())
    return f"<errors>{fields}<message>{escape(error.message)}</message><statusCode>{escape(error.status_code)}</statusCode></errors>"


def _fault(fault: Fault, flavour: str) -> str:
    code, message = escape(fault.code), escape(fault.message)
    kind = f"sf:{fault.kind}"
    return (
        f'<?xml version="1.0" encoding="UTF-8"?><soapenv:Envelope xmlns:soapenv="{_ENVELOPE}" '
        f'xmlns:sf="urn:fault.{flavour}.soap.sforce.com" xmlns:xsi="{_XSI}"><soapenv:Body><soapenv:Fault>'
        f"<faultcode>sf:{code}</faultcode><faultstring>{code}: {message}</faultstring>"
        f'<detail><{kind} xsi:type="{kind}"><sf:exceptionCode>{code}</sf:exceptionCode>'
        f"<sf:exceptionMessage>{message}</sf:exceptionMessage></{kind}></detail></soapenv:Fault></soapenv:Body></soapenv:Envelope>"
    )
