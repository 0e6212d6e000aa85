"""Email templates as SES renders them: the part of Handlebars its developer guide shows.

`{{name}}`, `{{{name}}}`, dotted paths, `{{#if x}}..{{else}}..{{/if}}`, `{{#each list}}..{{this}}..{{/each}}`, `{{! comment }}`.
Nothing is escaped. A name without data is `MissingAttribute`, except as the condition of an `if`.
"""

from __future__ import annotations

import re
from typing import Any

_TAG = re.compile(r"\{\{\{?\s*(!.*?|[#/]?\s*\w[^{}]*?)\s*\}?\}\}", re.DOTALL)


class MissingAttribute(Exception):
    """The template names what the data does not hold."""

    def __init__(self, name: str) -> None:
        super().__init__(f"Attribute '{name}' is not present in the rendering data.")


def render_parts(template: dict[str, Any], data: dict[str, Any]) -> dict[str, str]:
    """Subject, Text and Html of a stored template (SubjectPart, TextPart, HtmlPart); ValueError if `data` is no object."""
    if not isinstance(data, dict):
        raise ValueError("template data")
    return {name: render(template.get(f"{name}Part") or "", data) for name in ("Subject", "Text", "Html")}


def render(text: str, data: dict[str, Any]) -> str:
    """The text with its tags replaced."""
    tokens = _TAG.split(text)  # text, tag, text, tag, ... text
    out, position = _block(tokens, 0, [data])
    if position < len(tokens):
        raise MissingAttribute(tokens[position])
    return out


def _block(tokens: list[str], position: int, scopes: list[Any], *, silent: bool = False) -> tuple[str, int]:
    """Render until the block's end or else; returns the text and the place of the tag that ended it."""
    out: list[str] = []
    while position < len(tokens):
        if position % 2 == 0:
            out.append(tokens[position])
            position += 1
            continue
        tag = tokens[position]
        if tag.startswith("/") or tag == "else":
            break
        if tag.startswith("#"):
            text, position = _compound(tokens, position, scopes, silent)
            out.append(text)
        else:
            if not tag.startswith("!") and not silent:
                out.append(_text(_look_up(tag, scopes)))
            position += 1
    return ("" if silent else "".join(out)), position


def _compound(tokens: list[str], position: int, scopes: list[Any], silent: bool) -> tuple[str, int]:
    kind, _, name = tokens[position].lstrip("# ").partition(" ")
    name = name.strip()
    start = position + 1
    if kind == "each":
        items = [] if silent else _look_up(name, scopes)
        text = "".join(_block(tokens, start, [*scopes, item])[0] for item in items or [])
        _, end = _block(tokens, start, scopes, silent=True)
    else:
        holds = not silent and bool(_look_up(name, scopes, optional=True)) == (kind == "if")
        text, end = _block(tokens, start, scopes, silent=silent or not holds)
        if end < len(tokens) and tokens[end] == "else":
            other, end = _block(tokens, end + 1, scopes, silent=silent or holds)
            text += other
    return text, end + 1


def _look_up(path: str, scopes: list[Any], *, optional: bool = False) -> Any:
    if path == "this":
        return scopes[-1]
    first, *rest = path.removeprefix("this.").split(".")
    for scope in reversed(scopes):
        if isinstance(scope, dict) and first in scope:
            value = scope[first]
            for step in rest:
                if not isinstance(value, dict) or step not in value:
                    break
                value = value[step]
            else:
                return value
    if optional:
        return None
    raise MissingAttribute(path)


def _text(value: Any) -> str:
    if value is None:
        return ""
    return str(value).lower() if isinstance(value, bool) else str(value)
