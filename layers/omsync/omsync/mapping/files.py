"""The format of a mapping file (`tables/<table>.yaml`): what a person writes, before anything is derived.

Pydantic checks it, and `omsync mapping schema` gives its JSON Schema to editors. `load.py` resolves it into `model.TableMapping`.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints

from omsync.mapping.model import Mode, Owner, Phi, Policy

type Scalar = str | int | bool | None
Name = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]*$")]
Path = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*)?$")]
ApiName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z][A-Za-z0-9]*(_[A-Za-z0-9]+)*(__p?c)?$")]
ColumnType = Annotated[
    str,
    StringConstraints(
        pattern=r"^(text|uuid|boolean|integer|bigint|date|timestamptz|jsonb|inet|xid8|text\[\]|char\(\d+\)|numeric\(\d+,\d+\))$"
    ),
]
SalesforceType = Annotated[
    str,
    StringConstraints(
        pattern=r"^(Email|Phone|Url|Picklist|MultiselectPicklist|Checkbox|Date|DateTime|TextArea|Text\(\d+\)|LongTextArea\(\d+\)|Html\(\d+\)"
        r"|(Number|Currency)\(\d+,\d+\)|(Lookup|MasterDetail)\([A-Za-z0-9_]+\))$"
    ),
]


def _as_list(value: object) -> object:
    return value if isinstance(value, list) else [value]


OneOrMore = Annotated[list[Path], BeforeValidator(_as_list, json_schema_input_type=Path | list[Path]), Field(min_length=1)]
Values = Annotated[list[Scalar], BeforeValidator(_as_list, json_schema_input_type=Scalar | list[Scalar]), Field(min_length=1)]
When = dict[Name, Values]


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True, strict=False)


class BirthFile(Strict):
    """A value by another column's, for a row that is born in Salesforce without one."""

    column: Name
    values: dict[str, str]


class ColumnFile(Strict):
    """One column of the OMS's table. The seven common columns are added to every table."""

    type: ColumnType = Field(description="PostgreSQL type")
    nullable: bool = True
    default: str | None = Field(None, description="DEFAULT, an SQL expression")
    unique: bool = False
    choices: list[str] | None = Field(None, description="the values of CHECK (column IN (...))")
    check: str | None = Field(None, description="any other CHECK, an SQL expression")
    references: Name | None = Field(None, description="table that the column refers to")
    phi: Phi | None = Field(None, description="I identifier, C clinical, F financial")
    owner: Owner = Field("oms", description="who may change the value")
    policy: Policy | None = Field(None, description="who wins if both sides changed it; without: the owner, or the table's policy")
    revoked: bool | Literal["set"] | None = Field(
        None, description="the value that means revoked (policy revoked_wins); set = any but null"
    )
    not_sent: str | None = Field(None, description="why no Salesforce field carries the column")
    command: bool = Field(False, description="Salesforce sets it, the OMS executes it once and clears it")
    generated: bool = Field(False, description="filled by the OMS in a row that is born in Salesforce")
    birth: BirthFile | None = Field(None, description="the value in a row that is born in Salesforce without one")
    only: list[str] | None = Field(None, description="any other value is an error on the way to Salesforce")


class FieldFile(Strict):
    """One Salesforce field."""

    type: SalesforceType = Field(description="as Setup shows it: Text(40), Number(5,1), Lookup(Account)")
    source: OneOrMore = Field(alias="from", description="columns, or paths into jsonb or an embedded row")
    label: str | None = None
    transform: str | None = Field(None, description="without: chosen by the two types")
    values: dict[str, Scalar] | None = Field(None, description="for transform map: OMS value -> Salesforce value")
    length: int | None = Field(None, description="for types that Setup shows without one")
    required: bool = False
    unique: bool = False
    external_id: bool = False
    picklist: list[str] | Literal["us_states"] | None = Field(None, description="values; without: the column's choices")
    restricted: bool = False
    relationship: ApiName | None = Field(None, description="without: derived from the field's name")
    polymorphic: bool = False
    many: bool = Field(False, description="a list of Salesforce ids: the writer resolves it, only REST takes it")
    missing: Literal["wait", "default_owner"] | None = None
    create_only: bool = False
    insert_only: bool = False
    second_pass: bool = False
    history: bool = True
    omit_null: bool = False
    compare: bool = Field(True, description="false: Salesforce may change it by itself, nothing compares it")
    back: bool | None = Field(None, description="false: a secondary copy that never flows to the OMS")
    match_only: bool = False
    feature: Literal["multi_currency"] | None = None
    withheld_when: When | None = None
    overflow: Literal["file"] | None = None


class ConstantFile(Strict):
    """A field with the same value in every record: exactly one of value, parent and org."""

    value: Scalar = None
    parent: str | None = Field(None, description="external id of the record that this lookup names")
    object: str | None = Field(None, description="the parent's object")
    relationship: ApiName | None = None
    org: str | None = Field(None, description="an id that only the org knows: standard_price_book")
    create_only: bool = False


class RecordTypeFile(Strict):
    """A record type chosen by a column's value."""

    column: Name
    values: dict[str, ApiName]


class TargetFile(Strict):
    """A Salesforce object that the table's rows are written to."""

    object: ApiName
    label: str
    plural_label: str
    record_type: ApiName | RecordTypeFile | None = None
    when: When | None = Field(None, description="only rows with these values; without: every row")
    match: list[ApiName] = Field(default_factory=list, description="matched tables: fields that identify the record, best first")
    constants: dict[ApiName, ConstantFile] = Field(default_factory=dict)
    auto_number: str | None = Field(None, description="display format of Name where no column fills it")
    sharing: Literal["Private", "ReadWrite", "Read", "ControlledByParent"] = "Private"
    fields: dict[ApiName, FieldFile]


class SkipFile(Strict):
    """Rows that are not sent."""

    when: When
    reason: str


class EmbeddedFile(Strict):
    """A row of another table inside this one's row."""

    table: Name
    where: When


class LockFile(Strict):
    """While the condition holds, the unit is the OMS's."""

    unit: Name
    when: When


class TableFile(Strict):
    """A table's mapping."""

    table: Name
    number: int = Field(ge=1, description="position in the schema; load order within a wave")
    purpose: str
    mode: Mode
    run: int = Field(ge=1, le=4)
    wave: Annotated[str, StringConstraints(pattern=r"^[1-4][a-z]$")]
    policy: Policy = Field("oms", description="who wins where both own a column and both changed it")
    born_in: list[Literal["oms", "salesforce"]] = ["oms"]
    cutover_run: int | None = Field(None, description="until this run's certificate the OMS owns every column")
    sync_fields: bool | None = Field(None, description="Sync_Save__c and its kin; without: on shared tables")
    patient_keyed: bool = Field(False, description="a row as a whole is PHI")
    notes: list[str] = Field(default_factory=list)
    skip: list[SkipFile] = Field(default_factory=list)
    embeds: dict[Name, EmbeddedFile] = Field(default_factory=dict)
    units: dict[Name, list[Name]] = Field(default_factory=dict, description="columns merged as one")
    locks: list[LockFile] = Field(default_factory=list)
    columns: dict[Name, ColumnFile]
    targets: list[TargetFile] = Field(default_factory=list)


def json_schema() -> dict[str, Any]:
    """JSON Schema (2020-12) of a mapping file, for editors."""
    schema = TableFile.model_json_schema(by_alias=True)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "omsync table mapping", **schema}
