"""The two pages behind the links of an email, and their answers. A GET changes nothing: mail scanners follow links; a button does it."""

from __future__ import annotations

from html import escape
from typing import Any, Final

_PAGE: Final = """<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<meta name="robots" content="noindex"><title>UpScript Health</title><style>
:root{{color-scheme:light dark}}body{{font:17px/1.55 Arial,Helvetica,sans-serif;margin:0;background:#eef3f2;color:#12303a}}
main{{max-width:30rem;margin:12vh auto 0;background:#fff;border-radius:16px;border-top:4px solid #0b6b66;padding:36px 32px}}
h1{{font-size:25px;line-height:1.25;margin:0 0 14px}}p{{margin:0 0 22px}}
button{{font:700 16px Arial,Helvetica,sans-serif;border:0;border-radius:10px;padding:15px 28px;background:#0b6b66;color:#fff;cursor:pointer}}
@media(prefers-color-scheme:dark){{body{{background:#0d171b;color:#e8f0f1}}main{{background:#16242a;border-color:#6fd0c4}}
button{{background:#6fd0c4;color:#06282a}}}}</style><main><h1>{title}</h1><p>{text}</p>{form}</main></html>"""

_HEADERS: Final = {
    "Content-Type": "text/html; charset=utf-8",
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; frame-ancestors 'none'",
}


def ask(title: str, text: str, button: str, token: str) -> dict[str, Any]:
    """A page with a button that posts the token back to where it was read."""
    form = f'<form method="post" action="?token={escape(token, quote=True)}"><button>{escape(button)}</button></form>'
    return _answer(200, title, text, form)


def say(status: int, title: str, text: str) -> dict[str, Any]:
    """A page that says how it went."""
    return _answer(status, title, text, "")


def _answer(status: int, title: str, text: str, form: str) -> dict[str, Any]:
    return {"statusCode": status, "headers": _HEADERS, "body": _PAGE.format(title=escape(title), text=escape(text), form=form)}
