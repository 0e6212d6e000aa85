"""What SES tells: communications updated, addresses suppressed, people told; and what patients tell by the links in an email."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from urllib.parse import parse_qs, urlsplit

import pytest

from omsync.emails import rights
from omsync.emails.tokens import BadToken
from omsync.platform.errors import Retryable
from tests.unit.emails.test_claims import event_of, feedback
from tests.unit.emails.test_sending import live
from tests.unit.emails.world import EmailWorld, Row, stamp

GONE = {"bounce": {"bounceType": "Permanent"}}


def status(world: EmailWorld) -> str:
    [row] = [row for row in world.oms.tables["communications"].values() if row["channel"] == "email"]
    return str(row["delivery_status"])


@pytest.mark.parametrize(
    ("kinds", "last"),
    [(["Send", "Delivery"], "delivered"), (["Delivery", "Delivery"], "delivered"), (["Bounce", "Delivery"], "bounced"), (["Delivery", "Bounce"], "bounced"),
     (["Reject"], "failed"), (["Rendering Failure"], "failed"), (["Send"], "sent")],
)  # fmt: skip
def test_the_communication_says_what_became_of_it(kinds: list[str], last: str) -> None:
    world = EmailWorld()
    live(world, "order-confirmation")
    for kind in kinds:
        [result] = feedback(world)([event_of(world, kind, **(GONE if kind == "Bounce" else {}))])
        assert result.fault is None
    assert status(world) == last


def test_a_bounce_suppresses_unverifies_and_tells_people_of_clinical_email() -> None:
    world = EmailWorld()
    person, _ = live(world, "visit-booked")
    feedback(world)([event_of(world, "Bounce", **GONE)])
    assert world.suppressions.reasons == {"zoe@example.com": "bounce"}
    assert person["email_verified_at"] is None
    assert [kind for kind, _, _ in world.cases.opened] == ["email_undelivered"]
    assert "zoe" not in str(world.cases.opened)


def test_a_bounce_of_no_clinical_email_opens_no_case_and_a_transient_one_does_nothing() -> None:
    world = EmailWorld()
    live(world, "order-confirmation")
    feedback(world)([event_of(world, "Bounce", bounce={"bounceType": "Transient"})])
    assert (status(world), world.suppressions.reasons) == ("sent", {})
    feedback(world)([event_of(world, "Bounce", **GONE)])
    assert (status(world), world.cases.opened) == ("bounced", [])


def test_a_bounce_of_an_old_address_leaves_the_new_one_verified() -> None:
    world = EmailWorld()
    person, _ = live(world, "order-confirmation")
    world.oms.set("patients", person, email="new@example.com")
    feedback(world)([event_of(world, "Bounce", **GONE)])
    assert person["email_verified_at"] is not None


def test_a_complaint_suppresses_and_unsubscribes() -> None:
    world = EmailWorld()
    person, _ = live(world, "order-confirmation")
    feedback(world)([event_of(world, "Complaint")])
    assert world.suppressions.reasons == {"zoe@example.com": "complaint"}
    assert person["marketing_opt_in"] is False
    assert world.reputation.counts["complained"] == 1


def test_an_event_before_our_log_waits() -> None:
    world = EmailWorld()
    live(world, "order-confirmation")
    del world.oms.tables["communications"]
    [result] = feedback(world)([event_of(world, "Delivery")])
    assert result.fault is not None
    assert result.fault.code == "emails.unlogged"


@pytest.mark.parametrize(("kind", "counted"), [("Bounce", "bounced"), ("Complaint", "complained")])
def test_what_is_tried_again_counts_once(kind: str, counted: str) -> None:
    """SES was quicker than our log; then the OMS is away in the middle."""
    world = EmailWorld()
    live(world, "order-confirmation")
    logged = world.oms.tables.pop("communications")
    feedback(world)([event_of(world, kind, **GONE)])
    world.oms.tables["communications"] = logged
    patch = world.oms.patch
    world.oms.patch = refuse_patients(patch)  # type: ignore[method-assign]
    feedback(world)([event_of(world, kind, **GONE)])
    world.oms.patch = patch  # type: ignore[method-assign]
    assert world.reputation.counts.get(counted, 0) == 0
    [result] = feedback(world)([event_of(world, kind, **GONE)])
    assert (result.fault, world.reputation.counts[counted]) == (None, 1)


def refuse_patients(patch: Callable[..., Row]) -> Callable[..., Row]:
    def refuse(table: str, *details: object, **more: object) -> Row:
        if table == "patients":
            raise Retryable("no answer", code="oms.unreachable")
        return patch(table, *details, **more)

    return refuse


def test_a_burst_of_events_is_read_in_one_call_and_written_in_one_each() -> None:
    """A delivery and a bounce of one email in the same batch, too: the second sees what the first has written."""
    world = EmailWorld()
    for number in range(20):
        live(world, "order-confirmation", email=f"p{number}@example.com")
    events = [event_of(world, kind, number, **GONE) for number in range(20) for kind in ("Send", "Delivery")]
    world.oms.calls = []
    results = feedback(world)([*events, event_of(world, "Bounce", 0, **GONE)])
    assert [result.fault for result in results] == [None] * 41
    assert Counter(call for call in world.oms.calls if call.endswith("communications")) == {
        "batch-get communications": 1,
        "patch communications": 21,
    }


def test_another_systems_email_is_not_ours() -> None:
    world = EmailWorld()
    live(world, "order-confirmation")
    event = event_of(world, "Delivery")
    stripped = event.model_copy(
        update={"detail": event.detail.model_copy(update={"mail": event.detail.mail.model_copy(update={"tags": {}})})}
    )
    assert feedback(world)([stripped])[0].kind == "not_ours"


# ----------------------------------------------------------------------------------------------------------------- links
def token_in(url: str) -> str:
    return parse_qs(urlsplit(url).query)["token"][0]


def test_the_link_verifies_once_for_72_hours_and_only_its_address() -> None:
    world = EmailWorld()
    person, _ = live(world, "welcome-verify")
    token = token_in(world.mailer.sent[0].data["verify_url"])
    now = stamp(world.clock.now())
    rights.verify(world.oms, world.claims, world.tokens, token, now)
    assert person["email_verified_at"] == now
    person["email_verified_at"] = None
    with pytest.raises(BadToken, match="used"):
        rights.verify(world.oms, world.claims, world.tokens, token, now)


@pytest.mark.parametrize("change", ["old", "forged", "other purpose", "other address", "garbage"])
def test_what_no_link_may_do(change: str) -> None:
    world = EmailWorld()
    person, _ = live(world, "welcome-verify")
    token = token_in(world.mailer.sent[0].data["verify_url"])
    if change == "old":
        world.clock.pass_(timedelta(hours=72, minutes=1))
    elif change == "forged":
        token = ("A" if token[0] != "A" else "B") + token[1:]
    elif change == "other purpose":
        token = world.tokens.make("unsubscribe", person["id"], address=person["email"], identity="x")
    elif change == "other address":
        person["email"] = "else@example.com"
    else:
        token = "é.!"
    with pytest.raises(BadToken):
        rights.verify(world.oms, world.claims, world.tokens, token, stamp(world.clock.now()))
    assert person["email_verified_at"] is None


@pytest.mark.parametrize("consented", [True, False])
def test_unsubscribing_clears_and_revokes_and_stops_refill_emails_too(consented: bool) -> None:
    world = EmailWorld()
    person, _ = live(world, "treatment-check-in", marketing_opt_in=consented)
    if consented:
        values = {"consent_type": "email_marketing", "granted": True, "granted_at": stamp(world.clock.now()), "revoked_at": None}
        world.oms.add("patient_consents", patient_id=person["id"], **values)
    token = world.tokens.make("unsubscribe", person["id"], address=person["email"], identity="x")
    for _ in range(2):
        rights.unsubscribe(world.oms, world.tokens, token, stamp(world.clock.now()))
    assert person["marketing_opt_in"] is False
    assert len(world.oms.tables["patient_consents"]) == 1
    world.after(days=11)
    assert world.reasons("treatment-check-in") == ["unsubscribed"]
