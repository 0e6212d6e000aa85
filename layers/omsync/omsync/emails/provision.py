"""The custom resource that brings the templates into SES: created or updated, then rendered with their sample data, or the deployment fails.

SES takes template calls once a second. SES accepts a template that it cannot render, and would tell of it only by an event after a send:
so each is tried.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from email import message_from_string, policy
from typing import TYPE_CHECKING

from botocore.exceptions import BotoCoreError, ClientError

from omsync.emails.compose import Template, render
from omsync.platform.errors import Permanent

if TYPE_CHECKING:
    from mypy_boto3_sesv2 import SESV2Client
    from mypy_boto3_sesv2.type_defs import EmailTemplateContentTypeDef


@dataclass(frozen=True, slots=True)
class Provisioner:
    """Writes and tries all templates. `pace` waits between two calls."""

    client: SESV2Client
    prefix: str
    pace: Callable[[], None]

    def deploy(self, templates: Sequence[Template]) -> int:
        """How many are there now. Raises Permanent with the first that is not right."""
        for template in templates:
            name = f"{self.prefix}-{template.name}"
            try:
                self._write(name, template)
                self._try(name, template)
            except ClientError as fault:
                told = fault.response.get("Error", {})
                raise Permanent(f"{name}: {told.get('Code')}: {told.get('Message', '')[:200]}", code="emails.template") from None
            except BotoCoreError as fault:
                raise Permanent(f"{name}: {type(fault).__name__}", code="emails.template") from None
        return len(templates)

    def remove(self, templates: Sequence[Template]) -> None:
        """All gone; what is not there is not missed."""
        for template in templates:
            try:
                self.client.delete_email_template(TemplateName=f"{self.prefix}-{template.name}")
            except (ClientError, BotoCoreError):
                continue
            finally:
                self.pace()

    def _write(self, name: str, template: Template) -> None:
        content: EmailTemplateContentTypeDef = {"Subject": template.subject, "Html": template.html, "Text": template.text}
        try:
            self.client.update_email_template(TemplateName=name, TemplateContent=content)
        except self.client.exceptions.NotFoundException:
            self.pace()
            self.client.create_email_template(TemplateName=name, TemplateContent=content)
        self.pace()

    def _try(self, name: str, template: Template) -> None:
        template.check(template.sample)
        data = json.dumps(dict(template.sample))
        rendered = self.client.test_render_email_template(TemplateName=name, TemplateData=data)["RenderedTemplate"]
        self.pace()
        message = message_from_string(rendered, policy=policy.default)  # a whole MIME message, its parts in any encoding
        words = [part.get_content() for part in message.walk() if part.get_content_maintype() == "text"]
        if message["Subject"] != render(template.subject, template.sample) or not words or any("{{" in part for part in words):
            raise Permanent(f"{name} does not render with its sample data", code="emails.template")
