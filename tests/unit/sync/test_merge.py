"""Who is right about a unit."""

from __future__ import annotations

import pytest

from omsync.sync.merge import OmsSide, SalesforceSide, Verdict, decide
from omsync.sync.records import Mark, Stamp, Unit

BASE = Mark("k:x", 3, 100)


def unit(policy="latest", owner="both", parent=None) -> Unit:
    return Unit(name="phone", owner=owner, policy=policy, parent=parent)


def oms(value="o", edited_at: int | None = 100, **more) -> OmsSide:
    return OmsSide({"f": value}, edited_at, **more)


def salesforce(value="s", save=3, at=50, **more) -> SalesforceSide:
    return SalesforceSide({"f": value}, Stamp(save, at) if save else None, **more)


@pytest.mark.parametrize("owner", ["oms", "salesforce", "both"])
@pytest.mark.parametrize("policy", ["latest", "oms", "salesforce", "manual", "revoked_wins"])
@pytest.mark.parametrize("locked", [True, False])
def test_equal_values_are_nobodys_conflict(owner: str, policy: str, locked: bool) -> None:
    verdict = decide(unit(policy, owner), BASE, oms("same", 999), salesforce("same", 9, 999), locked=locked)
    assert verdict == Verdict("same")


@pytest.mark.parametrize("policy", ["latest", "oms", "salesforce", "manual", "revoked_wins"])
def test_an_uncontested_edit_wins_whatever_policy_and_clocks_say(policy: str) -> None:
    assert decide(unit(policy), BASE, oms("new", 101), salesforce("old", 3, 10**9)) == Verdict("oms")
    assert decide(unit(policy), BASE, oms("old", 100), salesforce("new", 4, 1)) == Verdict("salesforce")


def test_an_edit_back_to_the_old_value_is_an_edit_too() -> None:
    assert decide(unit(), BASE, oms("b", 101), salesforce("a", 4, 200)).winner == "salesforce"


def test_of_two_edits_the_later_wins_and_a_tie_is_the_oms_s() -> None:
    assert decide(unit(), BASE, oms(edited_at=101), salesforce(save=4, at=102)) == Verdict("salesforce", "contested")
    assert decide(unit(), BASE, oms(edited_at=102), salesforce(save=4, at=101)) == Verdict("oms", "contested")
    assert decide(unit(), BASE, oms(edited_at=101), salesforce(save=4, at=101)) == Verdict("oms", "contested")


@pytest.mark.parametrize(("policy", "winner"), [("oms", "oms"), ("salesforce", "salesforce"), ("manual", "nobody")])
def test_other_policies_do_not_look_at_the_clock(policy: str, winner: str) -> None:
    for at in (1, 10**9):
        assert decide(unit(policy), BASE, oms(edited_at=101), salesforce(save=4, at=at)).winner == winner


def test_a_revocation_wins_whoever_was_later() -> None:
    one = unit("revoked_wins")
    assert decide(one, BASE, oms(edited_at=101, revoked=True), salesforce(save=4, at=999)).winner == "oms"
    assert decide(one, BASE, oms(edited_at=999), salesforce(save=4, at=101, revoked=True)).winner == "salesforce"
    assert decide(one, BASE, oms(edited_at=999, revoked=True), salesforce(save=4, at=101, revoked=True)).winner == "oms"


def test_a_grant_that_follows_a_revocation_uncontested_stands() -> None:
    assert decide(unit("revoked_wins"), BASE, oms(edited_at=100, revoked=True), salesforce(save=4)).winner == "salesforce"


def test_a_value_that_no_person_wrote_in_salesforce_is_overwritten() -> None:
    assert decide(unit(), BASE, oms(), salesforce("by a load")) == Verdict("oms")


def test_the_owner_s_side_stands_and_the_other_s_edit_is_reverted_and_logged() -> None:
    assert decide(unit(owner="oms"), BASE, oms(), salesforce(save=4, at=999)) == Verdict("oms", "owned")
    assert decide(unit(owner="salesforce"), BASE, oms(edited_at=101), salesforce()) == Verdict("salesforce", "owned")
    assert decide(unit(owner="salesforce"), BASE, oms(), salesforce(save=4)) == Verdict("salesforce")


def test_a_locked_unit_is_the_oms_s() -> None:
    assert decide(unit(), BASE, oms(), salesforce(save=4, at=999), locked=True) == Verdict("oms", "owned")


@pytest.mark.parametrize("owner", ["oms", "salesforce", "both"])
def test_a_lookup_that_its_parent_s_deletion_cleared_is_written_again(owner: str) -> None:
    assert decide(unit(owner=owner, parent="patients"), BASE, oms("p"), salesforce(None)) == Verdict("oms")


def test_a_lookup_that_a_person_cleared_is_cleared() -> None:
    assert decide(unit(parent="patients"), BASE, oms("p"), salesforce(None, save=4)) == Verdict("salesforce")


class TestAnOmsWithoutTimes:
    def test_tells_its_edits_by_value(self) -> None:
        assert decide(unit(), BASE, oms("new", None, as_base=False), salesforce()) == Verdict("oms")
        assert decide(unit(), BASE, oms("old", None, as_base=True), salesforce(save=4)) == Verdict("salesforce")

    def test_wins_a_contest(self) -> None:
        assert decide(unit(), BASE, oms("new", None, as_base=False), salesforce(save=4)) == Verdict("oms", "contested")

    def test_whose_base_cannot_be_compared_asks_a_human(self) -> None:
        assert decide(unit(), BASE, oms("new", None, as_base=None), salesforce(save=4)).winner == "nobody"


class TestWithoutABase:
    def test_the_later_edit_wins(self) -> None:
        assert decide(unit(), None, oms(edited_at=5), salesforce(save=1, at=6)) == Verdict("salesforce", "base_unknown")
        assert decide(unit(), None, oms(edited_at=6), salesforce(save=1, at=5)) == Verdict("oms", "base_unknown")

    def test_the_owner_or_the_policy_s_side_wins(self) -> None:
        assert decide(unit(owner="oms"), None, oms(), salesforce(save=0)) == Verdict("oms")
        assert decide(unit(owner="salesforce"), None, oms(), salesforce(save=0)) == Verdict("salesforce")
        assert decide(unit("salesforce"), None, oms(), salesforce()).winner == "salesforce"

    def test_a_revocation_wins(self) -> None:
        assert decide(unit("revoked_wins"), None, oms(edited_at=9), salesforce(save=1, at=1, revoked=True)).winner == "salesforce"

    def test_a_human_decides_where_neither_side_knows_of_an_edit_or_the_policy_says_so(self) -> None:
        assert decide(unit(), None, oms(edited_at=0), salesforce(save=0)).winner == "nobody"
        assert decide(unit("manual"), None, oms(edited_at=5), salesforce(save=1)).winner == "nobody"


def test_the_winner_depends_on_nothing_but_who_moved_and_when() -> None:
    """Every mark is compared with its own side only: shifting one side's clock or counts changes no uncontested verdict."""
    for shift in (-(10**6), 0, 10**6):
        base = Mark("k:x", 3, 100 + shift)
        assert decide(unit(), base, oms(edited_at=100 + shift), salesforce(save=4, at=0)).winner == "salesforce"
        assert decide(unit(), base, oms(edited_at=101 + shift), salesforce(save=3, at=0)).winner == "oms"
