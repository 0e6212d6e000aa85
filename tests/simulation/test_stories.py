"""The synchroniser's behaviour, told case by case on the simulation's two systems."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from rules import COMMAND, SimRegistry
from world import PARTS, Oms, Record, Row, Salesforce, Typed, World

from omsync.platform.errors import OmsyncError, Permanent, Retryable
from omsync.sync.births import oms_id
from omsync.sync.converge import Synchroniser
from omsync.sync.digests import Digests
from omsync.sync.ports import Answers, Lookup, Patch, Ports, Write
from omsync.sync.records import OmsRow, Outcome, RecordKey, RecordRef, SalesforceRecord, SalesforceRef, Stamp

PATIENT = RecordKey("patients", "00000000-0000-4000-8000-000000000001")


class House:
    """A world without weather, and the synchroniser in it."""

    def __init__(self, parts: frozenset[str] = PARTS) -> None:
        self.world = World(1, parts, dup=0)
        self.ports = self.world.ports()
        self.outcomes: list[Outcome] = []

    def synchroniser(self, keys: dict[str, bytes] | None = None) -> Synchroniser:
        keys = keys or {"k1": b"key"}
        return Synchroniser(SimRegistry(), Digests(keys, max(keys)), self.ports, lease_seconds=60)

    def sync(self, *refs: RecordRef) -> list[Outcome]:
        """Look at these, or else at all that people and echoes hinted at, until nothing is left."""
        if refs:
            self.world.hints.clear()
            return self.synchroniser().synchronise(refs)
        done: list[Outcome] = []
        for _ in range(50):
            if not self.world.hints:
                return done
            hints = list(dict.fromkeys(self.world.hints))
            self.world.hints.clear()
            done += self.synchroniser().synchronise(hints)
        raise AssertionError("echoes for ever")

    # ---------------------------------------------------------------------------------------------------------- people
    def row(self, key: RecordKey = PATIENT, **values: object) -> Row:
        defaults = {
            "patients": {"phone": "1", "status": "active", "sms": "yes", "pronouns": "they"},
            "notes": {"status": "active", "body": "b"},
        }
        return self.world.insert_row(key, {**defaults.get(key.table, {}), **values}, "person")  # type: ignore[dict-item]

    def oms_edits(self, key: RecordKey, **values: object) -> None:
        self.world.store(self.world.rows[key], values, "person")  # type: ignore[arg-type]

    def salesforce_edits(self, key: RecordKey, **values: object) -> None:
        self.world.save_as_person(self.record(key), {f"{name}__c": value for name, value in values.items()})  # type: ignore[misc]

    def born(self, sobject: str, **fields: str) -> Record:
        record = self.world.insert_record(sobject, {f"{name}__c": value for name, value in fields.items()}, person=True)
        self.world.hint(SalesforceRef(sobject, record.id))
        return record

    def record(self, key: RecordKey = PATIENT) -> Record:
        record = self.world.live(key)
        assert record is not None, f"{key} is not in Salesforce"
        return record

    def both(self, key: RecordKey, unit: str) -> tuple[object, object]:
        return self.world.rows[key].values.get(unit), self.record(key).fields.get(f"{unit}__c")

    def cases(self, status: str = "open") -> list[tuple[str, str | None]]:
        return [(request.reason, request.unit) for request, found in self.world.cases.values() if found == status]


@pytest.fixture
def house() -> House:
    return House()


@pytest.fixture
def shared(house: House) -> House:
    """A patient that is in step."""
    house.row()
    house.sync()
    return house


# ------------------------------------------------------------------------------------------------------------ both ways
def test_a_change_in_the_oms_is_in_salesforce(shared: House) -> None:
    shared.oms_edits(PATIENT, phone="2")
    shared.sync()
    assert shared.both(PATIENT, "phone") == ("2", "2")
    assert shared.record().version == 2


def test_a_change_in_salesforce_is_in_the_oms_and_its_echo_changes_nothing(shared: House) -> None:
    shared.salesforce_edits(PATIENT, phone="3")
    shared.sync()
    state = shared.world.rows[PATIENT].version, shared.record().save
    assert shared.both(PATIENT, "phone") == ("3", "3")
    shared.sync(PATIENT, SalesforceRef("Account", shared.record().id))
    assert (shared.world.rows[PATIENT].version, shared.record().save) == state


def carried(outcomes: Sequence[Outcome]) -> list[str]:
    """The sides whose changes were carried. A record that two hints name by different ids has one outcome, twice."""
    return sorted(side for outcome in {id(outcome): outcome for outcome in outcomes}.values() for side in outcome.brought)


def test_each_change_is_told_once_with_its_side_and_its_time(shared: House) -> None:
    """Its echoes, a second look, and the version that Salesforce is told are no changes."""
    shared.salesforce_edits(PATIENT, phone="3")
    [stamp] = [stamp for name, stamp in shared.record().stamps.items() if name == "phone__c"]
    done = shared.sync()
    assert carried(done) == ["salesforce"]
    assert [outcome.brought["salesforce"] for outcome in done if outcome.brought] == [stamp.at]
    shared.oms_edits(PATIENT, phone="4")
    assert carried(shared.sync()) == ["oms"]
    shared.oms_edits(PATIENT, phone="5")
    shared.salesforce_edits(PATIENT, nick="Al")
    assert carried(shared.sync()) == ["oms", "salesforce"]
    assert carried(shared.sync(PATIENT)) == []
    shared.salesforce_edits(PATIENT, number="an edit that is not allowed, and put right")
    assert carried(shared.sync()) == []


def test_a_birth_a_deletion_and_a_command_are_changes_of_salesforce_s(shared: House) -> None:
    record = shared.born("Case", subject="s")
    assert "salesforce" in carried(shared.sync())
    shared.world.delete_record(record)
    assert carried(shared.sync()) == ["salesforce"]
    key = order(shared)
    shared.world.save_as_person(shared.record(key), {COMMAND.field: Typed("reship", 7)})
    assert carried(shared.sync()) == ["oms", "salesforce"], "the request, and its result that comes back"


def test_what_is_in_step_costs_no_write_not_even_to_the_ledger(shared: House) -> None:
    revision = shared.world.items[PATIENT].revision
    assert [outcome.kind for outcome in shared.sync(PATIENT)] == ["in_step"]
    assert shared.world.items[PATIENT].revision == revision


def test_edits_of_different_fields_on_both_sides_meet(shared: House) -> None:
    shared.oms_edits(PATIENT, phone="2")
    shared.salesforce_edits(PATIENT, nick="Al", ship_line="Elm St")
    shared.sync()
    assert shared.both(PATIENT, "phone") == ("2", "2")
    assert shared.both(PATIENT, "nick") == ("Al", "Al")
    assert shared.world.rows[PATIENT].values["ship"] == {"line": "Elm St", "city": None}
    assert not shared.world.log


def test_the_later_of_two_edits_wins_and_the_log_names_the_loser_without_its_value(shared: House) -> None:
    shared.oms_edits(PATIENT, phone="555-0001")
    shared.salesforce_edits(PATIENT, phone="555-0002")
    shared.sync()
    assert shared.both(PATIENT, "phone") == ("555-0002", "555-0002")
    [conflict] = shared.world.log.values()
    assert (conflict.unit, conflict.reason, conflict.winner) == ("phone", "contested", "salesforce")
    assert "555" not in repr(conflict)


def test_an_opt_out_wins_over_a_later_opt_in(shared: House) -> None:
    shared.salesforce_edits(PATIENT, sms="no")
    shared.oms_edits(PATIENT, sms="no")
    shared.oms_edits(PATIENT, sms="yes")
    shared.oms_edits(PATIENT, sms="maybe")
    shared.sync()
    assert shared.both(PATIENT, "sms") == ("no", "no")


def test_a_cleared_field_is_cleared_on_the_other_side(shared: House) -> None:
    shared.salesforce_edits(PATIENT, phone=None)
    shared.sync()
    assert shared.both(PATIENT, "phone") == (None, None)


def test_an_edit_and_its_revert_while_in_flight_leave_the_reverted_value(shared: House) -> None:
    batch = shared.synchroniser().batch([PATIENT])
    shared.salesforce_edits(PATIENT, phone="9")
    steps = batch.steps()
    for _ in range(4):
        next(steps)
    shared.salesforce_edits(PATIENT, phone="1")
    for _ in steps:
        pass
    shared.sync()
    assert shared.both(PATIENT, "phone") == ("1", "1")


def test_the_oms_s_own_form_of_a_value_comes_back(shared: House) -> None:
    edit = shared.world.edit(PATIENT.id, "phone", "salesforce", "42!", None)
    shared.salesforce_edits(PATIENT, phone=edit)
    shared.sync()
    assert shared.both(PATIENT, "phone") == ("42", "42")
    assert [conflict.reason for conflict in shared.world.log.values()] == ["altered"]


# ------------------------------------------------------------------------------------------------------- what is held
def test_a_manual_conflict_holds_that_field_alone_and_opens_one_case_that_names_it(shared: House) -> None:
    shared.oms_edits(PATIENT, pronouns="she", phone="2")
    shared.salesforce_edits(PATIENT, pronouns="he")
    for _ in range(3):
        shared.sync()
        shared.sync(PATIENT)
    assert shared.both(PATIENT, "pronouns") == ("she", "he")
    assert shared.both(PATIENT, "phone") == ("2", "2")
    assert shared.cases() == [("conflict", "pronouns")]
    shared.oms_edits(PATIENT, phone="3")
    shared.sync()
    assert shared.both(PATIENT, "phone") == ("3", "3")
    assert shared.both(PATIENT, "pronouns") == ("she", "he")


def test_closing_its_case_accepts_salesforce_s_value(shared: House) -> None:
    shared.oms_edits(PATIENT, pronouns="she")
    shared.salesforce_edits(PATIENT, pronouns="he")
    shared.sync()
    [key] = shared.world.cases
    shared.ports.cases.close([key])
    shared.sync(PATIENT)
    assert shared.both(PATIENT, "pronouns") == ("he", "he")
    assert not shared.world.items[PATIENT].held


def test_an_edit_of_the_oms_after_the_accepted_value_arrived_there_is_a_new_one(shared: House) -> None:
    shared.oms_edits(PATIENT, pronouns="she")
    shared.salesforce_edits(PATIENT, pronouns="he")
    shared.sync()
    [key] = shared.world.cases
    shared.ports.cases.close([key])
    steps = shared.synchroniser().batch([PATIENT]).steps()
    while shared.world.rows[PATIENT].values["pronouns"] != "he":
        next(steps)
    del steps  # killed before it could commit
    shared.oms_edits(PATIENT, pronouns="they all")
    shared.sync()
    assert shared.both(PATIENT, "pronouns") == ("they all", "they all")


def test_a_held_field_on_which_both_sides_come_to_agree_closes_its_case(shared: House) -> None:
    shared.oms_edits(PATIENT, pronouns="she")
    shared.salesforce_edits(PATIENT, pronouns="he")
    shared.sync()
    shared.oms_edits(PATIENT, pronouns="he")
    shared.sync()
    assert shared.cases("closed") == [("conflict", "pronouns")]
    assert not shared.cases()


def test_a_value_the_oms_refuses_is_held_and_the_rest_goes_on(shared: House) -> None:
    shared.salesforce_edits(PATIENT, phone="bad 1", nick="Al")
    shared.sync()
    assert shared.both(PATIENT, "phone") == ("1", "bad 1")
    assert shared.both(PATIENT, "nick") == ("Al", "Al")
    assert shared.cases() == [("refused", "phone")]


def test_a_refused_value_that_is_corrected_flows_and_closes_its_case(shared: House) -> None:
    shared.salesforce_edits(PATIENT, phone="bad 1")
    shared.sync()
    shared.salesforce_edits(PATIENT, phone="good")
    shared.sync()
    assert shared.both(PATIENT, "phone") == ("good", "good")
    assert shared.cases("closed") == [("refused", "phone")]


# ---------------------------------------------------------------------------------------------------------- commands
def order(house: House, number: int = 1) -> RecordKey:
    key = RecordKey("orders", f"00000000-0000-4000-8000-0000000001{number:02}")
    house.row(key, patient=PATIENT.id, status="active", agent="a")
    house.sync()
    return key


def test_a_command_is_executed_once_however_often_it_is_looked_at_and_its_result_comes_back(shared: House) -> None:
    key = order(shared)
    shared.world.save_as_person(shared.record(key), {COMMAND.field: Typed("reship", 7)})
    shared.sync(key, SalesforceRef("Order", shared.record(key).id))
    shared.sync()
    shared.sync(key)
    assert shared.world.executed == {7: 1}
    assert shared.record(key).fields[COMMAND.field] is None
    assert shared.both(key, "result") == ("done 7", "done 7")


def test_a_command_whose_clearing_failed_is_not_executed_again(shared: House) -> None:
    key = order(shared)
    shared.world.save_as_person(shared.record(key), {COMMAND.field: Typed("reship", 7)})
    steps = shared.synchroniser().batch([key]).steps()
    while 7 not in shared.world.executed:
        next(steps)
    del steps  # killed here
    shared.sync()
    assert shared.world.executed == {7: 1}
    assert shared.record(key).fields[COMMAND.field] is None


def test_the_same_command_requested_twice_is_executed_twice(shared: House) -> None:
    key = order(shared)
    for number in (7, 8):
        shared.world.save_as_person(shared.record(key), {COMMAND.field: Typed("reship", number)})
        shared.sync()
    assert shared.world.executed == {7: 1, 8: 1}


# ------------------------------------------------------------------------------------------------------------- births
def test_a_record_born_in_salesforce_gets_its_row_under_an_id_that_follows_from_its_own(house: House) -> None:
    record = house.born("Account", phone="5", nick="Al")
    house.sync()
    key = RecordKey("patients", oms_id(SalesforceRef("Account", record.id)))
    assert record.oms_id == key.id
    assert house.both(key, "phone") == ("5", "5")
    assert record.fields["number__c"] == house.world.rows[key].values["number"]


def test_a_birth_is_one_row_and_its_edit_meanwhile_is_not_lost_wherever_its_function_is_killed(house: House) -> None:
    for kill_at in range(1, 30):
        house = House()
        record = house.born("Account", phone="5", lang="en")
        ref = SalesforceRef("Account", record.id)
        steps = house.synchroniser().batch([ref]).steps()
        for _ in range(kill_at):
            next(steps, None)
        house.world.save_as_person(record, {"lang__c": "es"})
        house.sync()
        key = RecordKey("patients", oms_id(ref))
        assert list(house.world.rows) == [key]
        assert house.both(key, "lang") == ("es", "es"), f"killed before step {kill_at}"
        assert not house.world.cases


def test_a_child_born_in_salesforce_waits_for_its_parent_s_row(house: House) -> None:
    patient = house.born("Account", phone="5")
    note = house.born("Note__c", body="hello")
    note.parents["patient__c"] = patient.id
    house.world.hints.reverse()
    house.sync(SalesforceRef("Note__c", note.id))
    [row] = [row for key, row in house.world.rows.items() if key.table == "notes"]
    assert row.values["patient"] == patient.oms_id
    assert RecordKey("patients", str(patient.oms_id)) in house.world.rows


def test_a_record_that_is_born_in_the_oms_only_fails_for_good(house: House) -> None:
    record = house.born("Order")
    [outcome] = house.sync(SalesforceRef("Order", record.id))
    assert isinstance(outcome.error, Permanent)
    assert outcome.error.code == "sync.birth"


def test_records_that_no_mapping_names_are_ignored(house: House) -> None:
    case = house.born("Case", subject="ours")
    case.record_type = "Integration"
    other = house.born("Contract")
    assert [outcome.kind for outcome in house.sync(SalesforceRef("Case", case.id), SalesforceRef("Contract", other.id))] == ["ignored"] * 2
    assert not house.world.rows


# ------------------------------------------------------------------------------------------------------------ parents
def test_a_child_that_comes_first_brings_its_shared_and_mirrored_parents_along(house: House) -> None:
    house.world.mirrored_rows.add("ph")
    house.row(pharmacy="ph")
    key = RecordKey("notes", "00000000-0000-4000-8000-000000000002")
    house.row(key, patient=PATIENT.id)
    [outcome] = house.sync(key)
    assert outcome.kind == "written"
    assert house.record(key).parents["patient__c"] == house.record().id
    assert house.world.mirrored == {"ph"}


def test_a_child_of_a_broken_parent_fails_and_its_neighbours_do_not(house: House) -> None:
    house.row(pharmacy="nowhere")
    child, other = RecordKey("notes", "00000000-0000-4000-8000-000000000002"), RecordKey("patients", "00000000-0000-4000-8000-000000000003")
    house.row(child, patient=PATIENT.id)
    house.row(other)
    outcomes = house.sync(child, other)
    assert [outcome.kind for outcome in outcomes] == ["permanent", "written"]


def test_many_children_of_one_missing_parent_write_it_once(house: House) -> None:
    house.row()
    keys = [RecordKey("notes", f"00000000-0000-4000-8000-0000000002{number:02}") for number in range(40)]
    for key in keys:
        house.row(key, patient=PATIENT.id)
    assert {outcome.kind for outcome in house.sync(*keys)} == {"written"}
    assert sum(record.object == "Account" for record in house.world.records.values()) == 1


# ------------------------------------------------------------------------------------------------------- signed notes
def test_an_edit_of_a_signed_note_is_reverted_and_logged(shared: House) -> None:
    key = RecordKey("notes", "00000000-0000-4000-8000-000000000002")
    shared.row(key, patient=PATIENT.id, title="t")
    shared.sync()
    shared.oms_edits(key, status="signed")
    shared.sync()
    shared.salesforce_edits(key, body="other", title="t2")
    shared.sync()
    assert shared.both(key, "body") == ("b", "b")
    assert {(conflict.unit, conflict.reason, conflict.winner) for conflict in shared.world.log.values()} == {
        ("body", "owned", "oms"),
        ("title", "owned", "oms"),
    }


# -------------------------------------------------------------------------------------------------------------- files
def test_a_text_too_long_for_its_field_is_attached_once_even_if_the_function_is_killed_after_the_write(shared: House) -> None:
    key = RecordKey("notes", "00000000-0000-4000-8000-000000000002")
    shared.row(key, patient=PATIENT.id, body="long text")
    steps = shared.synchroniser().batch([key]).steps()
    while shared.world.live(key) is None:
        next(steps)
    del steps  # killed before it attached
    shared.sync()
    shared.sync(key)
    assert shared.world.files == {shared.record(key).id: ["long text"]}
    shared.oms_edits(key, body="long text, changed")
    shared.sync()
    assert shared.world.files[shared.record(key).id][1:] == ["long text, changed"]


# ------------------------------------------------------------------------------------------------------------ deletes
def test_a_soft_delete_in_the_oms_is_a_mark_in_salesforce(shared: House) -> None:
    shared.oms_edits(PATIENT, deleted_at="now")
    shared.sync()
    assert shared.record().fields["deleted__c"] is True


def test_a_delete_of_what_the_oms_owns_is_undone_with_its_later_edits_and_its_children_s_lookups(shared: House) -> None:
    child = order(shared)
    shared.salesforce_edits(PATIENT, phone="7")
    shared.world.delete_record(shared.record())
    assert "patient__c" not in shared.record(child).parents
    shared.sync()
    assert shared.both(PATIENT, "phone") == ("7", "7")
    assert shared.record(child).parents["patient__c"] == shared.record().id
    assert [conflict.reason for conflict in shared.world.log.values()] == ["deleted"]


def test_what_was_purged_is_created_again_from_the_oms_and_its_children_are_linked(shared: House) -> None:
    child, former = order(shared), shared.record()
    shared.world.delete_record(former)
    del shared.world.records[former.id]
    shared.sync()
    assert shared.record().id != former.id
    assert shared.both(PATIENT, "phone") == ("1", "1")
    assert shared.record(child).parents["patient__c"] == shared.record().id
    shared.salesforce_edits(PATIENT, phone="8")
    shared.sync()
    assert shared.both(PATIENT, "phone") == ("8", "8"), "the new record's counts start anew"


def test_of_two_deleted_records_the_last_one_comes_back_with_its_edits(shared: House) -> None:
    """A slow insert may create a second one once the first is deleted; people saw that one last."""
    first = shared.record()
    shared.world.delete_record(first)
    second = shared.world.insert_record("Account", dict(first.fields), person=False)
    second.oms_id, second.version = PATIENT.id, first.version
    shared.salesforce_edits(PATIENT, phone="7")
    shared.world.delete_record(second)
    shared.sync()
    assert shared.record() is second
    assert shared.both(PATIENT, "phone") == ("7", "7")


def test_a_late_event_does_not_resurrect_a_deleted_record_of_salesforce_s(house: House) -> None:
    record = house.born("Case", subject="s")
    house.sync()
    key = RecordKey("cases", str(record.oms_id))
    house.world.delete_record(record)
    house.sync()
    assert house.world.rows[key].deleted
    house.oms_edits(key, number="late")
    house.sync()
    assert house.world.live(key) is None


def test_what_salesforce_owns_is_soft_deleted_with_its_record_and_restored_with_it(house: House) -> None:
    record = house.born("Case", subject="s")
    house.sync()
    key = RecordKey("cases", str(record.oms_id))
    house.world.delete_record(record)
    house.sync()
    assert house.world.rows[key].deleted
    record.deleted = False
    house.sync(SalesforceRef("Case", record.id))
    house.sync()
    assert not house.world.rows[key].deleted
    assert not record.fields.get("deleted__c")


def test_a_live_record_with_the_same_oms_id_is_adopted(shared: House) -> None:
    former = shared.record()
    former.deleted = True
    copy = shared.world.insert_record("Account", dict(former.fields), person=False)
    copy.oms_id, copy.version, copy.stamps = PATIENT.id, former.version, {"phone__c": Stamp(1, shared.world.tick())}
    shared.world.save_as_person(copy, {"phone__c": "6"})
    shared.sync(PATIENT)
    assert shared.world.items[PATIENT].salesforce_id == copy.id
    assert shared.both(PATIENT, "phone") == ("6", "6")


# ------------------------------------------------------------------------------------------------------------- merges
WINNER = RecordKey("patients", "00000000-0000-4000-8000-000000000009")


@pytest.fixture
def merged(shared: House) -> House:
    """PATIENT was merged into WINNER in Salesforce; it had an order."""
    shared.row(WINNER)
    order(shared)
    shared.sync()
    shared.world.delete_record(shared.record(), master=shared.record(WINNER))
    shared.sync()
    return shared


def test_the_loser_of_a_merge_is_retired_and_a_case_asks_for_the_merge_in_the_oms(merged: House) -> None:
    assert merged.world.items[PATIENT].merged_into == WINNER.id
    assert merged.cases() == [("merged", None)]
    merged.oms_edits(PATIENT, phone="9")
    merged.sync()
    assert merged.world.live(PATIENT) is None


def test_the_loser_s_children_belong_to_the_winner_old_ones_and_new_ones(merged: House) -> None:
    old, new = RecordKey("orders", "00000000-0000-4000-8000-000000000101"), RecordKey("notes", "00000000-0000-4000-8000-000000000002")
    merged.row(new, patient=PATIENT.id)
    merged.oms_edits(old, status="filling")
    merged.sync()
    assert merged.record(new).parents["patient__c"] == merged.record(WINNER).id
    assert merged.record(old).parents["patient__c"] == merged.record(WINNER).id
    assert merged.both(old, "status") == ("filling", "filling")
    assert merged.world.rows[old].values["patient"] == PATIENT.id, "the merge in the OMS is a human's"


def test_the_merge_in_the_oms_closes_the_case(merged: House) -> None:
    merged.oms_edits(PATIENT, status="merged", merged_into=WINNER.id)
    merged.sync()
    assert merged.cases() == []


# ------------------------------------------------------------------------------------------------------------ messages
MESSAGE = RecordKey("messages", "00000000-0000-4000-8000-000000000004")


def test_a_message_is_inserted_once_and_then_only_its_delivery_is_reported(shared: House) -> None:
    shared.row(MESSAGE, patient=PATIENT.id, text="hello", delivery="sent")
    shared.sync()
    shared.oms_edits(MESSAGE, delivery="bounced", text="changed")
    shared.sync()
    assert shared.record(MESSAGE).fields["delivery__c"] == "bounced"
    assert shared.record(MESSAGE).fields["text__c"] == "hello"
    assert shared.world.inserted[MESSAGE.id] == 1


def test_a_message_under_another_s_lease_waits_for_its_end(shared: House) -> None:
    shared.row(MESSAGE, patient=PATIENT.id, text="hello", delivery="sent")
    steps = shared.synchroniser().batch([MESSAGE]).steps()
    while MESSAGE not in shared.world.items or shared.world.items[MESSAGE].lease is None:
        next(steps)
    [outcome] = shared.sync(MESSAGE)
    assert isinstance(outcome.error, Retryable)
    assert outcome.error.code == "sync.lease"
    assert outcome.error.after is None, "as soon as it is there, it may be taken over"
    del steps  # that function was killed
    shared.world.time += 61_000_000
    assert [outcome.kind for outcome in shared.sync(MESSAGE)] == ["written"]
    assert shared.world.inserted[MESSAGE.id] == 1
    assert shared.world.items[MESSAGE].lease is None


def test_an_insert_whose_answer_was_lost_is_taken_over_under_its_lease(shared: House) -> None:
    shared.row(MESSAGE, patient=PATIENT.id, text="hello", delivery="sent")
    steps = shared.synchroniser().batch([MESSAGE]).steps()
    while not shared.world.inserted.get(MESSAGE.id):
        next(steps)
    del steps  # it never heard
    lease = shared.world.items[MESSAGE].lease
    assert lease is not None
    assert lease.until > shared.world.time
    assert [outcome.kind for outcome in shared.sync(MESSAGE)] == ["in_step"]
    assert shared.world.inserted[MESSAGE.id] == 1
    assert shared.world.items[MESSAGE].lease is None


class Away(Salesforce):
    """Salesforce that answers 503 to one kind of call until it is back."""

    def __init__(self, world: World, call: str, code: str) -> None:
        super().__init__(world)
        self.call, self.code, self.back = call, code, False

    def find(self, lookups: Sequence[Lookup]) -> Answers[SalesforceRecord | None]:
        self._answer("find")
        return super().find(lookups)

    def write(self, writes: Sequence[Write]) -> Answers[str]:
        self._answer("write")
        return super().write(writes)

    def _answer(self, call: str) -> None:
        if call == self.call and not self.back:
            raise Retryable("away", code=self.code)


@pytest.mark.parametrize(
    ("call", "code", "waits"),
    [
        ("find", "salesforce.unreachable", False),
        ("write", "SERVER_UNAVAILABLE", False),
        ("write", "salesforce.not_connected", False),
        ("write", "UNKNOWN_EXCEPTION", False),
        ("write", "HTTP_500", False),
        ("write", "HTTP_504", True),
        ("write", "salesforce.unreachable", True),
    ],
)
def test_a_message_waits_for_its_lease_only_where_it_may_be_on_its_way(shared: House, call: str, code: str, waits: bool) -> None:
    away = Away(shared.world, call, code)
    shared.ports = Ports(**{**{name: getattr(shared.ports, name) for name in Ports.__dataclass_fields__}, "salesforce": away})
    shared.row(MESSAGE, patient=PATIENT.id, text="hello", delivery="sent")
    [outcome] = shared.sync(MESSAGE)
    assert outcome.error is not None
    assert outcome.error.code == code
    away.back = True
    [outcome] = shared.sync(MESSAGE)
    assert (outcome.error is not None and outcome.error.code == "sync.lease") == waits
    assert shared.world.inserted.get(MESSAGE.id, 0) == (0 if waits else 1)


def test_a_message_born_in_salesforce_is_created_in_the_oms_once(house: House) -> None:
    record = house.born("EmailMessage", text="hi")
    house.sync()
    house.sync(SalesforceRef("EmailMessage", record.id))
    [key] = house.world.rows
    assert key == RecordKey("messages", oms_id(SalesforceRef("EmailMessage", record.id)))
    assert house.world.rows[key].values["text"] == "hi"


# ------------------------------------------------------------------------------------------------- the ledger is knowledge
def test_a_lost_ledger_is_rebuilt_from_what_both_sides_agree_on(shared: House) -> None:
    before = shared.world.items.pop(PATIENT)
    shared.world.pointers.clear()
    assert [outcome.kind for outcome in shared.sync(SalesforceRef("Account", shared.record().id))] == ["in_step"]
    assert shared.world.items[PATIENT].base == before.base


def test_a_rotated_key_changes_nothing_but_the_digests(shared: House) -> None:
    for keys in ({"k2": b"new"}, {"k1": b"key", "k2": b"new"}):
        shared.salesforce_edits(PATIENT, phone=f"after {len(keys)}")
        shared.synchroniser(keys).synchronise([PATIENT])
        assert shared.both(PATIENT, "phone") == (f"after {len(keys)}",) * 2
    assert {mark.digest[:3] for mark in shared.world.items[PATIENT].base.values()} == {"k2:"}


def test_the_ledger_holds_no_values(shared: House) -> None:
    shared.oms_edits(PATIENT, phone="555-867-5309", pronouns="Xena")
    shared.salesforce_edits(PATIENT, pronouns="Yoda")
    steps = shared.synchroniser().batch([PATIENT]).steps()
    for _ in steps:
        stored = repr(shared.world.items)
        assert not any(value in stored for value in ("555-867-5309", "Xena", "Yoda"))


# --------------------------------------------------------------------------------------------------- one bad record, many good
class Picky(Salesforce):
    """Salesforce that refuses one record for good."""

    def write(self, writes: Sequence[Write]) -> Answers[str]:
        return [Permanent("too long", code="STRING_TOO_LONG") if w.fields.get("nick__c") == "poison" else self._write(w) for w in writes]


def test_one_bad_record_stops_none_of_its_neighbours(house: House) -> None:
    keys = [RecordKey("patients", f"00000000-0000-4000-8000-0000000003{number:02}") for number in range(9)]
    for number, key in enumerate(keys):
        house.row(key, nick="poison" if number == 4 else "fine")
    house.ports = Ports(**{**{name: getattr(house.ports, name) for name in Ports.__dataclass_fields__}, "salesforce": Picky(house.world)})
    kinds = [outcome.kind for outcome in house.sync(*keys)]
    assert kinds == ["written"] * 4 + ["permanent"] + ["written"] * 4


def test_a_refusal_by_salesforce_leaves_nothing_half_known(shared: House) -> None:
    shared.ports = Ports(
        **{**{name: getattr(shared.ports, name) for name in Ports.__dataclass_fields__}, "salesforce": Picky(shared.world)}
    )
    shared.oms_edits(PATIENT, nick="poison")
    shared.salesforce_edits(PATIENT, phone="7")
    [outcome] = shared.sync(PATIENT)
    assert outcome.kind == "permanent"
    assert shared.world.items[PATIENT].intent is None
    shared.oms_edits(PATIENT, nick="fine")
    shared.sync()
    assert shared.both(PATIENT, "nick") == ("fine", "fine")
    assert shared.both(PATIENT, "phone") == ("7", "7")


class Strict(Salesforce):
    """Salesforce in which one field's validation refuses a value, and says which field it was."""

    def write(self, writes: Sequence[Write]) -> Answers[str]:
        poison = Permanent("too long", code="STRING_TOO_LONG", field="nick__c")
        return [poison if w.fields.get("nick__c") == "poison" else self._write(w) for w in writes]


@pytest.mark.parametrize("bad", ["poison", "unfit"], ids=["refused by Salesforce", "not to be carried by the mapping"])
def test_a_bad_value_holds_back_nothing_but_itself_and_is_a_failure_until_it_is_mended(house: House, bad: str) -> None:
    house.ports = Ports(**{**{name: getattr(house.ports, name) for name in Ports.__dataclass_fields__}, "salesforce": Strict(house.world)})
    house.row(nick="fine")
    house.sync()
    house.oms_edits(PATIENT, nick=bad, pronouns="she")
    house.salesforce_edits(PATIENT, phone="7")
    [outcome] = house.sync(PATIENT)
    assert (outcome.kind, outcome.error.field if isinstance(outcome.error, Permanent) else None) == ("permanent", "nick__c")
    assert house.both(PATIENT, "pronouns") == ("she", "she")
    assert house.both(PATIENT, "phone") == ("7", "7")
    assert house.both(PATIENT, "nick") == (bad, "fine")
    house.salesforce_edits(PATIENT, phone="8")
    assert [outcome.kind for outcome in house.sync(PATIENT)] == ["permanent"], "as long as it is not mended"
    assert house.both(PATIENT, "phone") == ("8", "8")
    house.oms_edits(PATIENT, nick="mended")
    assert [outcome.kind for outcome in house.sync(PATIENT)] == ["written"]
    assert house.both(PATIENT, "nick") == ("mended", "mended")


@pytest.mark.parametrize("bad", ["poison", "unfit"])
def test_a_record_with_a_bad_value_is_created_without_it_and_its_children_go_on(house: House, bad: str) -> None:
    house.ports = Ports(**{**{name: getattr(house.ports, name) for name in Ports.__dataclass_fields__}, "salesforce": Strict(house.world)})
    house.row(nick=bad)
    assert [outcome.kind for outcome in house.sync(PATIENT)] == ["permanent"]
    assert house.both(PATIENT, "phone") == ("1", "1")
    assert [outcome.kind for outcome in house.sync(PATIENT)] == ["permanent"]
    house.salesforce_edits(PATIENT, nick="by hand")
    assert [outcome.kind for outcome in house.sync(PATIENT)] == ["written"]
    assert house.both(PATIENT, "nick") == ("by hand", "by hand")


def test_a_surprise_inside_one_record_is_its_own_and_tells_no_value(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    def surprise(self: object, row: OmsRow, sobject: str) -> object:
        raise ValueError("secret value")

    good, bad = RecordKey("orders", "00000000-0000-4000-8000-000000000101"), RecordKey("cases", "00000000-0000-4000-8000-000000000102")
    house.row(good, status="active", agent="a")
    house.row(bad, subject="s")
    registry = SimRegistry()
    monkeypatch.setattr(registry.shared("cases"), "row_values", surprise.__get__(registry))
    outcomes = Synchroniser(registry, Digests({"k1": b"key"}, "k1"), house.ports).synchronise([bad, good])
    assert [outcome.kind for outcome in outcomes] == ["permanent", "written"]
    assert outcomes[0].error is not None
    assert "secret" not in str(outcomes[0].error)


# ------------------------------------------------------------------------------------------------------------- batches
class Counting:
    """Counts calls by method."""

    def __init__(self, port: object, calls: dict[str, int]) -> None:
        self._port, self._calls = port, calls

    def __getattr__(self, name: str) -> object:
        def call(items: Sequence[object]) -> object:
            self._calls[name] = self._calls.get(name, 0) + 1
            return getattr(self._port, name)(items)

        return call


def test_a_batch_of_any_size_costs_one_call_of_each_kind(house: House) -> None:
    keys = [RecordKey("patients", f"00000000-0000-4000-8000-000000000{number:03}") for number in range(200)]
    for key in keys:
        house.row(key)
    house.sync(*keys)
    for key in keys:
        house.oms_edits(key, number="n")
    calls: dict[str, int] = {}
    house.ports = Ports(
        **{**{n: getattr(house.ports, n) for n in Ports.__dataclass_fields__}, "salesforce": Counting(Salesforce(house.world), calls)}
    )
    house.sync(*keys)
    assert calls == {"look": 1, "write": 1}


def test_what_is_not_finished_at_the_deadline_comes_back_as_retryable(house: House) -> None:
    house.row()
    [outcome] = house.synchroniser().synchronise([PATIENT], deadline=house.world.time)
    assert isinstance(outcome.error, Retryable)
    assert outcome.error.code == "sync.deadline"
    assert house.sync(PATIENT)[0].kind == "written"


def test_the_same_record_by_both_its_ids_is_looked_at_once(shared: House) -> None:
    shared.oms_edits(PATIENT, phone="2")
    save = shared.record().save
    outcomes = shared.sync(PATIENT, SalesforceRef("Account", shared.record().id), PATIENT)
    assert [outcome.kind for outcome in outcomes] == ["written"] * 3
    assert shared.record().save == save + 1


def test_an_outage_fails_all_of_a_batch_retryably_and_loses_nothing(shared: House) -> None:
    class Down(Oms):
        def read(self, keys: Sequence[RecordKey]) -> Answers[OmsRow | None]:
            raise Retryable("down", code="oms.unreachable")

        def patch(self, patches: Sequence[Patch]) -> Answers[OmsRow]:
            raise AssertionError("not reached")

    up = shared.ports
    shared.salesforce_edits(PATIENT, phone="2")
    shared.ports = Ports(**{**{name: getattr(up, name) for name in Ports.__dataclass_fields__}, "oms": Down(shared.world)})
    [outcome] = shared.sync(PATIENT)
    assert outcome.kind == "retryable"
    shared.ports = up
    shared.sync(PATIENT)
    assert shared.both(PATIENT, "phone") == ("2", "2")


def test_a_stale_version_of_the_oms_s_in_salesforce_is_an_error(shared: House) -> None:
    shared.record().version = 99
    [outcome] = shared.sync(PATIENT)
    assert isinstance(outcome.error, OmsyncError)
    assert outcome.error.code == "sync.version"


def test_the_simulated_salesforce_finds_live_records_before_deleted_ones(house: House) -> None:
    for deleted in (True, False, True):
        record = house.world.insert_record("Account", {}, person=False)
        record.oms_id, record.deleted = PATIENT.id, deleted
    [found] = Salesforce(house.world).find([Lookup("Account", PATIENT.id)])
    assert isinstance(found, SalesforceRecord)
    assert not found.deleted
