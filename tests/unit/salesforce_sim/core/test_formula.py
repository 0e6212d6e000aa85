"""Formulas: what the rules need, and blank as Salesforce has it."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from local.salesforce.dml_types import Row
from local.salesforce.formula import FormulaError, Value, compile_formula
from local.salesforce.schema import Org


class Frame:
    custom_permissions = frozenset({"OMSync_Load"})
    now = "2026-03-01T12:00:00.000Z"

    def user(self, name: str) -> Value:
        return {"Alias": "ada"}.get(name, "")

    def profile(self, name: str) -> Value:
        return ""

    def parent(self, relationship: str, row: Row, name: str) -> Value:
        return {"RecordTypeId": "Patient", "Patient__c": "Ada"}[relationship]


type Evaluate = Callable[..., Value]


@pytest.fixture
def evaluate(org: Org) -> Evaluate:
    consent = org.objects["Consent__c"]

    def run(formula: str, new: dict[str, object] | None = None, old: dict[str, object] | None = None, of: str = "Consent__c") -> Value:
        obj = org.objects[of]
        empty: Row = dict.fromkeys(obj.columns)
        row = empty | (new or {})  # type: ignore[operator]
        before = row if old is None else empty | old  # type: ignore[operator]
        return compile_formula(formula, obj, org)(row, before, old is None, Frame())

    assert consent
    return run


@pytest.mark.parametrize(
    ("formula", "value"),
    [
        ("1 + 2 * 3 = 7", True),
        ("(1 + 2) * 3 = 9", True),
        ("2 ^ 3", 8.0),
        ("10 / 4", 2.5),
        ("-3 + 5", 2.0),
        ('"a" & "b" & TEXT(3)', "ab3"),
        ("NOT(FALSE) && (FALSE || TRUE)", True),
        ("!TRUE", False),
        ('IF(1 < 2, "yes", "no")', "yes"),
        ('CASE(2, 1, "one", 2, "two", "many")', "two"),
        ('LEN("abc") = 3', True),
        ('LEFT("abcdef", 2) & RIGHT("abcdef", 2) & MID("abcdef", 3, 2)', "abefcd"),
        ('CONTAINS("abc", "b")', True),
        ('BEGINS("abc", "ab")', True),
        ('REGEX("12345", "[0-9]{5}")', True),
        ('ISNUMBER("1.5")', True),
        ('VALUE("1.5") = 1.5', True),
        ("MAX(1, 3, 2) + MIN(4, 2) + ABS(-1) + MOD(7, 4) + ROUND(1.26, 1)", 10.3),
        ("TODAY() - 1 < TODAY()", True),
        ('TEXT(TODAY() + 1) = "2026-03-02"', True),
        ("$Permission.OMSync_Load", True),
        ("$Permission.OMSync_Integration", False),
        ('$User.Alias = "ada"', True),
        ("/* a comment */ TRUE", True),
        ('"it\\"s" <> \'x\'', True),
    ],
)
def test_expressions(evaluate: Evaluate, formula: str, value: Value) -> None:
    assert evaluate(formula) == pytest.approx(value)


@pytest.mark.parametrize(
    ("formula", "value"),
    [
        ("ISBLANK(Version_Name__c)", True),
        ("ISNULL(Version_Name__c)", False),
        ('Version_Name__c = ""', True),
        ("ISBLANK(OMS_Version__c) && ISNULL(OMS_Version__c)", True),
        ("OMS_Version__c < 5", False),
        ("OMS_Version__c > 5", False),
        ("OMS_Version__c <> 5", True),
        ("ISBLANK(OMS_Version__c + 1)", True),
        ("BLANKVALUE(OMS_Version__c, 7)", 7.0),
        ('BLANKVALUE(Version_Name__c, "none")', "none"),
        ("Granted__c", False),
        ('ISPICKVAL(Type__c, "")', True),
    ],
)
def test_blank(evaluate: Evaluate, formula: str, value: Value) -> None:
    assert evaluate(formula) == value


def test_prior_value_of_a_new_record_is_the_new_value(evaluate: Evaluate) -> None:
    assert evaluate("PRIORVALUE(OMS_Version__c)", {"OMS_Version__c": 4.0}) == 4.0
    assert evaluate("ISCHANGED(OMS_Version__c)", {"OMS_Version__c": 4.0}) is False


def test_the_version_guard(evaluate: Evaluate) -> None:
    guard = "AND(NOT(ISNEW()), OMS_Version__c < BLANKVALUE(PRIORVALUE(OMS_Version__c), 0))"
    assert evaluate(guard, {"OMS_Version__c": 1.0}) is False
    assert evaluate(guard, {"OMS_Version__c": 1.0}, {"OMS_Version__c": 2.0}) is True
    assert evaluate(guard, {"OMS_Version__c": 2.0}, {"OMS_Version__c": 2.0}) is False
    assert evaluate(guard, {"OMS_Version__c": 1.0}, {"OMS_Version__c": None}) is False


def test_changes_are_seen_with_case(evaluate: Evaluate) -> None:
    assert evaluate("ISCHANGED(Version_Name__c)", {"Version_Name__c": "A"}, {"Version_Name__c": "a"}) is True
    assert evaluate("ISCHANGED(Version_Name__c)", {"Version_Name__c": "a"}, {"Version_Name__c": "a"}) is False
    assert evaluate('PRIORVALUE(Version_Name__c) = "a"', {"Version_Name__c": "A"}, {"Version_Name__c": "a"}) is True


def test_picklists_and_parents(evaluate: Evaluate) -> None:
    assert evaluate('ISPICKVAL(Type__c, "sms")', {"Type__c": "sms"}) is True
    assert evaluate('ISPICKVAL(PRIORVALUE(Type__c), "sms")', {"Type__c": "telehealth"}, {"Type__c": "sms"}) is True
    assert evaluate('TEXT(Type__c) = "sms"', {"Type__c": "sms"}) is True
    assert evaluate('INCLUDES(Tags__c, "b")', {"Tags__c": "a;b"}) is True
    assert evaluate('Patient__r.Name = "Ada"', {"Patient__c": "001"}) is True
    assert evaluate('RecordType.DeveloperName = "Patient"', of="Account") is True


@pytest.mark.parametrize(
    ("formula", "says"),
    [
        ("Nope__c = 1", "field Nope__c does not exist on Consent__c"),
        ("Nope__r.Name", "relationship Nope__r does not exist"),
        ("Patient__r.Nope", "Nope is no field of Account"),
        ("FOO(1)", "unknown function FOO"),
        ("AND(", "unexpected"),
        ("1 1", "expected end"),
        ("ISCHANGED(1)", "'1' is no field"),
        ("IF(TRUE, 1)", "IF at character 1: 2 arguments"),
        ("1 ~ 2", "unexpected ' ~ 2'"),
    ],
)
def test_what_can_not_be_compiled_is_named(evaluate: Evaluate, formula: str, says: str) -> None:
    with pytest.raises(FormulaError, match=says.replace("(", r"\(")):
        evaluate(formula)
