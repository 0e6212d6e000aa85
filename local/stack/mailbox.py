"""The mailbox: what the embedded SES sent, as a page. Runs inside the launcher's process, where the emails are.

An email's HTML is shown in a frame without scripts, with its text part, tags and template beside it. Its links to our API lead to the API
as this machine serves it, so that they can be clicked.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from html import escape
from typing import Any

from ministack.services import ses

#: our API, by the name that it would have on AWS
_OURS = re.compile(r"https://([a-z0-9]+)\.execute-api\.[a-z0-9-]+\.amazonaws\.com/")

_STYLE = """
:root{color-scheme:light dark;--line:#8884;--soft:light-dark(#59646a,#9fabb1)}
body{font:15px/1.45 system-ui,sans-serif;margin:0 auto;max-width:960px;padding:1.5rem 1rem}
h1{font-size:1.3rem;margin:0 0 1rem}a{color:inherit}
ol{list-style:none;margin:0;padding:0}li{border-top:1px solid var(--line)}
li a{display:grid;grid-template-columns:minmax(0,1fr) auto;gap:.1rem 1rem;padding:.6rem 0;text-decoration:none}
li a:hover b{text-decoration:underline}small{color:var(--soft)}li small{text-align:right}h1 small{font-weight:400}
iframe{width:100%;height:70vh;border:1px solid var(--line);background:#fff}
pre{white-space:pre-wrap;border:1px solid var(--line);padding:1rem;overflow-wrap:anywhere}
dl{display:grid;grid-template-columns:auto 1fr;gap:.2rem 1rem}dt{color:var(--soft)}dd{margin:0;overflow-wrap:anywhere}
"""


def messages() -> list[dict[str, Any]]:
    """All emails, newest first: id, at, from, to, subject, template, tags, headers, configuration_set, text, html."""
    found = [record for records in list(ses._sent_emails._data.values()) for record in list(records)]
    return [_plain(record) for record in sorted(found, key=lambda record: -record["Timestamp"])]


def index() -> str:
    """The list."""
    emails = messages()
    rows = "".join(
        f'<li><a href="mailbox/{escape(email["id"])}"><b>{escape(email["subject"] or "(no subject)")}</b><small>{_shown(email["at"])}</small>'
        f"<span>to {escape(', '.join(email['to']))}</span><small>{escape(email['template'] or '')}</small></a></li>"
        for email in emails
    )
    return _document("Mailbox", f"<h1>Mailbox <small>{len(emails)} emails</small></h1><ol>{rows or '<li>Nothing was sent yet.</li>'}</ol>")


def page(message_id: str) -> str:
    """One email: facts, HTML in a frame, text."""
    email = _one(message_id)
    if email is None:
        return _document("Mailbox", '<p>No such email. <a href="../mailbox">Back</a></p>')
    facts = {
        "From": email["from"],
        "To": ", ".join(email["to"]),
        "At": _shown(email["at"]),
        "Template": email["template"],
        "Configuration set": email["configuration_set"],
        **{f"Tag {name}": value for name, value in email["tags"].items()},
        **email["headers"],
    }
    listed = "".join(f"<dt>{escape(name)}</dt><dd>{escape(str(value))}</dd>" for name, value in facts.items() if value)
    frame = (
        f'<iframe sandbox="allow-popups allow-popups-to-escape-sandbox" title="HTML" src="{escape(message_id)}/html"></iframe>'
        if email["html"]
        else "<p>No HTML part.</p>"
    )
    return _document(
        email["subject"],
        f'<p><a href="../mailbox">All emails</a></p><h1>{escape(email["subject"])}</h1><dl>{listed}</dl>'
        f"<h2>HTML</h2>{frame}<h2>Text</h2><pre>{escape(email['text'] or 'No text part.')}</pre>",
    )


def body(message_id: str) -> str:
    """The HTML part alone, for the frame."""
    email = _one(message_id)
    return _OURS.sub(r"/_aws/execute-api/\1/", (email or {}).get("html") or "")


def _shown(at: str) -> str:
    """A moment for people."""
    return f"{at[:10]} {at[11:19]} UTC"


def _one(message_id: str) -> dict[str, Any] | None:
    return next((email for email in messages() if email["id"] == message_id), None)


def _plain(record: dict[str, Any]) -> dict[str, Any]:
    at = datetime.fromtimestamp(record["Timestamp"], UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return {
        "id": record["MessageId"].partition("@")[0],
        "message_id": record["MessageId"],
        "at": at,
        "from": record["Source"],
        "to": [*record.get("To", []), *record.get("CC", []), *record.get("BCC", [])],
        "subject": record.get("Subject") or "",
        "template": record.get("Template") or "",
        "tags": record.get("Tags") or {},
        "headers": record.get("Headers") or {},
        "configuration_set": record.get("ConfigurationSetName") or "",
        "text": record.get("BodyText") or "",
        "html": record.get("BodyHtml") or "",
    }


def _document(title: str, content: str) -> str:
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        f"<title>{escape(title)}</title><style>{_STYLE}</style><body>{content}</body></html>"
    )
