"""The migration's figures are the certificates', added up."""

from __future__ import annotations

from local.demo import charts, history, page
from local.demo.emails import OCCASIONS
from local.demo.journal import Journal, Mail
from omsync.emails.flows import load_flows
from omsync.migration.model import Certificate, Quarantined, TableResult


def certificate(run: int, *tables: TableResult, planned_at: float, progress: list[tuple[float, int]]) -> Certificate:
    return Certificate(
        migration="main", run=run, issued=True, planned_at=planned_at, at=planned_at + 20, tables=list(tables), progress=progress
    )


MADE = [
    certificate(1, TableResult(table="products", wave="1a", rows=10, verified=10), planned_at=100.0, progress=[(5.0, 4), (9.0, 10)]),
    certificate(
        2,
        TableResult(table="patients", wave="2a", rows=8, verified=5, not_sent={"merged": 2}, quarantined=1),
        planned_at=130.0,
        progress=[(7.0, 5)],
    ),
]


def test_figures_are_added_up() -> None:
    told = history.figures(MADE)
    assert (told["tables"], told["runs"], told["source_rows"], told["verified_rows"]) == (2, 2, 18, 15)
    assert (told["missing"], told["mismatched"], told["unknown"], told["quarantined"]) == (0, 0, 0, 1)
    assert told["source_rows"] == told["verified_rows"] + told["not_sent_by_rule"] + told["quarantined"]  # type: ignore[operator]


def test_progress_goes_on_over_the_runs() -> None:
    assert history.progress(MADE) == [(0.0, 0), (5.0, 4), (9.0, 10), (30.0, 10), (37.0, 15)]


def test_what_is_in_quarantine_is_told_by_its_reason() -> None:
    rows = [
        Quarantined(table="patients", id=str(number), code="transform.too_long", field="F", message=f"F: {number // 2}")
        for number in range(3)
    ]
    assert history.set_aside([Certificate(migration="main", run=2, quarantine=rows)]) == [
        "in quarantine: 2 of patients, F: 0",
        "in quarantine: 1 of patients, F: 1",
    ]


def test_the_page_tells_of_migration_and_emails() -> None:
    journal = Journal()
    journal.summary |= {
        "migration": history.figures(MADE),
        "emails": {"flows_sent": 1, "sent": 2, "skipped": 0, "duplicates": 0},
    }
    journal.migrated, journal.verified = list(history.migrated(MADE)), history.progress(MADE)
    journal.runs = [history.run_of(one) for one in MADE]
    journal.mails = [Mail("welcome-verify", "Welcome & hello", '<p class="x">Hi</p>')]
    html = page.render(journal)
    assert "5 of 8" in html
    assert "in 20 s" in html
    assert "Welcome &amp; hello" in html
    assert 'srcdoc="&lt;p class=&#34;x&#34;&gt;Hi&lt;/p&gt;"' in html
    assert "polyline" in charts.climb(journal.verified)


def test_a_reason_is_known_for_every_email() -> None:
    assert set(OCCASIONS) == {flow.flow for flow in load_flows()}
