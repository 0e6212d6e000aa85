"""Reads YAML and remembers the line of every key, so that an error can name it.

Plain scalars follow YAML 1.2's core rules in short: `true`, `false`, `null` and integers mean what they say, all else is text
(YAML 1.1 would turn a picklist's `no`, `off` and `12:30` into something else).
"""

from __future__ import annotations

import re

import yaml
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from omsync.mapping.errors import MappingError, Problem

type Keys = tuple[str | int, ...]
type Parsed = str | int | bool | list[Parsed] | dict[str, Parsed] | None

_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_INTEGER = re.compile(r"-?(0|[1-9][0-9]*)")
_WORDS: dict[str, bool | None] = {"true": True, "false": False, "null": None, "~": None, "": None}


class Document:
    """A parsed file: `data`, and `line(keys)` of any place in it."""

    def __init__(self, name: str, text: str) -> None:
        self.name = name
        self._lines: dict[Keys, int] = {(): 1}
        try:
            root = yaml.compose(text, Loader=_LOADER)
        except yaml.MarkedYAMLError as fault:
            line = (fault.problem_mark.line + 1) if fault.problem_mark else 1
            raise MappingError([Problem(name, line, "(syntax)", f"YAML, but {fault.problem}")]) from fault
        if not isinstance(root, MappingNode):
            raise MappingError([Problem(name, 1, "(document)", "expected a mapping with table, columns and targets")])
        self.data = self._build(root, ())

    def line(self, keys: Keys) -> int:
        """The line of the deepest key that exists on the way to `keys`."""
        while keys not in self._lines:
            keys = keys[:-1]
        return self._lines[keys]

    def known(self, keys: Keys) -> Keys:
        """`keys` without the parts that are not in the file (names of a union's members)."""
        found: Keys = ()
        for key in keys:
            if (*found, key) in self._lines:
                found = (*found, key)
        return found

    def _build(self, node: Node, keys: Keys) -> Parsed:
        if isinstance(node, ScalarNode):
            return _scalar(node)
        if isinstance(node, SequenceNode):
            for index, child in enumerate(node.value):
                self._lines[(*keys, index)] = child.start_mark.line + 1
            return [self._build(child, (*keys, index)) for index, child in enumerate(node.value)]
        result: dict[str, Parsed] = {}
        for key_node, value_node in node.value:
            key, line = str(key_node.value), key_node.start_mark.line + 1
            if key in result:
                raise MappingError(
                    [Problem(self.name, line, ".".join(map(str, (*keys, key))), "a key given once; this is its second time")]
                )
            self._lines[(*keys, key)] = line
            result[key] = self._build(value_node, (*keys, key))
        return result


def _scalar(node: ScalarNode) -> str | int | bool | None:
    text = str(node.value)
    if node.style in ('"', "'", "|", ">"):
        return text
    if text in _WORDS:
        return _WORDS[text]
    return int(text) if _INTEGER.fullmatch(text) else text
