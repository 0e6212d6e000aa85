"""What queries answer: Salesforce's filters, joins, aggregates, rendering and paging, on real rows."""

from collections.abc import Callable

import pytest

from local.salesforce.soql.errors import SoqlError
from tests.unit.salesforce_sim.soql.conftest import ROOT, World


def test_a_record_carries_its_type_and_url_and_values_as_salesforce_renders_them(world: World) -> None:
    (row,) = world.rows("select id, fee__C, Rating__c, On__c, Paid__c, CreatedDate, Patient__r.Name from visit__c where Name = 'V1'")
    assert row == {
        "attributes": {"type": "Visit__c", "url": f"{ROOT}/sobjects/Visit__c/{row['Id']}"},
        "Id": row["Id"],
        "Fee__c": 1200.5,
        "Rating__c": 5.0,
        "On__c": "2026-02-18",
        "Paid__c": True,
        "CreatedDate": "2026-02-18T12:00:00.000+0000",
        "Patient__r": {"attributes": {"type": "Account", "url": row["Patient__r"]["attributes"]["url"]}, "Name": "Ann"},  # type: ignore[index]
    }
    assert list(row)[1:4] == ["Id", "Fee__c", "Rating__c"]


def test_a_compound_address_is_an_object_and_null_when_it_is_empty(world: World) -> None:
    rows = world.rows("SELECT BillingAddress FROM Account ORDER BY Name LIMIT 2")
    assert rows[0]["BillingAddress"] == {
        "city": "Paris", "country": None, "geocodeAccuracy": None, "latitude": 48.85, "longitude": None,
        "postalCode": None, "state": None, "street": None,
    }  # fmt: skip
    assert rows[1]["BillingAddress"] is None


@pytest.mark.parametrize(
    ("where", "found"),
    [
        ("Name = 'V1'", ["v1"]),
        ("Fee__c > 10", ["v1"]),
        ("Fee__c >= 10", ["v1", "v2"]),
        ("Fee__c != 10", ["v1", "v3"]),
        ("Fee__c <> null", ["v1", "v2"]),
        ("Fee__c = null", ["v3"]),
        ("NOT Fee__c > 10", ["v2", "v3"]),
        ("Paid__c = true", ["v1"]),
        ("Paid__c != true", ["v2", "v3"]),
        ("Status__c = ''", ["v3"]),
        ("Status__c IN ('OPEN', 'nope')", ["v1"]),
        ("Status__c IN ('open', null)", ["v1", "v3"]),
        ("Status__c NOT IN ('open')", ["v2", "v3"]),
        ("Name LIKE 'V_'", ["v1", "v2", "v3"]),
        ("Name LIKE '%1'", ["v1"]),
        ("(NOT Name LIKE '%1')", ["v2", "v3"]),
        (r"Name LIKE 'v\_'", []),
        ("Tags__c INCLUDES ('A')", ["v1"]),
        ("Tags__c INCLUDES ('a;c', 'B')", ["v1", "v2"]),
        ("Tags__c INCLUDES ('A;B')", []),
        ("Tags__c EXCLUDES ('B')", ["v1", "v3"]),
        ("On__c = TODAY", ["v1"]),
        ("On__c = LAST_YEAR", ["v2"]),
        ("On__c < THIS_YEAR", ["v2"]),
        ("On__c >= LAST_N_DAYS:60", ["v1", "v2"]),
        ("On__c != TODAY", ["v2", "v3"]),
        ("CreatedDate = TODAY", ["v1", "v2", "v3"]),
        ("CreatedDate > TODAY", []),
        ("CreatedDate <= 2026-02-18T07:00:00-05:00", ["v1", "v2", "v3"]),
        ("CreatedDate < 2026-02-18T12:00:00Z", []),
        ("On__c = 2026-02-18", ["v1"]),
        ("CALENDAR_YEAR(On__c) = 2025", ["v2"]),
        ("DAY_ONLY(CreatedDate) = 2026-02-18", ["v1", "v2", "v3"]),
        ("Patient__r.Name = 'BOB'", ["v2"]),
        ("Patient__r.Parent.Name = 'ann'", ["v2"]),
        ("Patient__r.IsDeleted = false", ["v1", "v2", "v3"]),
        ("toLabel(Status__c) = 'still open'", ["v1"]),
        ("Fee__c = 10 OR Name = 'v1' OR Name = 'v3'", ["v1", "v2", "v3"]),
        ("(Fee__c = 10 OR Name = 'v1') AND Paid__c = true", ["v1"]),
        ("Patient__c IN (SELECT Id FROM Account WHERE Name = 'Ann')", ["v1"]),
        ("Patient__c NOT IN (SELECT Id FROM Account WHERE Name = 'Ann')", ["v2", "v3"]),
        ("Id IN (SELECT Id FROM Visit__c) AND Name = 'v1'", ["v1"]),
    ],
)  # fmt: skip
def test_a_condition_finds_what_salesforce_would(world: World, where: str, found: list[str]) -> None:
    assert world.names(where) == found


def test_text_compares_without_case_beyond_ascii_too(world: World) -> None:
    assert world.names("Name = 'éMILE'", "Account") == ["Émile"]
    assert world.names("Name LIKE 'ém%'", "Account") == ["Émile"]
    assert world.names("Name IN ('ÉMILE')", "Account") == ["Émile"]


def test_an_account_found_by_its_children(world: World) -> None:
    assert world.names("Id IN (SELECT Patient__c FROM Visit__c WHERE Paid__c = true)", "Account") == ["Ann"]
    assert world.names("Id NOT IN (SELECT Patient__c FROM Visit__c)", "Account") == ["Émile"]


def test_an_id_of_fifteen_characters_is_the_same_id(world: World) -> None:
    (row,) = world.rows("SELECT Id FROM Visit__c WHERE Name = 'v1'")
    assert len(world.rows(f"SELECT Id FROM Visit__c WHERE Id = '{str(row['Id'])[:15]}'")) == 1


def test_nulls_sort_first_unless_told_otherwise(world: World) -> None:
    def order(by: str) -> list[object]:
        return [row["Name"] for row in world.rows(f"SELECT Name FROM Visit__c ORDER BY {by}")]

    assert order("Fee__c") == ["v3", "v2", "v1"]
    assert order("Fee__c NULLS LAST") == ["v2", "v1", "v3"]
    assert order("Fee__c DESC") == ["v3", "v1", "v2"]
    assert order("Fee__c DESC NULLS LAST") == ["v1", "v2", "v3"]
    assert order("Patient__r.Name DESC NULLS LAST, Name") == ["v2", "v1", "v3"]


def test_limit_and_offset(world: World) -> None:
    assert [r["Name"] for r in world.rows("SELECT Name FROM Visit__c ORDER BY Name LIMIT 1 OFFSET 1")] == ["v2"]
    assert world.refused("SELECT Id FROM Visit__c OFFSET 2001").code == "NUMBER_OUTSIDE_VALID_RANGE"


def test_deleted_rows_are_seen_by_query_all_alone(world: World) -> None:
    assert len(world.rows("SELECT Id FROM Visit__c")) == 3
    assert len(world.rows("SELECT Id FROM Visit__c", all_rows=True)) == 4
    assert len(world.rows("SELECT Id FROM Visit__c ALL ROWS")) == 4
    assert [r["IsDeleted"] for r in world.rows("SELECT IsDeleted FROM Visit__c WHERE IsDeleted = true", all_rows=True)] == [True]


def test_children_come_in_a_result_of_their_own_or_null(world: World) -> None:
    rows = world.rows("SELECT Name, (SELECT Name FROM Visits__r ORDER BY Name), (SELECT Id FROM Account.Contacts c LIMIT 1) FROM Account")
    by_name = {row["Name"]: row for row in rows}
    visits = by_name["Ann"]["Visits__r"]
    assert isinstance(visits, dict)
    assert (visits["totalSize"], visits["done"]) == (1, True)
    assert [r["Name"] for r in visits["records"]] == ["v1"]
    assert "Patient__c" not in visits["records"][0]
    assert by_name["Émile"]["Visits__r"] is None
    assert list(by_name["Ann"]) == ["attributes", "Name", "Visits__r", "Contacts"]


def test_a_childs_limit_counts_within_each_parent(world: World) -> None:
    ann = world.rows("SELECT Id FROM Account WHERE Name = 'Ann'")[0]["Id"]
    world.add("Visit__c", Name="v5", Patient__c=ann)
    rows = world.rows(
        "SELECT Name, (SELECT Name FROM Visits__r ORDER BY Name DESC LIMIT 1) FROM Account WHERE Name IN ('Ann', 'bob') ORDER BY Name"
    )
    assert [[v["Name"] for v in r["Visits__r"]["records"]] for r in rows] == [["v5"], ["v2"]]  # type: ignore[index]


def test_object_names_and_aliases_may_stand_before_fields(world: World) -> None:
    assert world.rows("SELECT Account.Name FROM Account WHERE Account.Name = 'Ann'")[0]["Name"] == "Ann"
    (row,) = world.rows("SELECT v.Name, p.Name FROM Visit__c v, v.Patient__r p WHERE p.Name = 'Ann'")
    assert row["Patient__r"]["Name"] == "Ann"  # type: ignore[index]


def test_a_polymorphic_parent_shows_its_name_fields(world: World) -> None:
    call, idle = world.rows("SELECT Subject, What.Name, What.Type, Owner.Name FROM Task ORDER BY Subject")
    what = call["What"]
    assert isinstance(what, dict)
    assert (what["Name"], what["Type"], what["attributes"]["type"]) == ("Ann", "Account", "Name")
    assert what["attributes"]["url"].startswith(f"{ROOT}/sobjects/Account/001")
    assert idle["What"] is None
    assert call["Owner"]["Name"] == "Ada Admin"  # type: ignore[index]
    assert len(world.rows("SELECT Id FROM Task WHERE What.Type = 'Account'")) == 1
    assert "No such column 'Fee__c' on entity 'Name'" in world.refused("SELECT What.Fee__c FROM Task").message


def test_typeof_chooses_fields_by_the_parents_object(world: World) -> None:
    soql = "SELECT Subject, TYPEOF What WHEN Account THEN Name, BillingCity WHEN Case THEN Subject ELSE Id END FROM Task ORDER BY Subject"
    call, idle = world.rows(soql)
    what = call["What"]
    assert isinstance(what, dict)
    assert (what["attributes"]["type"], what["Name"], what["BillingCity"]) == ("Account", "Ann", "Paris")
    assert idle["What"] is None


def test_counts_and_aggregates(world: World) -> None:
    page = world.page("SELECT COUNT() FROM Visit__c WHERE Fee__c != null")
    assert (page.total, page.records) == (2, [])
    assert world.rows("select count(Id) from Visit__c") == [{"attributes": {"type": "AggregateResult"}, "expr0": 3}]
    (row,) = world.rows(
        "SELECT COUNT(Fee__c) n, SUM(Fee__c) s, AVG(Rating__c), MIN(On__c), MAX(Name) m, COUNT_DISTINCT(Rating__c) FROM Visit__c"
    )
    assert row == {
        "attributes": {"type": "AggregateResult"}, "n": 2, "s": 1210.5, "expr0": 5.0, "expr1": "2025-12-31", "m": "v3", "expr2": 1,
    }  # fmt: skip


def test_groups_with_having_and_order(world: World) -> None:
    rows = world.rows(
        "SELECT Patient__r.Name, COUNT(Id) n FROM Visit__c GROUP BY Patient__r.Name ORDER BY COUNT(Id), Patient__r.Name NULLS LAST"
    )
    assert [(r["Name"], r["n"]) for r in rows] == [("Ann", 1), ("bob", 1), (None, 1)]
    rows = world.rows("SELECT Status__c s, SUM(Fee__c) FROM Visit__c GROUP BY Status__c HAVING SUM(Fee__c) > 100")
    assert [(r["s"], r["expr0"]) for r in rows] == [("open", 1200.5)]
    rows = world.rows(
        "SELECT CALENDAR_YEAR(On__c) y, COUNT(Id) c FROM Visit__c WHERE On__c != null "
        "GROUP BY CALENDAR_YEAR(On__c) ORDER BY CALENDAR_YEAR(On__c)"
    )
    assert [(r["y"], r["c"]) for r in rows] == [(2025, 1), (2026, 1)]


def test_fields_spells_out_an_object(world: World) -> None:
    (row,) = world.rows("SELECT FIELDS(ALL) FROM Visit__c WHERE Name = 'v1' LIMIT 200")
    assert list(row)[1:] == list(world.store.org.objects["Visit__c"].fields)
    (row,) = world.rows("SELECT Name, FIELDS(CUSTOM) FROM Visit__c WHERE Name = 'v1' LIMIT 1")
    assert "CreatedDate" not in row
    assert row["Notes__c"] == "long"
    assert world.rows("SELECT FIELDS(STANDARD) FROM Visit__c")
    error = world.refused("SELECT FIELDS(ALL) FROM Visit__c")
    assert error.message == (
        "\nSELECT FIELDS(ALL) FROM Visit__c\n       ^\nERROR at Row:1:Column:8\nThe SOQL FIELDS function must have a LIMIT of at most 200"
    )
    assert world.refused("SELECT Id, FIELDS(ALL) FROM Visit__c LIMIT 1").message == "duplicate field selected: Id"


def test_labels_and_formats(world: World) -> None:
    (row,) = world.rows(
        "SELECT toLabel(Status__c), FORMAT(Fee__c) fee, FORMAT(CreatedDate), FORMAT(On__c) d FROM Visit__c WHERE Name = 'v1'"
    )
    assert row["Status__c"] == "Still open"
    assert row["fee"] == "$1,200.50"
    assert row["CreatedDate"] == "2/18/2026, 12:00 PM"
    assert row["d"] == "2/18/2026"


# Errors -------------------------------------------------------------------------------------------------------------

HINT = "Please reference your WSDL or the describe call for the appropriate names."


def test_an_unknown_object_is_refused_as_recorded(world: World) -> None:
    error = world.refused("SELECT Id,Name,BillingCity,IsDeleted FROM Accout")
    assert error.code == "INVALID_TYPE"
    assert error.message == (
        "\nName,BillingCity,IsDeleted FROM Accout\n                                ^\nERROR at Row:1:Column:43\n"
        f"sObject type 'Accout' is not supported. If you are attempting to use a custom object, be sure to append the '__c' after the "
        f"entity name. {HINT}"
    )


def test_an_unknown_field_is_refused_with_its_place(world: World) -> None:
    error = world.refused("SELECT Id, Foo__c FROM Account")
    assert error.code == "INVALID_FIELD"
    assert error.message == (
        "\nSELECT Id, Foo__c FROM Account\n           ^\nERROR at Row:1:Column:12\nNo such column 'Foo__c' on entity 'Account'. If you are "
        f"attempting to use a custom field, be sure to append the '__c' after the custom field name. {HINT}"
    )


@pytest.mark.parametrize(
    ("soql", "code", "text"),
    [
        ("SELECT Foo.Name FROM Account", "INVALID_FIELD", "Didn't understand relationship 'Foo' in field path."),
        ("SELECT Id, (SELECT Id FROM Foos) FROM Account", "INVALID_TYPE", "Didn't understand relationship 'Foos' in FROM part"),
        ("SELECT Id FROM Visit__c WHERE Notes__c = 'x'", "INVALID_FIELD", "field 'Notes__c' can not be filtered in a query call"),
        ("SELECT Id FROM Visit__c ORDER BY Notes__c", "INVALID_FIELD", "field 'Notes__c' can not be sorted in a query call"),
        ("SELECT COUNT(Id) FROM Visit__c GROUP BY CreatedDate", "INVALID_FIELD", "field 'CreatedDate' can not be grouped in a query call"),
        ("SELECT Name, COUNT(Id) FROM Visit__c", "MALFORMED_QUERY", "Field must be grouped or aggregated: Name"),
        ("SELECT SUM(Name) FROM Visit__c", "MALFORMED_QUERY", "field Name does not support aggregate operator SUM"),
        ("SELECT Id FROM Visit__c WHERE Paid__c = 'true'", "INVALID_FIELD",
         "value of filter criterion for field 'Paid__c' must be of type boolean and should not be enclosed in quotes"),
        ("SELECT Id FROM Visit__c WHERE CreatedDate = '2026-01-01'", "INVALID_FIELD",
         "value of filter criterion for field 'CreatedDate' must be of type dateTime and should not be enclosed in quotes"),
        ("SELECT Id FROM Visit__c WHERE Name = 5", "INVALID_FIELD",
         "value of filter criterion for field 'Name' must be of type string and should be enclosed in quotes"),
        ("SELECT Id FROM Visit__c WHERE Id = 'abc'", "MALFORMED_QUERY", "invalid ID field: abc"),
        ("SELECT Id, Name, Id FROM Visit__c", "INVALID_FIELD", "duplicate field selected: Id"),
        ("SELECT Name n FROM Visit__c", "MALFORMED_QUERY", "only aggregate expressions use field aliasing"),
        ("SELECT Id, (SELECT COUNT(Id) FROM Visits__r) FROM Account", "MALFORMED_QUERY", "Only root queries support aggregate expressions"),
        ("SELECT Id FROM Account WHERE Name = 'a' OR Id IN (SELECT AccountId FROM Contact)", "MALFORMED_QUERY",
         "Semi join sub-selects are not allowed with the 'OR' operator"),
        ("SELECT Id FROM Visit__c WHERE Patient__c IN (SELECT Id FROM Contact)", "MALFORMED_QUERY",
         "query 'Patient__c' should point to the same object type"),
        ("SELECT Id FROM Visit__c WHERE Name IN (SELECT Id FROM Account)", "MALFORMED_QUERY", "should be an id field, cannot use: 'Name'"),
        ("SELECT Patient__r.Parent.Parent.Parent.Parent.Parent.Name FROM Visit__c", "INVALID_FIELD", "relationship levels"),
        ("SELECT CALENDAR_YEAR(Name) FROM Visit__c GROUP BY CALENDAR_YEAR(Name)", "MALFORMED_QUERY", "does not support date function"),
    ],
)  # fmt: skip
def test_what_salesforce_refuses_is_refused_in_its_words(world: World, soql: str, code: str, text: str) -> None:
    error = world.refused(soql)
    assert error.code == code
    assert text in error.message


# Pages --------------------------------------------------------------------------------------------------------------


def test_pages_follow_the_first_pages_ids_whatever_happens_since(make_world: Callable[[], World]) -> None:
    world = make_world()
    ids = [world.add("Account", Name=f"n{n:04d}") for n in range(450)]
    first = world.page("SELECT Id, Name FROM Account ORDER BY Name DESC", batch=200)
    assert (first.total, len(first.records), first.done) == (450, 200, False)
    assert first.next is not None
    assert first.next.startswith("01g")
    assert first.next.endswith("-200")
    assert first.body(ROOT)["nextRecordsUrl"] == f"{ROOT}/query/{first.next}"
    world.add("Account", Name="n9999")
    second = world.executor.more(first.next, world.context, ROOT)
    assert second.next is not None
    third = world.executor.more(second.next, world.context, ROOT)
    assert (second.total, third.total, third.done) == (450, 450, True)
    seen = [r["Id"] for page in (first, second, third) for r in page.records]
    assert seen == ids[::-1]
    assert world.executor.more(second.next, world.context, ROOT).records == third.records


@pytest.mark.parametrize("locator", ["", "01g", "01gOm0000000001AAA-0", "x-y", "01gOm0000000001AAA-99999999999999"])
def test_an_unknown_locator_is_refused(world: World, locator: str) -> None:
    with pytest.raises(SoqlError) as error:
        world.executor.more(locator, world.context, ROOT)
    assert error.value.code == "INVALID_QUERY_LOCATOR"


@pytest.mark.parametrize(
    "where",
    [
        "SystemModstamp > 2026-01-01T00:00:00Z OR (SystemModstamp = 2026-01-01T00:00:00Z AND Id > '001000000000001AAA')",
        "SystemModstamp >= 2026-01-01T00:00:00Z AND (SystemModstamp > 2026-01-01T00:00:00Z OR Id > '001000000000001AAA')",
    ],
)
def test_a_keyset_over_the_change_feed_uses_its_index(world: World, where: str) -> None:
    _, steps = world.executor.plan_text(f"SELECT Id, Name FROM Account WHERE {where} ORDER BY SystemModstamp, Id LIMIT 2000", world.context)
    assert "SEARCH" in steps[0]
    assert "Account_modstamp (" in steps[0]
    assert not any("TEMP B-TREE" in step for step in steps)


@pytest.mark.parametrize(
    ("where", "index"),
    [
        ("OMS_Id__c = 'o-1'", "Visit__c_OMS_Id__c"),
        ("OMS_Id__c IN ('a', 'b', 'o-1')", "Visit__c_OMS_Id__c"),
        (f"OMS_Id__c IN ({', '.join(f"'{n}'" for n in range(400))})", "Visit__c_OMS_Id__c"),
        ("Patient__c = '001000000000001AAA'", "Visit__c_Patient__c"),
        ("Id IN ('a01000000000001AAA')", "sqlite_autoindex_Visit__c_1"),
    ],
)
def test_external_ids_lookups_and_ids_are_found_by_index(world: World, where: str, index: str) -> None:
    _, steps = world.executor.plan_text(f"SELECT Id, Name FROM Visit__c WHERE {where}", world.context)
    assert index in steps[0]


def test_a_long_list_and_a_deep_condition_are_no_trouble(world: World) -> None:
    names = ", ".join(f"'x{n}'" for n in range(5000))
    assert world.names(f"Name IN ({names}, 'v1')") == ["v1"]
    assert world.names("Name = 'v1'" + " OR Name = 'x'" * 3000) == ["v1"]


def test_a_bulk_query_streams_rows_ready_for_csv(world: World) -> None:
    header, rows = world.executor.csv_rows(
        "SELECT Name, Paid__c, Fee__c, CreatedDate, Patient__r.Name FROM Visit__c ORDER BY Name", world.context
    )
    assert header == ["Name", "Paid__c", "Fee__c", "CreatedDate", "Patient__r.Name"]
    assert next(iter(rows)) == ("v1", "true", 1200.5, "2026-02-18T12:00:00.000Z", "Ann")
    for soql in ("SELECT BillingAddress FROM Account", "SELECT Id, (SELECT Id FROM Contacts) FROM Account", "SELECT COUNT() FROM Account"):
        with pytest.raises(SoqlError, match="not supported in Bulk Query"):
            world.executor.csv_rows(soql, world.context)
