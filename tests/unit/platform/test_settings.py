"""A function's environment is read once, and what is wrong with it is said without its values."""

from __future__ import annotations

import pytest

from omsync.platform import settings

WHOLE = {
    "STAGE": "local",
    "VERSION": "1.2.3",
    "BUILD_ID": "abc",
    "OMS_BASE_URL": "http://oms",
    "OMS_SECRET_ARN": "arn:oms",
    "SALESFORCE_BASE_URL": "https://org",
    "SALESFORCE_SECRET_ARN": "arn:org",
    "MIRROR_QUEUE_URL": "http://mirror",
    "SYNC_QUEUE_URL": "http://sync",
    "STATE_TABLE": "state",
}


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in WHOLE.items():
        monkeypatch.setenv(name, value)


def test_a_function_gets_what_its_mixins_name() -> None:
    told = settings.load(settings.Health)
    assert (told.version, told.oms_base_url, told.state_table, told.salesforce_ca) == ("1.2.3", "http://oms", "state", "")


def test_a_missing_variable_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("STATE_TABLE")
    with pytest.raises(settings.SettingsFault, match="STATE_TABLE: Field required"):
        settings.load(settings.Health)


def test_a_wrong_value_is_not_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STAGE", "s3cr3t")
    with pytest.raises(settings.SettingsFault, match="STAGE") as fault:
        settings.load(settings.Health)
    assert "s3cr3t" not in str(fault.value)


def test_settings_do_not_change() -> None:
    told = settings.load(settings.Health)
    with pytest.raises(ValueError, match="frozen"):
        told.version = "2"  # type: ignore[misc]
