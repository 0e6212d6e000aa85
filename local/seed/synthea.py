"""A Synthea CSV export as OMS rows.

    patients       patients with their address        providers      providers
    encounters     consultations, and payments        conditions     patient_conditions
    allergies      patient_allergies                  careplans      clinical_notes (signed)
    medications    prescriptions, and a product a code
    supplies       orders of one day and visit, lines, and a product a code
    organizations  pharmacies, if they are one        payers         none: what they covered is in payments

Ids that are UUIDs stay; other rows get one made from their content (uuid5), so that the same export gives the same rows.
Names keep their digits. What the OMS has no place for, or would refuse, is rejected with its reason.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from decimal import Decimal, InvalidOperation
from pathlib import Path
from uuid import UUID, uuid5

from local.seed.columns import TABLES
from local.seed.source import Row, Tally, read
from local.seed.text import HISTORY_XID, sha256

SPACE = UUID("6f0f3a52-8f0e-5f4b-9d0c-3b1f5a1c7e10")
_FILES: dict[str, tuple[str, ...]] = {
    "organizations.csv": ("Id", "NAME", "ADDRESS", "CITY", "STATE", "ZIP", "PHONE"),
    "payers.csv": ("Id", "NAME"),
    "providers.csv": ("Id", "ORGANIZATION", "NAME", "SPECIALITY", "STATE"),
    "patients.csv": ("Id", "BIRTHDATE", "DEATHDATE", "FIRST", "LAST", "SUFFIX", "GENDER", "ADDRESS", "CITY", "STATE", "ZIP"),
    "encounters.csv": ("Id", "START", "STOP", "PATIENT", "PROVIDER", "ENCOUNTERCLASS", "DESCRIPTION", "TOTAL_CLAIM_COST", "PAYER_COVERAGE"),
    "conditions.csv": ("START", "STOP", "PATIENT", "ENCOUNTER", "CODE", "DESCRIPTION"),
    "allergies.csv": ("START", "STOP", "PATIENT", "CODE", "SYSTEM", "DESCRIPTION", "CATEGORY", "DESCRIPTION1", "SEVERITY1", "DESCRIPTION2"),
    "careplans.csv": ("Id", "START", "STOP", "PATIENT", "ENCOUNTER", "DESCRIPTION", "REASONDESCRIPTION"),
    "medications.csv": ("START", "STOP", "PATIENT", "ENCOUNTER", "CODE", "DESCRIPTION", "BASE_COST", "DISPENSES", "REASONDESCRIPTION"),
    "supplies.csv": ("DATE", "PATIENT", "ENCOUNTER", "CODE", "DESCRIPTION", "QUANTITY"),
}
_SEX = {"F": "female", "M": "male"}
_SYSTEMS = {"SNOMED-CT": "snomed", "RxNorm": "rxnorm", "Unknown": "free_text"}
_SPECIALTIES = {"GENERAL PRACTICE": "family_medicine", "INTERNAL MEDICINE": "internal_medicine", "DERMATOLOGY": "dermatology",
                "PSYCHIATRY": "psychiatry", "CARDIOLOGY": "cardiology", "ENDOCRINOLOGY": "endocrinology", "UROLOGY": "urology"}  # fmt: skip
#: the OMS knows no visit in person: whoever was seen counts as a video visit
_MODALITIES = {"virtual": "video", "home": "phone"}


class Unfit(Exception):
    """A row that can't be loaded; the message is the reason."""


@dataclass(slots=True)
class Export:
    """The OMS rows of an export, as column -> value, by table."""

    tally: Tally
    rows: dict[str, list[dict[str, object]]] = field(default_factory=lambda: {table: [] for table in TABLES})
    _seen: dict[str, dict[str, dict[str, object]]] = field(default_factory=dict)
    _same: Counter[str] = field(default_factory=Counter)
    #: lines so far, by order
    lines: Counter[str] = field(default_factory=Counter)

    def add(self, table: str, made: str, **values: object) -> dict[str, object]:
        """A row made at `made` (ISO-8601); known by its id from then on. A shared table's edited_at is the loader's to add."""
        common = {
            "created_at": made,
            "updated_at": made,
            "version": 1,
            "change_xid": HISTORY_XID,
            "changed_by": "import",
            "deleted_at": None,
        }
        row = {**values, **common}
        known = self._seen.setdefault(table, {})
        if str(row["id"]) in known:
            raise Unfit(f"the id {row['id']} has been used by a row before")
        known[str(row["id"])] = row
        self.rows[table].append(row)
        return row

    def known(self, table: str, row_id: str, file: str) -> dict[str, object]:
        """A row added before."""
        found = self._seen.get(table, {}).get(row_id.strip().lower())
        if found is None:
            raise Unfit(f"{row_id or 'an empty id'} is not in {file}, or was rejected there")
        return found

    def has(self, table: str, row_id: str) -> bool:
        return row_id in self._seen.get(table, {})

    def id_of(self, file: str, row: Row) -> str:
        """The row's own UUID, or one made from its content (and its place among rows of the same content)."""
        own = row.get("Id", "").strip()
        if re.fullmatch(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}", own):
            return own.lower()
        content = f"{file}/{own}" if own else f"{file}/" + "\x1f".join(row.values())
        self._same[content] += 1
        return str(uuid5(SPACE, f"{content}/{self._same[content]}"))


def load(folder: Path, tally: Tally) -> Export:
    """Read the whole export. Rows that don't fit are in the tally; a missing file or column is a SeedFault."""
    export = Export(tally)
    for file, columns in _FILES.items():
        one = _READERS[file]
        for line, row in read(folder / file, columns, tally):
            try:
                one(export, row)
            except Unfit as reason:
                tally.reject(file, line, str(reason), row)
            else:
                tally.load(file)
    _settle(export)
    return export


def _organization(export: Export, row: Row) -> None:
    if not re.search(r"\b(pharmac\w*|apothecary|drug store)\b", row["NAME"], re.IGNORECASE):
        raise Unfit("a medical group: the OMS has no table for them; its providers are loaded")
    export.add("pharmacies", _EARLY, id=export.id_of("organizations", row), name=row["NAME"][:255], pharmacy_type="retail", phone=row["PHONE"] or None,
               line1=row["ADDRESS"] or None, city=row["CITY"] or None, state_code=row["STATE"] or None, postal_code=row["ZIP"] or None)  # fmt: skip


def _payer(export: Export, row: Row) -> None:
    raise Unfit("the OMS has no table of payers; what they covered is in payments (processor insurance)")


def _provider(export: Export, row: Row) -> None:
    first, _, last = row["NAME"].strip().rpartition(" ")
    provider = export.id_of("providers", row)
    if not last:
        raise Unfit("a provider without a name")
    state = row["STATE"].strip()
    export.add("providers", _EARLY, id=provider, npi=f"19{UUID(provider).int % 10**8:08d}", first_name=(first or last)[:40], last_name=last[:80],
               specialty=_SPECIALTIES.get(row["SPECIALITY"].upper(), "other"), licensed_states=[state] if state else [])  # fmt: skip


def _patient(export: Export, row: Row) -> None:
    patient, number = export.id_of("patients", row), len(export.rows["patients"]) + 1
    born, died = _date(row, "BIRTHDATE"), _date(row, "DEATHDATE", optional=True)
    if born is not None and born <= date(1900, 1, 1):
        raise Unfit("born in 1900 or before: the OMS refuses the birth date")
    if not row["LAST"].strip():
        raise Unfit("a patient without a last name")
    export.add("patients", _EARLY, id=patient, patient_number=f"PY-{number:06d}", first_name=row["FIRST"] or None, last_name=row["LAST"],
               suffix=row["SUFFIX"] or None, date_of_birth=born, sex_at_birth=_SEX.get(row["GENDER"], "unknown"),
               status="deceased" if died else "active", deceased_on=died, legacy_id=patient, risk_flags=[])  # fmt: skip
    if row["ADDRESS"].strip() and row["CITY"].strip():
        usable = row["ZIP"].strip("0 ") != ""
        export.add("patient_addresses", _EARLY, id=str(uuid5(SPACE, f"address/{patient}")), patient_id=patient, kind="shipping", is_default=True,
                   recipient_name=f"{row['FIRST']} {row['LAST']}".strip(), line1=row["ADDRESS"], city=row["CITY"], state_code=row["STATE"] or None,
                   postal_code=row["ZIP"] or None, country_code="US", validation_status="unchecked" if usable else "undeliverable")  # fmt: skip


def _encounter(export: Export, row: Row) -> None:
    visit, begun, ended = export.id_of("encounters", row), _time(row, "START"), _time(row, "STOP")
    patient = export.known("patients", row["PATIENT"], "patients.csv")
    provider = export.known("providers", row["PROVIDER"], "providers.csv")
    if ended < begun:
        raise Unfit("it stopped before it started")
    total, covered = _cents(row, "TOTAL_CLAIM_COST"), _cents(row, "PAYER_COVERAGE")
    if covered > total:
        raise Unfit("more was covered than claimed")
    number = len(export.rows["consultations"]) + 1
    kind = row["ENCOUNTERCLASS"].strip().lower()
    export.add("consultations", begun, id=visit, consultation_number=f"CY-{number:06d}", patient_id=patient["id"], provider_id=provider["id"],
               modality=_MODALITIES.get(kind, "video"), vertical="primary_care", status="completed", outcome="no_treatment", started_at=begun,
               ended_at=ended)["updated_at"] = ended  # fmt: skip
    patient["created_at"] = min(str(patient["created_at"]), begun) if patient["created_at"] != _EARLY else begun
    for processor, amount in (("insurance", covered), ("manual", total - covered)):
        if amount:
            export.add("payments", ended, id=str(uuid5(SPACE, f"{processor}/{visit}")), patient_id=patient["id"], processor=processor,
                       amount_cents=amount, amount_captured_cents=amount, status="succeeded", captured_at=ended)  # fmt: skip


def _condition(export: Export, row: Row) -> None:
    patient = export.known("patients", row["PATIENT"], "patients.csv")
    begun, over = _date(row, "START"), _date(row, "STOP", optional=True)
    assert begun is not None
    if over and over < begun:
        raise Unfit("it stopped before it started")
    export.add("patient_conditions", _midnight(begun), id=export.id_of("conditions", row), patient_id=patient["id"], snomed_code=row["CODE"] or None,
               description=_filled(row, "DESCRIPTION"), clinical_status="resolved" if over else "active", verification="confirmed", onset_on=begun,
               abated_on=over, is_self_reported=False)  # fmt: skip


def _allergy(export: Export, row: Row) -> None:
    patient = export.known("patients", row["PATIENT"], "patients.csv")
    begun, over = _date(row, "START"), _date(row, "STOP", optional=True)
    assert begun is not None
    category = row["CATEGORY"].strip().lower()
    reactions = [text for text in (row["DESCRIPTION1"], row["DESCRIPTION2"]) if text]
    export.add("patient_allergies", _midnight(begun), id=export.id_of("allergies", row), patient_id=patient["id"], substance=_filled(row, "DESCRIPTION"),
               code_system=_SYSTEMS.get(row["SYSTEM"], "free_text"), code=row["CODE"] or None,
               category=category if category in ("medication", "food", "environment", "biologic") else None, reaction="; ".join(reactions) or None,
               severity=row["SEVERITY1"].strip().lower() or None, clinical_status="resolved" if over else "active", onset_on=begun,
               recorded_by="import")  # fmt: skip


def _careplan(export: Export, row: Row) -> None:
    patient = export.known("patients", row["PATIENT"], "patients.csv")
    visit = export.known("consultations", row["ENCOUNTER"], "encounters.csv")
    begun, over = _date(row, "START"), _date(row, "STOP", optional=True)
    assert begun is not None
    lines = [f"Care plan: {_filled(row, 'DESCRIPTION')}", f"From {begun}" + (f" to {over}" if over else ", ongoing")]
    if row["REASONDESCRIPTION"]:
        lines.append(f"Because of: {row['REASONDESCRIPTION']}")
    body, signed = "\n".join(lines), str(visit["ended_at"])
    export.add("clinical_notes", signed, id=export.id_of("careplans", row), patient_id=patient["id"], consultation_id=visit["id"],
               author_provider_id=visit["provider_id"], note_type="progress", status="signed", title="Care plan", body=body, body_sha256=sha256(body),
               signed_at=signed)  # fmt: skip


def _medication(export: Export, row: Row) -> None:
    patient = export.known("patients", row["PATIENT"], "patients.csv")
    visit = export.known("consultations", row["ENCOUNTER"], "encounters.csv")
    begun, over = _time(row, "START"), _time(row, "STOP", optional=True)
    if over and over < begun:
        raise Unfit("it stopped before it started")
    dispensed = _count(row, "DISPENSES")
    product = _product(export, "RXN", row, begun, "rx_drug", _cents(row, "BASE_COST"))
    refills = min(99, max(0, dispensed - 1))
    number = len(export.rows["prescriptions"]) + 1
    export.add("prescriptions", begun, id=export.id_of("medications", row), rx_number=f"RXY-{number:06d}", patient_id=patient["id"],
               consultation_id=visit["id"], prescriber_id=visit["provider_id"], product_id=product, drug_description=_filled(row, "DESCRIPTION")[:255],
               sig="As directed" + (f" for {row['REASONDESCRIPTION']}" if row["REASONDESCRIPTION"] else ""), quantity="1", quantity_unit="each",
               refills_allowed=refills, refills_remaining=0 if over else refills, status="depleted" if over else "active", transmission_status="sent",
               written_at=begun, effective_on=begun[:10], expires_on=over[:10] if over else None,
               pharmacist_note=f"Dispensed {dispensed} times" if dispensed > 100 else None)  # fmt: skip
    visit["outcome"] = "prescribed"


def _supply(export: Export, row: Row) -> None:
    patient = export.known("patients", row["PATIENT"], "patients.csv")
    visit = export.known("consultations", row["ENCOUNTER"], "encounters.csv")
    given, quantity, named = _date(row, "DATE"), _count(row, "QUANTITY"), _filled(row, "DESCRIPTION")
    assert given is not None
    if quantity < 1:
        raise Unfit("a quantity below 1")
    line = str(uuid5(SPACE, "supplies/" + "\x1f".join(row.values())))
    if export.has("order_items", line):
        raise Unfit("exactly the same as a row before")
    at = _midnight(given)
    product = _product(export, "SUP", row, at, "supply", 0)
    order = str(uuid5(SPACE, f"order/{given}/{patient['id']}/{visit['id']}"))
    if not export.has("orders", order):
        number = len(export.rows["orders"]) + 1
        export.add("orders", at, id=order, order_number=f"OY-{number:06d}", patient_id=patient["id"], consultation_id=visit["id"], order_type="otc",
                   channel="api", status="completed", placed_at=at, approved_at=at)  # fmt: skip
        export.add("order_status_history", at, id=str(uuid5(SPACE, f"history/{order}")), order_id=order, seq=1, to_status="completed",
                   reason="imported", actor_type="system", occurred_at=at)  # fmt: skip
    export.lines[order] += 1
    export.add("order_items", at, id=line, order_id=order, line_no=export.lines[order], product_id=product, product_name_snapshot=named,
               quantity=quantity, unit_price_cents=0, fill_status="filled")  # fmt: skip


def _product(export: Export, kind: str, row: Row, made: str, product_type: str, cents: int) -> str:
    """The product of a code: made when it is first met."""
    product = str(uuid5(SPACE, f"product/{kind}/{row['CODE']}"))
    if not export.has("products", product):
        drug = product_type == "rx_drug"
        export.add("products", made, id=product, sku=f"{kind}-{_filled(row, 'CODE')}", name=_filled(row, "DESCRIPTION")[:255], product_type=product_type,
                   rxnorm_code=row["CODE"] if drug else None, requires_prescription=drug, list_price_cents=cents)  # fmt: skip
    return product


def _settle(export: Export) -> None:
    """A patient's own rows are as old as its first visit."""
    since = {patient["id"]: patient for patient in export.rows["patients"]}
    for patient in since.values():
        patient["updated_at"] = patient["created_at"]
    for address in export.rows["patient_addresses"]:
        address["created_at"] = address["updated_at"] = since[address["patient_id"]]["created_at"]


_EARLY = "2000-01-01T00:00:00Z"
_READERS: dict[str, Callable[[Export, Row], None]] = {
    "organizations.csv": _organization, "payers.csv": _payer, "providers.csv": _provider, "patients.csv": _patient, "encounters.csv": _encounter,
    "conditions.csv": _condition, "allergies.csv": _allergy, "careplans.csv": _careplan, "medications.csv": _medication, "supplies.csv": _supply,
}  # fmt: skip


def _filled(row: Row, column: str) -> str:
    if not row[column].strip():
        raise Unfit(f"{column} is empty")
    return row[column]


def _date(row: Row, column: str, *, optional: bool = False) -> date | None:
    if optional and not row[column].strip():
        return None
    try:
        return date.fromisoformat(row[column].strip()[:10])
    except ValueError:
        raise Unfit(f"{column} is no date") from None


def _time(row: Row, column: str, *, optional: bool = False) -> str:
    """ISO-8601 in UTC; '' for an optional one that is missing."""
    if optional and not row[column].strip():
        return ""
    try:
        moment = datetime.fromisoformat(row[column].strip())
    except ValueError:
        raise Unfit(f"{column} is no time") from None
    moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def _midnight(given: date) -> str:
    return f"{given.isoformat()}T00:00:00Z"


def _cents(row: Row, column: str) -> int:
    try:
        amount = Decimal(row[column].strip() or "0")
    except InvalidOperation:
        raise Unfit(f"{column} is no amount") from None
    if not amount.is_finite() or amount < 0:
        raise Unfit(f"{column} is no amount")
    return int((amount * 100).to_integral_value())


def _count(row: Row, column: str) -> int:
    try:
        return int(row[column].strip())
    except ValueError:
        raise Unfit(f"{column} is no whole number") from None
