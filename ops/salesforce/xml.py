"""Write metadata XML as `sf project retrieve` would: four spaces, one element a line, children in the schema's order.

A body is a dict in document order; a list repeats its element; None leaves it out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from xml.sax.saxutils import escape

NAMESPACE = "http://soap.sforce.com/2006/04/metadata"
XSI = 'xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xmlns:xsd="http://www.w3.org/2001/XMLSchema"'

type Node = str | int | bool | Typed | Mapping[str, Node] | Sequence[Node] | None


class Typed:
    """A custom metadata value: its XML type travels with it (`xsd:string`); None is nil."""

    def __init__(self, value: str | None) -> None:
        self.value = value


def render(root: str, body: Mapping[str, Node]) -> str:
    """One metadata file."""
    lines = ['<?xml version="1.0" encoding="UTF-8"?>']
    typed = f" {XSI}" if root == "CustomMetadata" else ""
    lines.append(f'<{root} xmlns="{NAMESPACE}"{typed}>')
    for name, value in body.items():
        _element(name, value, 1, lines)
    lines.append(f"</{root}>")
    return "\n".join(lines) + "\n"


def _element(name: str, value: Node, depth: int, lines: list[str]) -> None:
    indent = "    " * depth
    match value:
        case None:
            return
        case bool():
            lines.append(f"{indent}<{name}>{str(value).lower()}</{name}>")
        case str() | int():
            lines.append(f"{indent}<{name}>{escape(str(value))}</{name}>")
        case Typed():
            text = f' xsi:type="xsd:string">{escape(value.value)}</{name}>' if value.value is not None else ' xsi:nil="true"/>'
            lines.append(f"{indent}<{name}{text}")
        case Mapping():
            if not value:
                lines.append(f"{indent}<{name}/>")
                return
            lines.append(f"{indent}<{name}>")
            for child, inner in value.items():
                _element(child, inner, depth + 1, lines)
            lines.append(f"{indent}</{name}>")
        case _:
            for item in value:
                _element(name, item, depth, lines)
