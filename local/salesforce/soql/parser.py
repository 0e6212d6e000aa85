"""Recursive-descent parser of SOQL. `parse(text)` gives the syntax tree or raises SoqlError, nothing else.

The grammar is Salesforce's, with its oddities: AND and OR don't mix without parentheses, and NOT stands alone or in
parentheses. What is left out (GROUP BY ROLLUP and CUBE, WITH, UPDATE TRACKING, distance functions) is refused by name.
"""

from __future__ import annotations

import datetime as dt
import re
from decimal import Decimal

from local.salesforce.soql.errors import SoqlError, error_at, malformed, unexpected
from local.salesforce.soql.lexer import Kind, Token, plain, tokens
from local.salesforce.soql.nodes import (
    Call,
    Compare,
    Condition,
    DateLiteral,
    Expr,
    Field,
    Junction,
    Literal,
    Membership,
    Not,
    Order,
    Query,
    SelectExpr,
    SelectFields,
    SelectItem,
    SelectQuery,
    SelectTypeof,
    Source,
    TypeofBranch,
)

MAX_LENGTH = 100_000
_MAX_DEPTH = 100
_MAX_LIMIT = 2_147_483_647


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_UNITS = ("DAY", "WEEK", "MONTH", "QUARTER", "YEAR", "FISCAL_QUARTER", "FISCAL_YEAR")
PLAIN_DATES = _words(
    "YESTERDAY TODAY TOMORROW LAST_WEEK THIS_WEEK NEXT_WEEK LAST_MONTH THIS_MONTH NEXT_MONTH LAST_90_DAYS NEXT_90_DAYS "
    "THIS_QUARTER LAST_QUARTER NEXT_QUARTER THIS_YEAR LAST_YEAR NEXT_YEAR THIS_FISCAL_QUARTER LAST_FISCAL_QUARTER "
    "NEXT_FISCAL_QUARTER THIS_FISCAL_YEAR LAST_FISCAL_YEAR NEXT_FISCAL_YEAR"
)
COUNTED_DATES = frozenset(form.format(unit) for unit in _UNITS for form in ("LAST_N_{}S", "NEXT_N_{}S", "N_{}S_AGO"))
AGGREGATES = _words("COUNT COUNT_DISTINCT SUM AVG MIN MAX")
DATE_FUNCTIONS = _words(
    "CALENDAR_MONTH CALENDAR_QUARTER CALENDAR_YEAR DAY_IN_MONTH DAY_IN_WEEK DAY_IN_YEAR DAY_ONLY "
    "FISCAL_MONTH FISCAL_QUARTER FISCAL_YEAR HOUR_IN_DAY WEEK_IN_MONTH WEEK_IN_YEAR"
)
RENDERERS = _words("TOLABEL FORMAT CONVERTCURRENCY CONVERTTIMEZONE")
_FUNCTIONS = AGGREGATES | DATE_FUNCTIONS | RENDERERS
_CLAUSES = _words("WHERE USING WITH GROUP HAVING ORDER LIMIT OFFSET FOR ALL UPDATE")
_SCOPES = _words("EVERYTHING MINE MINE_AND_MY_GROUPS TEAM MY_TERRITORY MY_TEAM_TERRITORY DELEGATED")
_RESERVED = _words("AND ASC DESC EXCLUDES FIRST FROM GROUP HAVING IN INCLUDES LAST LIKE LIMIT NOT NULL NULLS OR SELECT USING WHERE WITH")


def parse(text: str) -> Query:
    """The syntax tree of `text`."""
    if len(text) > MAX_LENGTH:
        raise malformed(f"SOQL statements cannot be longer than {MAX_LENGTH} characters.")
    return _Parser(text).root()


class _Parser:
    def __init__(self, text: str) -> None:
        self._text = text
        self._tokens = tokens(text)
        self._at = 0
        self._depth = 0

    # Tokens ---------------------------------------------------------------------------------------------------------

    @property
    def _token(self) -> Token:
        return self._tokens[self._at]

    def _ahead(self, by: int = 1) -> Token:
        return self._tokens[min(self._at + by, len(self._tokens) - 1)]

    def _next(self) -> Token:
        token = self._token
        if token.kind is not Kind.END:
            self._at += 1
        return token

    def _unexpected(self, token: Token | None = None) -> SoqlError:
        token = token or self._token
        if token.text == ":":
            return error_at(self._text, token.offset, "MALFORMED_QUERY", "Bind variables only allowed in Apex code")
        return unexpected(self._text, token.offset, token.text)

    def _is(self, word: str) -> bool:
        return self._token.kind is Kind.WORD and self._token.upper == word

    def _accept(self, word: str) -> bool:
        if not self._is(word):
            return False
        self._at += 1
        return True

    def _expect(self, word: str) -> None:
        if not self._accept(word):
            raise self._unexpected()

    def _symbol(self, text: str) -> bool:
        if self._token.kind is Kind.OPERATOR and self._token.text == text:
            self._at += 1
            return True
        return False

    def _expect_symbol(self, text: str) -> None:
        if not self._symbol(text):
            raise self._unexpected()

    def _word(self) -> Token:
        if self._token.kind is not Kind.WORD:
            raise self._unexpected()
        return self._next()

    def _deeper(self) -> None:
        self._depth += 1
        if self._depth > _MAX_DEPTH:
            raise malformed("The query is nested too deeply")

    # Query ----------------------------------------------------------------------------------------------------------

    def root(self) -> Query:
        if not self._is("SELECT"):
            # Recorded: a query that doesn't begin with SELECT is refused without a place in it.
            raise malformed(f"unexpected token: {self._token.text}")
        query = self._query(child=False)
        if self._token.kind is not Kind.END:
            raise self._unexpected()
        return query

    def _query(self, *, child: bool) -> Query:
        self._deeper()
        select_token = self._token
        self._expect("SELECT")
        if self._is("FROM") and self._ahead().text != ".":
            raise unexpected(self._text, select_token.offset, f"{select_token.text} {self._token.text}")
        select = self._select_list()
        self._expect("FROM")
        sources = self._sources()
        if self._accept("USING"):
            self._scope()
        where = self._condition() if self._accept("WHERE") else None
        group_by = self._group_by()
        having = self._condition() if self._accept("HAVING") else None
        order_by = self._order_by()
        limit = self._count() if self._accept("LIMIT") else None
        offset = self._count() if self._accept("OFFSET") else None
        locking = self._locking()
        all_rows = False
        if self._is("ALL") and not child:
            self._next()
            self._expect("ROWS")
            all_rows = True
        self._depth -= 1
        return Query(self._text, select, sources, where, group_by, having, order_by, limit, offset, all_rows, locking)

    def _select_list(self) -> tuple[SelectItem, ...]:
        items = [self._select_item()]
        while self._symbol(","):
            items.append(self._select_item())
        return tuple(items)

    def _select_item(self) -> SelectItem:
        token = self._token
        if token.text == "(":
            self._next()
            if not self._is("SELECT"):
                raise self._unexpected()
            query = self._query(child=True)
            self._expect_symbol(")")
            return SelectQuery(query, token.offset)
        if self._is("TYPEOF") and self._ahead().kind is Kind.WORD:
            return self._typeof()
        if self._is("FIELDS") and self._ahead().text == "(":
            return self._fields()
        expr = self._expr()
        return SelectExpr(expr, self._alias())

    def _alias(self) -> str | None:
        if self._token.kind is Kind.WORD and self._token.upper not in _RESERVED:
            return self._next().text
        return None

    def _fields(self) -> SelectFields:
        start = self._next()
        self._expect_symbol("(")
        scope = self._word()
        if scope.upper not in ("ALL", "CUSTOM", "STANDARD"):
            raise self._unexpected(scope)
        self._expect_symbol(")")
        return SelectFields(scope.upper, start.offset)

    def _typeof(self) -> SelectTypeof:
        start = self._next()
        relationship = self._word().text
        branches: list[TypeofBranch] = []
        while self._accept("WHEN"):
            name = self._word().text
            self._expect("THEN")
            branches.append(TypeofBranch(name, self._field_list()))
        if not branches:
            raise self._unexpected()
        otherwise = self._field_list() if self._accept("ELSE") else ()
        self._expect("END")
        return SelectTypeof(relationship, tuple(branches), otherwise, start.offset)

    def _field_list(self) -> tuple[Field, ...]:
        fields = [self._field()]
        while self._symbol(","):
            fields.append(self._field())
        return tuple(fields)

    def _sources(self) -> tuple[Source, ...]:
        found = [self._source()]
        while self._symbol(","):
            found.append(self._source())
        return tuple(found)

    def _source(self) -> Source:
        start = self._word()
        path = [start.text]
        while self._symbol("."):
            path.append(self._word().text)
        self._accept("AS")
        alias = None
        if self._token.kind is Kind.WORD and self._token.upper not in _CLAUSES | _RESERVED:
            alias = self._next().text
        return Source(tuple(path), alias, start.offset)

    def _scope(self) -> None:
        self._accept("SCOPE")
        scope = self._word()
        if scope.upper not in _SCOPES:
            raise self._unexpected(scope)

    def _group_by(self) -> tuple[Expr, ...]:
        if not self._is("GROUP"):
            return ()
        self._next()
        self._expect("BY")
        if self._token.upper in ("ROLLUP", "CUBE") and self._ahead().text == "(":
            raise malformed(f"GROUP BY {self._token.upper} is not supported by this simulator")
        found = [self._expr()]
        while self._symbol(","):
            found.append(self._expr())
        return tuple(found)

    def _order_by(self) -> tuple[Order, ...]:
        if not self._is("ORDER"):
            return ()
        self._next()
        self._expect("BY")
        found = [self._order()]
        while self._symbol(","):
            found.append(self._order())
        return tuple(found)

    def _order(self) -> Order:
        expr = self._expr()
        descending = self._accept("DESC")
        if not descending:
            self._accept("ASC")
        # A null sorts first unless NULLS LAST is said, whatever the direction (SOQL reference, ORDER BY).
        nulls = "FIRST"
        if self._accept("NULLS"):
            if self._accept("LAST"):
                nulls = "LAST"
            else:
                self._expect("FIRST")
        return Order(expr, descending, nulls)

    def _count(self) -> int:
        token = self._token
        if token.kind is not Kind.NUMBER or not token.text.isdigit():
            raise self._unexpected()
        self._next()
        if len(token.text) > 12 or int(token.text) > _MAX_LIMIT:
            raise error_at(self._text, token.offset, "MALFORMED_QUERY", f"invalid number: {token.text}")
        return int(token.text)

    def _locking(self) -> tuple[str, ...]:
        found: list[str] = []
        while self._accept("FOR"):
            what = self._word()
            if what.upper not in ("VIEW", "REFERENCE", "UPDATE"):
                raise self._unexpected(what)
            found.append(what.upper)
        return tuple(found)

    # Expressions ----------------------------------------------------------------------------------------------------

    def _expr(self) -> Expr:
        if self._token.kind is Kind.WORD and self._ahead().text == "(" and self._ahead().kind is Kind.OPERATOR:
            return self._call()
        return self._field()

    def _field(self) -> Field:
        start = self._token
        if start.kind is not Kind.WORD or (start.upper in ("FROM", "SELECT", "WHERE") and self._ahead().text != "."):
            raise self._unexpected()
        path = [self._next().text]
        while self._symbol("."):
            path.append(self._word().text)
        return Field(tuple(path), start.offset)

    def _call(self) -> Call:
        name = self._next()
        if name.upper not in _FUNCTIONS:
            raise self._unexpected(name)
        self._deeper()
        self._expect_symbol("(")
        args: list[Expr] = []
        if not self._symbol(")"):
            args.append(self._expr())
            while self._symbol(","):
                args.append(self._expr())
            self._expect_symbol(")")
        if len(args) > 1 or (not args and name.upper != "COUNT"):
            raise self._unexpected(name)
        self._depth -= 1
        return Call(name.upper, tuple(args), name.offset)

    # Conditions -----------------------------------------------------------------------------------------------------

    def _condition(self) -> Condition:
        self._deeper()
        try:
            if self._accept("NOT"):
                return Not(self._term())
            parts = [self._term()]
            operator = self._token.upper
            if not (self._is("AND") or self._is("OR")):
                return parts[0]
            while self._accept(operator):
                parts.append(self._term())
            if self._is("AND") or self._is("OR"):
                raise self._unexpected()
            return Junction(operator, tuple(parts))
        finally:
            self._depth -= 1

    def _term(self) -> Condition:
        if self._symbol("("):
            condition = self._condition()
            self._expect_symbol(")")
            return condition
        if self._is("NOT") and self._ahead().text != ".":
            raise self._unexpected()
        return self._comparison()

    def _comparison(self) -> Condition:
        left = self._expr()
        token = self._next()
        if token.kind is Kind.OPERATOR and token.text in ("=", "!=", "<>", "<", "<=", ">", ">="):
            return Compare(left, "!=" if token.text == "<>" else token.text, self._literal())
        word = token.upper if token.kind is Kind.WORD else ""
        if word == "LIKE":
            return Compare(left, "LIKE", self._literal(like=True))
        if word in ("INCLUDES", "EXCLUDES"):
            return Membership(left, word, self._values(left))
        if word == "IN":
            return Membership(left, "IN", self._members(left))
        if word == "NOT" and self._accept("IN"):
            return Membership(left, "NOT IN", self._members(left))
        raise self._unexpected(token)

    def _members(self, left: Expr) -> tuple[Literal, ...] | Query:
        if self._token.text == "(" and self._ahead().kind is Kind.WORD and self._ahead().upper == "SELECT":
            self._next()
            query = self._query(child=True)
            self._expect_symbol(")")
            return query
        return self._values(left)

    def _values(self, left: Expr) -> tuple[Literal, ...]:
        self._expect_symbol("(")
        if self._token.text == ")":
            # Worded so since API 61: the whole comparison is the token.
            raise unexpected(self._text, left.offset, self._text[left.offset : self._token.offset + 1])
        found = [self._literal()]
        while self._symbol(","):
            found.append(self._literal())
        self._expect_symbol(")")
        return tuple(found)

    def _literal(self, *, like: bool = False) -> Literal:
        token = self._next()
        match token.kind:
            case Kind.STRING:
                return Literal(token.value if like else plain(token.value), token.text, token.offset)
            case Kind.NUMBER:
                return Literal(_number(token.text), token.text, token.offset)
            case Kind.CURRENCY:
                return Literal(_number(token.text[3:]), token.text, token.offset)
            case Kind.DATE | Kind.DATETIME:
                return Literal(self._moment(token), token.text, token.offset)
            case Kind.WORD:
                return self._word_literal(token)
        raise self._unexpected(token)

    def _moment(self, token: Token) -> dt.date | dt.datetime:
        try:
            if token.kind is Kind.DATE:
                return dt.date.fromisoformat(token.text)
            return dt.datetime.fromisoformat(token.text.upper()).astimezone(dt.UTC)
        except (ValueError, OverflowError):
            what = "date" if token.kind is Kind.DATE else "dateTime"
            raise error_at(self._text, token.offset, "MALFORMED_QUERY", f"invalid {what}: {token.text}") from None

    def _word_literal(self, token: Token) -> Literal:
        word = token.upper
        if word in ("TRUE", "FALSE"):
            return Literal(word == "TRUE", token.text, token.offset)
        if word == "NULL":
            return Literal(None, token.text, token.offset)
        if word in PLAIN_DATES:
            return Literal(DateLiteral(word, None), token.text, token.offset)
        if word in COUNTED_DATES:
            self._expect_symbol(":")
            n = self._token
            if n.kind is not Kind.NUMBER or not re.fullmatch(r"\d{1,9}", n.text):
                raise self._unexpected()
            self._next()
            return Literal(DateLiteral(word, int(n.text)), f"{token.text}:{n.text}", token.offset)
        raise self._unexpected(token)


def _number(text: str) -> int | Decimal:
    return int(text) if re.fullmatch(r"[+-]?\d{1,18}", text) else Decimal(text)
