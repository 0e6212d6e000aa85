"""All emails on one page: light and dark, desktop and phone, with subject and preheader; and a picture of each."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape
from pathlib import Path

from ops.emails.browser import DEVICES, Browser, Scheme
from ops.emails.build import Built, build, fill, load_flows_source

SCHEMES: tuple[Scheme, ...] = ("light", "dark")

_STYLE = """
:root{color-scheme:light dark;--line:#8885;--soft:#7a868a}
body{font:15px/1.5 system-ui,sans-serif;margin:0;padding:24px}
nav{columns:4 200px;margin:0 0 32px;font-size:14px}nav a{display:block;color:inherit}
section{border-top:1px solid var(--line);padding:20px 0 28px}
h1{font-size:22px;margin:0 0 14px}h2{font-size:18px;margin:0}
.inbox{margin:2px 0 14px;color:var(--soft)}.inbox b{color:CanvasText}
.row{display:grid;grid-template-columns:repeat(2,minmax(320px,720px)) repeat(2,390px);gap:14px;align-items:start;overflow-x:auto}
figure{margin:0}figcaption{font-size:12px;color:var(--soft);margin:0 0 4px}
iframe{border:1px solid var(--line);border-radius:8px;width:100%;height:900px}
pre{white-space:pre-wrap;max-width:72ch;font-size:13px}
"""


def built_flows(locale: str) -> list[Built]:
    """All, from their sources."""
    return [build(flow, locale) for flow in load_flows_source()]


def page(emails: list[Built]) -> str:
    """The page, whole in itself."""
    index = "".join(f'<a href="#{made.flow.flow}">{made.flow.number}. {made.flow.flow}</a>' for made in emails)
    sections = "".join(_section(made) for made in emails)
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        f"<title>Lifecycle emails</title><style>{_STYLE}</style><h1>Lifecycle emails</h1><nav>{index}</nav>{sections}</html>"
    )


def _section(made: Built) -> str:
    flow = made.flow
    html = escape(fill(made.html, made.sample), quote=True)
    frames = "".join(
        f"<figure><figcaption>{device}, {scheme}</figcaption>"
        f'<iframe loading="lazy" title="{flow.flow}, {device}, {scheme}" style="color-scheme:{scheme}" sandbox srcdoc="{html}"></iframe></figure>'
        for device in DEVICES
        for scheme in SCHEMES
    )
    text = escape(fill(made.text, made.sample))
    return (
        f'<section id="{flow.flow}"><h2>{flow.number}. {flow.flow}</h2><p class="inbox"><b>{escape(fill(made.subject, made.sample))}</b> '
        f'{escape(made.preheader)}<br>{flow.category}: {escape(flow.purpose)}</p><div class="row">{frames}</div>'
        f"<details><summary>Text part</summary><pre>{text}</pre></details></section>"
    )


def pictures(emails: list[Built], browser: Browser, folder: Path) -> Iterator[Path]:
    """A PNG per email, device and scheme: `<flow>.<device>.<scheme>.png`."""
    for made in emails:
        html = fill(made.html, made.sample)
        for device in DEVICES:
            for scheme in SCHEMES:
                browser.show(html, scheme=scheme, device=device)
                path = folder / f"{made.flow.flow}.{device}.{scheme}.png"
                path.write_bytes(browser.photograph())
                yield path
