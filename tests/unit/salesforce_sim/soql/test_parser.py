"""The parser reads what Salesforce reads and refuses the rest in Salesforce's words, with nothing but SoqlError."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from local.salesforce.soql.errors import SoqlError
from local.salesforce.soql.nodes import Call, Compare, DateLiteral, Field, Junction, Membership, Not, Query, SelectExpr, SelectQuery
from local.salesforce.soql.parser import parse


def refused(text: str) -> str:
    with pytest.raises(SoqlError) as error:
        parse(text)
    assert error.value.code == "MALFORMED_QUERY"
    return error.value.message


def test_every_clause_is_read() -> None:
    query = parse(
        "select Account.Name, count(Id) n from Contact c using scope everything where c.Name like 'A%' group by Account.Name "
        "having count(Id) > 1 order by Account.Name desc nulls last limit 5 offset 2 for view for reference all rows"
    )
    assert query.select == (
        SelectExpr(Field(("Account", "Name"), 7), None),
        SelectExpr(Call("COUNT", (Field(("Id",), 27),), 21), "n"),
    )
    assert query.sources[0].path == ("Contact",)
    assert query.sources[0].alias == "c"
    assert isinstance(query.where, Compare)
    assert query.where.operator == "LIKE"
    assert query.order_by[0].descending
    assert query.order_by[0].nulls == "LAST"
    assert (query.limit, query.offset, query.all_rows, query.locking) == (5, 2, True, ("VIEW", "REFERENCE"))


def test_objects_named_like_keywords_can_be_queried() -> None:
    assert parse("SELECT Id FROM Order ORDER BY Id").sources[0].path == ("Order",)
    assert parse("SELECT Group.Name FROM GroupMember WHERE Group.Name = 'x'").select[0] == SelectExpr(Field(("Group", "Name"), 7), None)
    assert parse("SELECT Id FROM Group WHERE Name = 'x'").sources[0].alias is None


def test_subqueries_and_semi_joins_are_queries_of_their_own() -> None:
    query = parse("SELECT Id, (SELECT Id FROM Contacts LIMIT 1) FROM Account WHERE Id NOT IN (SELECT AccountId FROM Contact)")
    assert isinstance(query.select[1], SelectQuery)
    assert query.select[1].query.limit == 1
    assert isinstance(query.where, Membership)
    assert query.where.operator == "NOT IN"
    assert isinstance(query.where.values, Query)


def test_date_literals_take_their_number() -> None:
    where = parse("SELECT Id FROM Case WHERE CreatedDate = LAST_N_DAYS:30").where
    assert isinstance(where, Compare)
    assert where.right.value == DateLiteral("LAST_N_DAYS", 30)


def test_strings_are_unescaped() -> None:
    where = parse(r"SELECT Id FROM Case WHERE Subject = 'it\'s\n\u0041\\' ").where
    assert isinstance(where, Compare)
    assert where.right.value == "it's\nA\\"


def test_and_and_or_do_not_mix_without_parentheses() -> None:
    message = refused("SELECT Id FROM Account WHERE Name = 'a' AND Name = 'b' OR Name = 'c'")
    assert message.endswith("ERROR at Row:1:Column:56\nunexpected token: 'OR'")
    mixed = parse("SELECT Id FROM Account WHERE (Name = 'a' AND Name = 'b') OR Name = 'c'").where
    assert isinstance(mixed, Junction)
    assert mixed.operator == "OR"


def test_not_stands_alone_or_in_parentheses() -> None:
    assert isinstance(parse("SELECT Id FROM Account WHERE NOT Name = 'a'").where, Not)
    assert "unexpected token: 'AND'" in refused("SELECT Id FROM Account WHERE NOT Name = 'a' AND Name = 'b'")
    assert isinstance(parse("SELECT Id FROM Account WHERE (NOT Name = 'a') AND Name = 'b'").where, Junction)


def test_an_error_shows_thirty_characters_around_its_place_in_whole_words() -> None:
    assert refused("SELECT Id FROM Account WHERE") == (
        "\nSELECT Id FROM Account WHERE\n                            ^\nERROR at Row:1:Column:29\nunexpected token: '<EOF>'"
    )
    message = refused("SELECT Id,\nName\nFROM Account\nWHERE Name = 'a' LIMIT -1")
    assert message == "\nWHERE Name = 'a' LIMIT -1\n                       ^\nERROR at Row:4:Column:24\nunexpected token: '-1'"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("SELEKT Name FROM Account", "unexpected token: SELEKT"),
        ("", "unexpected token: <EOF>"),
        ("SELECT Id FROM $x", "line 1:15 unexpected token: '$'"),
        ("SELECT Id FROM x WHERE a = 'b", "line 1:29 mismatched character '<EOF>' expecting '''"),
    ],
)
def test_some_errors_have_no_place(text: str, message: str) -> None:
    assert refused(text) == message


@pytest.mark.parametrize(
    ("text", "end"),
    [
        ("SELECT FROM Account", "unexpected token: 'SELECT FROM'"),
        ("SELECT Id FROM Account WHERE ParentId IN ()", "unexpected token: 'ParentId IN ()'"),
        ("SELECT Id, FROM Account", "unexpected token: 'FROM'"),
        ("SELECT Id FROM Account WHERE Name = :name", "Bind variables only allowed in Apex code"),
        ("SELECT Id FROM Account GROUP BY ROLLUP(Name)", "GROUP BY ROLLUP is not supported by this simulator"),
        ("SELECT Id FROM Account WHERE Name = 'a' LIMIT 1 WHERE Id = null", "unexpected token: 'WHERE'"),
        ("SELECT Id FROM Account WHERE Name = 'a\\q'", "Illegal character sequence '\\q' in string literal"),
        ("SELECT Id FROM " + "x" * 100_000, "SOQL statements cannot be longer than 100000 characters."),
        ("SELECT Id FROM Account WHERE " + "(" * 5000, "The query is nested too deeply"),
    ],
)
def test_what_salesforce_refuses_is_refused_in_its_words(text: str, end: str) -> None:
    assert refused(text).endswith(end)


VOCABULARY = (
    "SELECT FROM WHERE AND OR NOT IN LIKE NULL NULLS FIRST LAST ORDER GROUP BY HAVING LIMIT OFFSET FOR VIEW ALL ROWS TYPEOF WHEN THEN "
    "ELSE END FIELDS COUNT COUNT_DISTINCT toLabel TODAY LAST_N_DAYS USING SCOPE INCLUDES EXCLUDES Id Name Account Contacts a__c "
    "( ) , . : = != < <= > >= <> 'text' '' 'a%' 1 -1 1.5 1e400 2026-01-01 2026-13-99 2026-01-01T00:00:00Z USD5 true $ \\ ' % é"
)
WORDS = st.sampled_from(VOCABULARY.split())


@given(st.lists(WORDS, max_size=25).map(" ".join) | st.text(max_size=60))
def test_any_text_is_parsed_or_refused_with_a_soql_error(text: str) -> None:
    for candidate in (text, f"SELECT Id FROM Account WHERE {text}", f"SELECT {text} FROM Account"):
        try:
            assert isinstance(parse(candidate), Query)
        except SoqlError as error:
            assert error.message
