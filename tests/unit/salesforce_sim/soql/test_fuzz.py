"""Queries that a grammar makes up, run on real rows: each is answered or refused with a SoqlError, in a plan SQLite accepts."""

import json
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from local.salesforce.soql.errors import SoqlError
from tests.unit.salesforce_sim.soql.conftest import ROOT, World

KNOWN_CODES = {
    "API_ERROR", "EXCEEDED_ID_LIMIT", "INVALID_FIELD", "INVALID_TYPE", "MALFORMED_QUERY", "NUMBER_OUTSIDE_VALID_RANGE",
}  # fmt: skip

NAMES = (
    "Id Name Fee__c Rating__c On__c Paid__c Notes__c Tags__c Status__c CreatedDate SystemModstamp Patient__c Patient__r.Name "
    "Patient__r.BillingAddress Patient__r.Parent.OwnerId Owner.Name Owner.Type Nope__c v.Name Visit__c.Id BillingAddress "
    "Patient__r.IsPersonAccount Owner.Alias IsDeleted OwnerId What.Name"
)
LITERALS = (
    r"'v1' '' 'É%' 'A;B' '001000000000001AAA' 'abc' null true FALSE 1 -1.5 1e400 12345678901234567890 2026-02-18 2026-02-18T00:00:00Z "
    r"0001-01-01T00:00:00+14:00 TODAY LAST_N_DAYS:3 NEXT_N_YEARS:999999999 USD5 '\\%\_\'' '\u0041\n'"
)
names = st.sampled_from(NAMES.split())
functions = st.sampled_from(
    ["COUNT", "COUNT_DISTINCT", "SUM", "AVG", "MIN", "MAX", "toLabel", "FORMAT", "CALENDAR_YEAR", "DAY_ONLY", "HOUR_IN_DAY", "WEEK_IN_YEAR"]
)
calls = st.builds("{}({})".format, functions, names) | st.builds("FORMAT({}({}))".format, functions, names)
expressions = names | calls
literals = st.sampled_from(LITERALS.split())
operators = st.sampled_from(["=", "!=", "<>", "<", "<=", ">", ">=", "LIKE"])
comparisons = st.builds("{} {} {}".format, expressions, operators, literals)
lists = st.lists(literals, min_size=1, max_size=4).map(", ".join)
memberships = st.builds("{} {} ({})".format, expressions, st.sampled_from(["IN", "NOT IN", "INCLUDES", "EXCLUDES"]), lists)
semi_joins = st.builds(
    "{} {} (SELECT {} FROM {} WHERE {})".format,
    names,
    st.sampled_from(["IN", "NOT IN"]),
    names | st.just("AccountId"),
    st.sampled_from(["Visit__c", "Account", "Contact", "Nope"]),
    comparisons,
)
conditions = st.recursive(
    comparisons | memberships | semi_joins,
    lambda inner: (
        st.builds("({}) {} ({})".format, inner, st.sampled_from(["AND", "OR"]), inner)
        | st.builds("(NOT {})".format, inner)
        | st.builds("{} AND {}".format, inner, inner)
    ),
    max_leaves=4,
)
children = st.builds(
    "(SELECT {} FROM {} {})".format,
    names,
    st.sampled_from(["Visits__r", "Account.Contacts", "Nopes__r", "ChildAccounts"]),
    st.sampled_from(["", "WHERE Name != 'x'", "ORDER BY Name DESC LIMIT 1", "LIMIT 2 OFFSET 1"]),
)
typeofs = st.builds(
    "TYPEOF {} WHEN {} THEN {} ELSE Id END".format, st.sampled_from(["What", "Owner"]), st.sampled_from(["Account", "User"]), names
)
selected = (
    expressions | children | typeofs | st.sampled_from(["FIELDS(ALL)", "FIELDS(CUSTOM)", "FIELDS(STANDARD)", "COUNT()", "MAX(Name) m"])
)
terms = st.builds("{} {}".format, expressions, st.sampled_from(["", "ASC", "DESC", "DESC NULLS LAST", "NULLS FIRST"]))


@st.composite
def queries(draw: st.DrawFn) -> str:
    text = "SELECT " + ", ".join(draw(st.lists(selected, min_size=1, max_size=4)))
    text += " FROM " + draw(st.sampled_from(["Visit__c", "Visit__c v", "Account", "Task", "Visit__c v, v.Patient__r p", "Nope"]))
    if draw(st.booleans()):
        text += " WHERE " + draw(conditions)
    if draw(st.integers(0, 3)) == 0:
        text += " GROUP BY " + draw(expressions)
        if draw(st.booleans()):
            text += " HAVING " + draw(conditions)
    if draw(st.booleans()):
        text += " ORDER BY " + ", ".join(draw(st.lists(terms, min_size=1, max_size=2)))
    return text + draw(st.sampled_from(["", " LIMIT 1", " LIMIT 200", " LIMIT 0 OFFSET 1", " OFFSET 3000", " FOR VIEW", " ALL ROWS"]))


# Queries without mistakes: every comparison suits its field's type.

TYPED = {
    "'v1' '' 'É%' null 'a' 'B'": "Name Status__c Patient__r.Name Owner.Name Owner.Type Patient__r.Parent.BillingCity v.Name",
    "1 -1.5 0 1e400 null USD5": "Fee__c Rating__c Patient__r.AnnualRevenue CALENDAR_YEAR(On__c) HOUR_IN_DAY(CreatedDate) DAY_IN_WEEK(On__c)",
    "2026-02-18 TODAY LAST_N_DAYS:3 NEXT_N_YEARS:999999999 THIS_FISCAL_QUARTER": "On__c DAY_ONLY(CreatedDate)",
    "2026-02-18T00:00:00Z YESTERDAY LAST_90_DAYS null 1970-01-01T00:00:00.123-08:00": "CreatedDate SystemModstamp Patient__r.CreatedDate",
    "'001000000000001AAA' '001000000000001' null": "Id Patient__c OwnerId Patient__r.ParentId Owner.Id",
}
typed = st.one_of(
    *(
        st.builds(
            "{} {} {}".format, st.sampled_from(fields.split()), st.sampled_from(["=", "!=", "<", ">="]), st.sampled_from(values.split())
        )
        | st.builds(
            "{} {} ({}, {})".format,
            st.sampled_from(fields.split()),
            st.sampled_from(["IN", "NOT IN"]),
            *[st.sampled_from(values.split())] * 2,
        )
        for values, fields in TYPED.items()
    ),
    st.sampled_from(
        [
            "Paid__c = true",
            "Patient__r.IsPersonAccount != true",
            "Tags__c INCLUDES ('A;B', 'C')",
            "Tags__c EXCLUDES ('A')",
            "Name LIKE '%É_'",
        ]
    ),
)
sound_conditions = st.recursive(
    typed,
    lambda inner: (
        st.builds("(({}) {} ({}))".format, inner, st.sampled_from(["AND", "OR"]), inner)
        | st.builds("(NOT {})".format, inner.map("({})".format))
    ),
    max_leaves=6,
)
plain_fields = st.sampled_from(
    [
        "Name",
        "Fee__c",
        "Rating__c",
        "On__c",
        "Paid__c",
        "Notes__c",
        "CreatedDate",
        "Patient__r.Name",
        "Patient__r.BillingAddress",
        "Owner.Name",
        "toLabel(Status__c)",
    ]
)
grouped = st.sampled_from(["Status__c", "Patient__r.Name", "Owner.Name", "CALENDAR_YEAR(On__c)", "Paid__c", "DAY_ONLY(CreatedDate)"])
aggregates = st.sampled_from(
    ["COUNT(Id)", "SUM(Fee__c)", "AVG(Rating__c)", "MIN(On__c)", "MAX(CreatedDate)", "COUNT_DISTINCT(Patient__c)", "FORMAT(MAX(Fee__c))"]
)


@st.composite
def sound_queries(draw: st.DrawFn) -> str:
    where = " WHERE " + draw(sound_conditions) if draw(st.booleans()) else ""
    end = draw(st.sampled_from(["", " LIMIT 1", " LIMIT 3 OFFSET 1", " FOR VIEW", " ALL ROWS"]))
    if draw(st.booleans()):
        fields = draw(st.lists(plain_fields, min_size=1, max_size=5, unique=True))
        order = (
            " ORDER BY "
            + draw(st.sampled_from(["Name", "Fee__c", "Patient__r.Name", "Owner.Name", "CreatedDate"]))
            + draw(st.sampled_from(["", " DESC"]))
        )
        return f"SELECT {', '.join(fields)} FROM Visit__c v{where}{draw(st.sampled_from(['', order]))}{end}"
    group, measure = draw(grouped), draw(aggregates)
    having = draw(st.sampled_from(["", " HAVING COUNT(Id) > 0", " HAVING SUM(Fee__c) != null"]))
    order = draw(st.sampled_from(["", f" ORDER BY {group} DESC NULLS LAST", f" ORDER BY {measure}"]))
    return f"SELECT {group} g, {measure} FROM Visit__c v{where} GROUP BY {group}{having}{order}{end.replace(' FOR VIEW', '')}"


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    world = World(tmp_path_factory.mktemp("fuzz"))
    account = world.add("Account", Name="Ann", OwnerId=world.user)
    for n in range(5):
        world.add("Visit__c", Name=f"v{n}", Patient__c=account if n % 2 else None, Fee__c=n / 3, On__c="2026-02-18", OwnerId=world.user)
    world.add("Task", Subject="t", WhatId=account, OwnerId=world.user)
    yield world
    world.store.close()


@settings(max_examples=250, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(soql=queries(), all_rows=st.booleans())
def test_every_query_is_answered_or_refused(shared: World, soql: str, all_rows: bool) -> None:
    for run in (
        lambda: json.dumps(shared.executor.query(soql, shared.context, ROOT, all_rows=all_rows).body(ROOT)),
        lambda: list(shared.executor.csv_rows(soql, shared.context, all_rows=all_rows)[1]),
    ):
        try:
            run()
        except SoqlError as error:
            assert error.code in KNOWN_CODES, error


@settings(max_examples=250, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(soql=sound_queries())
def test_every_sound_query_is_answered(shared: World, soql: str) -> None:
    page = shared.executor.query(soql, shared.context, ROOT)
    assert page.total == len(page.records)
    json.dumps(page.body(ROOT), allow_nan=False)


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(condition=sound_conditions)
def test_a_condition_and_its_negation_share_the_rows_between_them(shared: World, condition: str) -> None:
    """Two-valued logic: no row falls between a condition and its NOT."""

    def found(where: str) -> set[object]:
        return {row["Id"] for row in shared.rows(f"SELECT Id FROM Visit__c v WHERE {where}")}

    holds, fails = found(f"({condition})"), found(f"(NOT ({condition}))")
    assert holds | fails == {row["Id"] for row in shared.rows("SELECT Id FROM Visit__c")}
    assert not holds & fails
