"""The templates' custom resource: all written and tried, at SES's pace; one that is not right fails the deployment, and CloudFormation always hears."""

from __future__ import annotations

import io
import json
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from email.message import EmailMessage
from types import SimpleNamespace

import pytest
from botocore.exceptions import ClientError, ReadTimeoutError

from omsync.emails.compose import Template, render, templates
from omsync.emails.flows import COUNT
from omsync.emails.provision import Provisioner
from omsync.platform import aws, bootstrap_emails
from omsync.platform.errors import Permanent
from tests.unit.emails.world import FLOWS

KNOWN = templates(list(FLOWS))


class NotFound(ClientError):
    def __init__(self) -> None:
        super().__init__({"Error": {"Code": "NotFoundException", "Message": "no such template"}}, "UpdateEmailTemplate")


@dataclass
class FakeSes:
    """Stored templates, rendered into MIME as SES does: its parts encoded, so that no `{{` can be seen in the raw message."""

    stored: dict[str, dict[str, str]] = field(default_factory=dict)
    log: list[str] = field(default_factory=list)
    fault: Exception | None = None
    exceptions = SimpleNamespace(NotFoundException=NotFound)

    def create_email_template(self, *, TemplateName: str, TemplateContent: dict[str, str]) -> None:  # noqa: N803
        self.log.append("call")
        assert TemplateName not in self.stored
        self.stored[TemplateName] = TemplateContent

    def update_email_template(self, *, TemplateName: str, TemplateContent: dict[str, str]) -> None:  # noqa: N803
        self.log.append("call")
        if self.fault is not None:
            raise self.fault
        if TemplateName not in self.stored:
            raise NotFound
        self.stored[TemplateName] = TemplateContent

    def delete_email_template(self, *, TemplateName: str) -> None:  # noqa: N803
        self.log.append("call")
        if self.stored.pop(TemplateName, None) is None:
            raise NotFound

    def test_render_email_template(self, *, TemplateName: str, TemplateData: str) -> dict[str, str]:  # noqa: N803
        self.log.append("call")
        data, stored = json.loads(TemplateData), self.stored[TemplateName]
        message = EmailMessage()
        message["Subject"] = render(stored["Subject"], data)
        message.set_content(render(stored["Text"], data), cte="base64")
        message.add_alternative(render(stored["Html"], data), subtype="html", cte="quoted-printable")
        return {"RenderedTemplate": message.as_string()}


def provisioner(ses: FakeSes) -> Provisioner:
    return Provisioner(ses, "live", lambda: ses.log.append("pace"))  # type: ignore[arg-type]


def test_all_are_created_then_updated_and_tried_one_call_at_a_time() -> None:
    ses = FakeSes()
    assert provisioner(ses).deploy(KNOWN) == len(KNOWN) == COUNT
    assert set(ses.stored) == {f"live-en-{flow.flow}" for flow in FLOWS}
    assert ses.log == ["call", "pace"] * (3 * COUNT), "update, create, try; never two calls at once"
    ses.log = []
    provisioner(ses).deploy(KNOWN)
    assert ses.log == ["call", "pace"] * (2 * COUNT)


@pytest.mark.parametrize(
    "broken",
    [
        lambda it: replace(it, text=it.text + "{{#if late}}"),
        lambda it: replace(it, html=it.html + "{{ unknown.thing }}"),
        lambda it: replace(it, html=it.html + "{{unknown}}"),
        lambda it: replace(it, sample={**it.sample, "surplus": "x"}),
        lambda it: replace(it, sample={name: value for name, value in it.sample.items() if name != "name"}),
    ],
    ids=["a branch left", "no plain variable", "an unknown variable", "surplus data", "missing data"],
)
def test_one_that_does_not_render_is_named(broken: Callable[[Template], Template]) -> None:
    with pytest.raises(Permanent, match=KNOWN[3].flow):
        provisioner(FakeSes()).deploy([*KNOWN[:3], broken(KNOWN[3]), *KNOWN[4:]])


def test_all_are_removed_whatever_is_missing() -> None:
    ses = FakeSes()
    provisioner(ses).deploy(KNOWN[:2])
    provisioner(ses).remove(KNOWN)
    assert ses.stored == {}


# ------------------------------------------------------------------------------------------------------ towards CloudFormation
@pytest.mark.parametrize(
    ("kind", "fault", "status", "reason"),
    [
        ("Create", None, "SUCCESS", f"{COUNT} templates"),
        ("Update", None, "SUCCESS", f"{COUNT} templates"),
        ("Delete", None, "SUCCESS", ""),
        (
            "Create",
            ClientError({"Error": {"Code": "LimitExceededException", "Message": "too many"}}, "x"),
            "FAILED",
            "LimitExceededException",
        ),
        ("Create", ReadTimeoutError(endpoint_url="x"), "FAILED", "ReadTimeoutError"),
        ("Create", KeyError("what nobody thought of"), "FAILED", "unexpected KeyError"),
    ],
)
def test_cloudformation_always_hears(monkeypatch: pytest.MonkeyPatch, kind: str, fault: Exception | None, status: str, reason: str) -> None:
    asked: list[urllib.request.Request] = []

    def urlopen(request: urllib.request.Request, timeout: float) -> io.BytesIO:
        asked.append(request)
        return io.BytesIO()

    own = {"STAGE": "local", "VERSION": "1", "BUILD_ID": "b", "TEMPLATE_PREFIX": "live", "TEMPLATE_CALL_SECONDS": "0"}
    for name, value in own.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(aws, "email", lambda: FakeSes(fault=fault))
    monkeypatch.setattr(urllib.request, "urlopen", urlopen)
    event = {"RequestType": kind, "ResponseURL": "https://s3.example/x", "StackId": "s", "RequestId": "r", "LogicalResourceId": "T"}
    bootstrap_emails.template_resource()(event, None)  # type: ignore[arg-type]
    [request] = asked
    assert (request.full_url, request.method) == ("https://s3.example/x", "PUT")
    answer = json.loads(request.data)  # type: ignore[arg-type]
    assert (answer["Status"], answer["RequestId"], answer["PhysicalResourceId"]) == (status, "r", "live-templates")
    assert reason in answer["Reason"]
