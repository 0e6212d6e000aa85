"""Log lines carry what is allowed and nothing of a patient (invariant 6)."""

from __future__ import annotations

import io
import json
import uuid
from typing import Any

import pytest
from aws_lambda_powertools import Logger
from hypothesis import given
from hypothesis import strategies as st

from omsync.platform.errors import Permanent
from omsync.platform.telemetry import ALLOWED, AllowListFormatter, allow


@pytest.fixture
def lines() -> tuple[Logger, io.StringIO]:
    out = io.StringIO()
    # Loggers of one service share their handler: a name of its own gives each test a stream of its own.
    return Logger(service=f"test-{uuid.uuid4()}", stream=out, logger_formatter=AllowListFormatter(), level="INFO"), out


def written(out: io.StringIO) -> dict[str, Any]:
    return dict(json.loads(out.getvalue().splitlines()[-1]))


def test_allowed_keys_are_written_and_others_only_named(lines: tuple[Logger, io.StringIO]) -> None:
    logger, out = lines
    logger.info("applied", table="patients", record="patients/1", first_name="Ann", row={"dob": "1980-01-01"})
    line = written(out)
    assert (line["table"], line["record"], line["dropped"]) == ("patients", "patients/1", ["first_name", "row"])
    assert "Ann" not in out.getvalue()
    assert "1980" not in out.getvalue()


def test_appended_keys_go_the_same_way(lines: tuple[Logger, io.StringIO]) -> None:
    logger, out = lines
    logger.append_keys(email="ann@example.com", table="patients")
    logger.info("applied")
    assert "example.com" not in out.getvalue()
    assert written(out)["table"] == "patients"


def test_addresses_and_numbers_are_taken_out_of_text(lines: tuple[Logger, io.StringIO]) -> None:
    logger, out = lines
    logger.info("refused ann@example.com", reason="call +1 (555) 010-7788, (555) 010-7788 or ann@example.com")
    line = written(out)
    assert line["message"] == "refused <address>"
    assert line["reason"] == "call <number>, <number> or <address>"


def test_a_foreign_exception_is_told_without_its_text(lines: tuple[Logger, io.StringIO]) -> None:
    logger, out = lines
    try:
        int("Ann Example")
    except ValueError:
        logger.exception("failed")
    line = written(out)
    assert "Ann" not in out.getvalue()
    assert line["exception"].startswith("ValueError: (text withheld) at test_a_foreign_exception")
    assert line["exception_name"] == "ValueError"


def test_our_own_exception_is_told_with_its_text(lines: tuple[Logger, io.StringIO]) -> None:
    logger, out = lines
    try:
        raise Permanent("too long", code="transform", record="notes/1")
    except Permanent:
        logger.exception("failed")
    assert "Permanent: transform: too long (notes/1)" in written(out)["exception"]


def test_identifiers_are_left_as_they_are() -> None:
    entry = {
        "record": "patients/0190b1f0-7c1e-7a55-8c3e-0242ac120002",
        "salesforce_id": "001Om000000AbCdIAJ",
        "cursor": "7712345678901:0190b1f0",
    }
    assert allow(entry) == entry


def test_long_text_is_no_identifier() -> None:
    assert len(str(allow({"reason": "x" * 5000})["reason"])) < 500


@given(st.dictionaries(st.text(min_size=1), st.text()))
def test_no_value_of_an_unknown_key_is_kept(entry: dict[str, str]) -> None:
    kept = allow(entry)
    assert set(kept) <= ALLOWED
    assert set(kept.get("dropped", [])) == set(entry) - ALLOWED
