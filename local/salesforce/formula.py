"""Validation rule formulas, compiled to Python: a lexer, a Pratt parser that writes Python source, and the functions it calls.

    rule = compile_formula("AND(NOT(ISNEW()), OMS_Version__c < PRIORVALUE(OMS_Version__c))", obj, org)
    rule(new_row, old_row, is_new, frame) -> value

Blank follows Salesforce: text is never null (blank is ''), a blank number or date is null; ordering with null is false, arithmetic
with null is null, `=` and `<>` take null as a value. PRIORVALUE of a new record is the new value; ISCHANGED of a new record is false. Text
compares with case. Parent fields go one level (`Account.Name`), `RecordType.DeveloperName`, `$User.X`, `$Permission.X`.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from functools import partial
from typing import Any, Protocol

from local.salesforce.dml_types import Row, Stored
from local.salesforce.schema import FieldType, Kind, ObjectType, Org

type Value = str | float | bool | None


class Frame(Protocol):
    """What a formula needs beyond the record: the user, and parents by relationship."""

    custom_permissions: frozenset[str]
    now: str

    def user(self, name: str) -> Value: ...

    def profile(self, name: str) -> Value: ...

    def parent(self, relationship: str, row: Row, name: str) -> Value: ...


type Formula = Callable[[Row, Row, bool, Frame], Value]


class FormulaError(ValueError):
    """A formula that can't be compiled: position and what was expected."""


_TOKEN = re.compile(
    r"""\s*(?:/\*.*?\*/\s*)*(?:
        (?P<number>\d+(?:\.\d+)?) |
        (?P<text>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*') |
        (?P<name>\$?[A-Za-z_][A-Za-z0-9_]*(?:\.[A-Za-z_][A-Za-z0-9_]*)*) |
        (?P<op><>|!=|<=|>=|==|&&|\|\||[-+*/^&=<>!(),])
    )""",
    re.VERBOSE | re.DOTALL,
)
_PRECEDENCE = {
    "||": 1, "&&": 2, "=": 3, "==": 3, "<>": 3, "!=": 3, "<": 4, ">": 4, "<=": 4, ">=": 4, "&": 5, "+": 6, "-": 6, "*": 7, "/": 7, "^": 8,
}  # fmt: skip
_ESCAPES = {"n": "\n", "r": "\r", "t": "\t"}


@dataclass(slots=True, frozen=True)
class _Part:
    """A piece of Python source and the type of its value: text, number, bool, date, datetime, null or any."""

    source: str
    type: str


@dataclass(slots=True)
class _Token:
    kind: str
    text: str
    at: int


def _tokens(formula: str) -> list[_Token]:
    out, at = [], 0
    end = len(formula.rstrip())
    while at < end:
        match = _TOKEN.match(formula, at)
        if match is None or match.lastgroup is None:
            if formula[at:].strip().startswith("/*"):
                break
            raise FormulaError(f"unexpected {formula[at : at + 10]!r} at character {at + 1}")
        out.append(_Token(match.lastgroup, match[match.lastgroup], at))
        at = match.end()
    out.append(_Token("end", "", end))
    return out


def compile_formula(formula: str, obj: ObjectType, org: Org, columns: set[str] | None = None) -> Formula:
    """Compile for rows of `obj`; `columns` collects the ones it looks at. Raises FormulaError on unknown names, functions or syntax."""
    parser = _Parser(_tokens(formula), obj, org, columns if columns is not None else set())
    part = parser.expression(0)
    parser.expect("end")
    source = f"lambda n, o, isnew, frame: {part.source}"
    compiled: Formula = eval(source, dict(_RUNTIME))  # our own generated source, without builtins
    return compiled


class _Parser:
    def __init__(self, tokens: list[_Token], obj: ObjectType, org: Org, columns: set[str]) -> None:
        self._columns = columns
        self._tokens = tokens
        self._at = 0
        self._object = obj
        self._org = org

    # --- grammar -----------------------------------------------------------------------------------------------------

    def expression(self, minimum: int) -> _Part:
        left = self._prefix()
        while (token := self._tokens[self._at]).kind == "op" and _PRECEDENCE.get(token.text, -1) > minimum:
            self._at += 1
            right = self.expression(_PRECEDENCE[token.text])
            left = _binary(token.text, left, right)
        return left

    def _prefix(self) -> _Part:
        token = self._next()
        if token.kind == "number":
            return _Part(repr(float(token.text)), "number")
        if token.kind == "text":
            body = re.sub(r"\\(.)", lambda m: _ESCAPES.get(m[1], m[1]), token.text[1:-1], flags=re.DOTALL)
            return _Part(repr(body), "text")
        if token.kind == "name":
            return self._call(token) if self._tokens[self._at].text == "(" else self._name(token)
        if token.text == "(":
            inner = self.expression(0)
            self.expect(")")
            return _Part(f"({inner.source})", inner.type)
        if token.text == "-":
            return _Part(f"sub(0.0, {self.expression(7).source})", "number")
        if token.text == "!":
            return _Part(f"(not {self.expression(7).source})", "bool")
        raise FormulaError(f"unexpected {token.text or 'end of formula'!r} at character {token.at + 1}")

    def _call(self, token: _Token) -> _Part:
        name = token.text.upper()
        self.expect("(")
        start = self._at
        arguments: list[_Part] = []
        while self._tokens[self._at].text != ")":
            arguments.append(self.expression(0))
            if self._tokens[self._at].text != ",":
                break
            self._at += 1
        self.expect(")")
        if name in _FIELD_FUNCTIONS:
            return _FIELD_FUNCTIONS[name](self._field_at(start, name), arguments)
        if name not in _FUNCTIONS:
            raise FormulaError(f"unknown function {token.text} at character {token.at + 1}")
        function = _FUNCTIONS[name]
        if not function.least <= len(arguments) <= function.most:
            raise FormulaError(f"{name} at character {token.at + 1}: {len(arguments)} arguments, expected {function.least} or more")
        return function.build(arguments)

    def _field_at(self, start: int, function: str) -> FieldType:
        token = self._tokens[start]
        f = self._object.field(token.text) if token.kind == "name" else None
        if f is None:
            raise FormulaError(f"{function}: {token.text!r} is no field of {self._object.name}")
        return f

    def _name(self, token: _Token) -> _Part:
        name = token.text
        constant = {"TRUE": _Part("True", "bool"), "FALSE": _Part("False", "bool"), "NULL": _Part("None", "null")}.get(name.upper())
        if constant:
            return constant
        if "." in name:
            return self._path(name)
        f = self._object.field(name)
        if f is None:
            raise FormulaError(f"field {name} does not exist on {self._object.name}")
        self._columns.add(f.name)
        return _column("n", f)

    def _path(self, name: str) -> _Part:
        head, _, rest = name.partition(".")
        if head == "$Permission":
            return _Part(f"({rest!r} in frame.custom_permissions)", "bool")
        if head in {"$User", "$Profile"}:
            return _Part(f"frame.{head[1:].lower()}({rest!r})", "text")
        relationship = self._object.relationship(head)
        if relationship is None:
            raise FormulaError(f"relationship {head} does not exist on {self._object.name}")
        parent = self._org.objects.get(relationship.references[0])
        f = parent.field(rest) if parent else None
        if f is None or len(relationship.references) != 1:
            raise FormulaError(f"{name}: {rest} is no field of {'/'.join(relationship.references)}")
        self._columns.add(relationship.name)
        return _typed(f"frame.parent({relationship.name!r}, n, {f.name!r})", f)

    def _next(self) -> _Token:
        token = self._tokens[self._at]
        self._at += 1
        return token

    def expect(self, text: str) -> None:
        token = self._next()
        if token.text != text and token.kind != text:
            raise FormulaError(f"expected {text} at character {token.at + 1}, found {token.text or 'the end'!r}")


# --- fields ----------------------------------------------------------------------------------------------------------


def _column(row: str, f: FieldType) -> _Part:
    return _typed(f"{row}[{f.name!r}]", f)


def _typed(source: str, f: FieldType) -> _Part:
    if f.kind is Kind.CHECKBOX:
        return _Part(f"bool({source})", "bool")
    if f.is_number:
        return _Part(source, "number")
    if f.kind is Kind.DATE:
        return _Part(source, "date")
    if f.kind is Kind.DATETIME:
        return _Part(source, "datetime")
    return _Part(f"({source} or '')", "text")


def _is_changed(f: FieldType, _: Sequence[_Part]) -> _Part:
    return _Part(f"(not isnew and n[{f.name!r}] != o[{f.name!r}])", "bool")


def _prior_value(f: FieldType, _: Sequence[_Part]) -> _Part:
    return _column("o", f)


def _includes(f: FieldType, arguments: Sequence[_Part]) -> _Part:
    if len(arguments) != 2:
        raise FormulaError("INCLUDES takes a field and a value")
    return _Part(f"({arguments[1].source} in {arguments[0].source}.split(';'))", "bool")


_FIELD_FUNCTIONS: dict[str, Callable[[FieldType, Sequence[_Part]], _Part]] = {
    "ISCHANGED": _is_changed,
    "PRIORVALUE": _prior_value,
    "INCLUDES": _includes,
}


# --- operators -------------------------------------------------------------------------------------------------------

_ORDER = {"<": "lt", ">": "gt", "<=": "le", ">=": "ge"}
_ARITHMETIC = {"+": "add", "-": "sub", "*": "mul", "/": "div", "^": "power"}


def _binary(op: str, left: _Part, right: _Part) -> _Part:
    if op in {"&&", "||"}:
        return _Part(f"({left.source} {'and' if op == '&&' else 'or'} {right.source})", "bool")
    if op in {"=", "==", "<>", "!="}:
        sign = "!=" if op in {"<>", "!="} else "=="
        if "text" in (left.type, right.type):
            return _Part(f"({_as_text(left)} {sign} {_as_text(right)})", "bool")
        return _Part(f"({left.source} {sign} {right.source})", "bool")
    if op in _ORDER:
        return _Part(f"{_ORDER[op]}({left.source}, {right.source})", "bool")
    if op == "&" or (op == "+" and "text" in (left.type, right.type)):
        return _Part(f"({_as_text(left)} + {_as_text(right)})", "text")
    kind = left.type if left.type in {"date", "datetime"} and right.type == "number" else "number"
    return _Part(f"{_ARITHMETIC[op]}({left.source}, {right.source})", kind)


def _as_text(part: _Part) -> str:
    return part.source if part.type == "text" else f"text({part.source})"


# --- functions -------------------------------------------------------------------------------------------------------


@dataclass(slots=True, frozen=True)
class _Function:
    build: Callable[[Sequence[_Part]], _Part]
    least: int = 1
    most: int = field(default=1)


def _joined(word: str) -> Callable[[Sequence[_Part]], _Part]:
    return lambda a: _Part("(" + f" {word} ".join(p.source for p in a) + ")", "bool")


def _runtime(name: str, kind: str) -> Callable[[Sequence[_Part]], _Part]:
    return lambda a: _Part(f"{name}({', '.join(p.source for p in a)})", kind)


def _if(a: Sequence[_Part]) -> _Part:
    kind = a[1].type if a[1].type != "null" else a[2].type
    return _Part(f"({a[1].source} if {a[0].source} else {a[2].source})", kind)


def _case(a: Sequence[_Part]) -> _Part:
    """CASE(value, match, result, ..., otherwise)."""
    source = a[-1].source
    for index in range(len(a) - 3, 0, -2):
        source = f"({a[index + 1].source} if v == {a[index].source} else {source})"
    return _Part(f"(lambda v: {source})({a[0].source})", a[2].type)


def _blank(a: Sequence[_Part]) -> _Part:
    return _Part(f"({a[0].source} == '')" if a[0].type == "text" else f"({a[0].source} is None)", "bool")


def _null(a: Sequence[_Part]) -> _Part:
    """ISNULL of text is always false: text is never null."""
    return _Part("False" if a[0].type == "text" else f"({a[0].source} is None)", "bool")


def _or_else(a: Sequence[_Part]) -> _Part:
    if a[0].type == "text":
        return _Part(f"({a[0].source} or {_as_text(a[1])})", "text")
    return _Part(f"either({a[0].source}, {a[1].source})", a[0].type if a[0].type != "null" else a[1].type)


_MANY = 255
_FUNCTIONS: dict[str, _Function] = {
    "AND": _Function(_joined("and"), 1, _MANY),
    "OR": _Function(_joined("or"), 1, _MANY),
    "NOT": _Function(lambda a: _Part(f"(not {a[0].source})", "bool")),
    "IF": _Function(_if, 3, 3),
    "CASE": _Function(_case, 4, _MANY),
    "ISNEW": _Function(lambda _: _Part("isnew", "bool"), 0, 0),
    "ISBLANK": _Function(_blank),
    "ISNULL": _Function(_null),
    "BLANKVALUE": _Function(_or_else, 2, 2),
    "NULLVALUE": _Function(_or_else, 2, 2),
    "ISPICKVAL": _Function(lambda a: _Part(f"({_as_text(a[0])} == {_as_text(a[1])})", "bool"), 2, 2),
    "TEXT": _Function(lambda a: _Part(_as_text(a[0]), "text"), 1, 1),
    "LEN": _Function(lambda a: _Part(f"float(len({_as_text(a[0])}))", "number")),
    "TRIM": _Function(lambda a: _Part(f"{a[0].source}.strip()", "text")),
    "UPPER": _Function(lambda a: _Part(f"{a[0].source}.upper()", "text")),
    "LOWER": _Function(lambda a: _Part(f"{a[0].source}.lower()", "text")),
    "LEFT": _Function(lambda a: _Part(f"{a[0].source}[:int({a[1].source})]", "text"), 2, 2),
    "RIGHT": _Function(_runtime("right", "text"), 2, 2),
    "MID": _Function(lambda a: _Part(f"{a[0].source}[int({a[1].source}) - 1:][:int({a[2].source})]", "text"), 3, 3),
    "SUBSTITUTE": _Function(lambda a: _Part(f"{a[0].source}.replace({a[1].source}, {a[2].source})", "text"), 3, 3),
    "CONTAINS": _Function(lambda a: _Part(f"({a[1].source} in {a[0].source})", "bool"), 2, 2),
    "BEGINS": _Function(lambda a: _Part(f"{a[0].source}.startswith({a[1].source})", "bool"), 2, 2),
    "REGEX": _Function(_runtime("matches", "bool"), 2, 2),
    "ISNUMBER": _Function(lambda a: _Part(f"(value({a[0].source}) is not None)", "bool")),
    "VALUE": _Function(_runtime("value", "number")),
    "ABS": _Function(_runtime("absolute", "number")),
    "ROUND": _Function(_runtime("rounded", "number"), 2, 2),
    "MAX": _Function(_runtime("largest", "number"), 1, _MANY),
    "MIN": _Function(_runtime("smallest", "number"), 1, _MANY),
    "MOD": _Function(_runtime("modulo", "number"), 2, 2),
    "TODAY": _Function(lambda _: _Part("frame.now[:10]", "date"), 0, 0),
    "NOW": _Function(lambda _: _Part("frame.now", "datetime"), 0, 0),
    "DATEVALUE": _Function(lambda a: _Part(f"date_of({a[0].source})", "date")),
}


def _null_safe(function: Callable[[float, float], float], a: float | None, b: float | None) -> float | None:
    return None if a is None or b is None else function(a, b)


def _ordered(compare: Callable[[Any, Any], bool], a: Stored, b: Stored) -> bool:
    return a is not None and b is not None and compare(a, b)


def _lt(a: Stored, b: Stored) -> bool:
    return a is not None and b is not None and a < b  # type: ignore[operator]


def _shifted(moment: str, days: float) -> str:
    if len(moment) == 10:
        return (date.fromisoformat(moment) + timedelta(days=int(days))).isoformat()
    shifted = datetime.fromisoformat(moment).astimezone(UTC) + timedelta(days=days)
    return shifted.strftime("%Y-%m-%dT%H:%M:%S.") + f"{shifted.microsecond // 1000:03d}Z"


def _add(a: Stored, b: Stored) -> Stored:
    if a is None or b is None:
        return None
    if isinstance(a, str):
        return _shifted(a, float(b))
    return _shifted(b, a) if isinstance(b, str) else a + b


def _sub(a: Stored, b: Stored) -> Stored:
    if a is None or b is None:
        return None
    if isinstance(a, str) and isinstance(b, str):
        return (datetime.fromisoformat(a) - datetime.fromisoformat(b)) / timedelta(days=1)
    return _shifted(a, -float(b)) if isinstance(a, str) else a - float(b)


def _text(value: Value) -> str:
    """TEXT(): whole numbers without a point."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return str(int(value)) if float(value).is_integer() else repr(float(value))
    return value


def _value(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


_RUNTIME: dict[str, object] = {
    "__builtins__": {"bool": bool, "float": float, "int": int, "len": len},
    "lt": _lt,
    "gt": partial(_ordered, operator.gt),
    "le": partial(_ordered, operator.le),
    "ge": partial(_ordered, operator.ge),
    "add": _add,
    "sub": _sub,
    "mul": partial(_null_safe, operator.mul),
    "div": partial(_null_safe, lambda a, b: a / b if b else float("nan")),
    "power": partial(_null_safe, operator.pow),
    "either": lambda a, b: b if a is None else a,
    "text": _text,
    "value": _value,
    "right": lambda s, n: s[-int(n) :] if n else "",
    "matches": lambda s, pattern: re.fullmatch(pattern, s) is not None,
    "absolute": lambda a: None if a is None else abs(a),
    "rounded": partial(_null_safe, lambda a, places: round(a, int(places))),
    "largest": lambda *a: max((v for v in a if v is not None), default=None),
    "smallest": lambda *a: min((v for v in a if v is not None), default=None),
    "modulo": partial(_null_safe, lambda a, b: a % b if b else float("nan")),
    "date_of": lambda v: v[:10] if v else None,
}
