"""The OMS's database as the survey looks at it: whole tables in a server-side cursor, sorted and joined by PostgreSQL, never in memory here."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from psycopg import sql
from psycopg.rows import class_row

from omsync.mapping import Json, Mappings, TableMapping
from omsync.mapping.model import Condition
from omsync.migration.duplicates import Person
from omsync.migration.source import FETCH, PostgresSource
from omsync.migration.survey import DELETED, MISSING, Orphan

#: the consonants that a name is recognised by, however it is spelt: its first letter and three more
_SKELETON = (
    "left(regexp_replace({0}, '[^[:alpha:]]', '', 'g'), 1)"
    " || left(regexp_replace(regexp_replace(substr({0}, 2), '[^[:alpha:]]', '', 'g'), '[aeiouhwy]', '', 'g'), 3)"
)
_GIVEN, _FAMILY, _STREET = (_SKELETON.format(column) for column in ("given", "family", "street"))
_NUMBER = "left(regexp_replace(street, '[^0-9]', '', 'g'), 5)"
#: what people have in common who could be one person: (name, key; null or empty: not in this order, what to sort by within a key)
ORDERS = (
    ("birth date", "birth", "family, given"),
    ("e-mail", "email", "given, family"),
    ("phone", "phone", "given, family"),
    ("both names", f"CASE WHEN given <> '' AND family <> '' THEN least({_GIVEN}, {_FAMILY}) || '|' || greatest({_GIVEN}, {_FAMILY}) END", "birth"),
    ("house", f"CASE WHEN postal <> '' AND {_NUMBER} <> '' THEN postal || '#' || {_NUMBER} END", "family, given"),
    ("street", f"CASE WHEN city <> '' AND street <> '' THEN {_STREET} || '|' || left(city, 4) END", "family, given"),
    ("first name and year", f"CASE WHEN given <> '' AND birth <> '' THEN {_GIVEN} || left(birth, 4) END", "birth"),
    ("family name and year", f"CASE WHEN family <> '' AND birth <> '' THEN {_FAMILY} || left(birth, 4) END", "birth"),
)  # fmt: skip
_PEOPLE = """
WITH people AS MATERIALIZED (
  SELECT p.id::text AS id, lower(btrim(coalesce(p.first_name, ''))) AS given, lower(btrim(coalesce(p.last_name, ''))) AS family,
    coalesce(to_char(p.date_of_birth, 'YYYY-MM-DD'), '') AS birth, lower(btrim(coalesce(a.line1, ''))) AS street,
    left(coalesce(a.postal_code, ''), 5) AS postal, lower(btrim(coalesce(a.city, ''))) AS city, lower(btrim(coalesce(p.email, ''))) AS email,
    coalesce(p.phone_e164, '') AS phone
  FROM patients AS p
  LEFT JOIN patient_addresses AS a ON a.patient_id = p.id AND a.kind = 'shipping' AND a.is_default AND a.deleted_at IS NULL
  WHERE p.deleted_at IS NULL AND NOT coalesce({skipped}, false)
)
SELECT * FROM (SELECT *, {key} AS key FROM people) AS t WHERE key <> '' ORDER BY key, {then}, id
"""


@dataclass(frozen=True, slots=True)
class PostgresSurvey:
    """`survey.SurveySource` over PostgreSQL."""

    source: PostgresSource
    mappings: Mappings

    @property
    def orders(self) -> tuple[str, ...]:
        """What people could have in common."""
        return tuple(name for name, _, _ in ORDERS)

    def people(self, order: str) -> Iterator[Person]:
        """Patients who would be sent and are not deleted, sorted by what the order is called after."""
        _, key, then = next(one for one in ORDERS if one[0] == order)
        statement = sql.SQL(_PEOPLE).format(skipped=_skipped(self.mappings["patients"], "p"), key=sql.SQL(key), then=sql.SQL(then))
        with self.source.connection() as connection, connection.cursor(name="people", row_factory=class_row(Person)) as cursor:
            connection.execute("SET LOCAL work_mem = '64MB'")
            cursor.itersize = FETCH
            cursor.execute(statement)
            yield from cursor

    def orphans(self, mapping: TableMapping, column: str) -> Iterator[Orphan]:
        """Rows that would be sent and are not deleted, whose parent is not there, is not sent, or is deleted."""
        parent = self.mappings[str(mapping.columns[column].references)]
        reasons: list[tuple[sql.Composable, str]] = [(sql.SQL("p.id IS NULL"), MISSING)]
        for skip in parent.skips:
            if parent.mode in ("mirrored", "shared"):
                reasons.append((_holds(skip.when, "p", survivors=parent.table == "patients"), skip.reason))
        reasons.append((sql.SQL("p.deleted_at IS NOT NULL"), DELETED))
        why = sql.SQL(" ").join(sql.SQL("WHEN {} THEN {}").format(test, sql.Literal(reason)) for test, reason in reasons)
        statement = sql.SQL(
            "SELECT id, why FROM (SELECT c.id::text AS id, CASE {why} END AS why FROM {child} AS c LEFT JOIN {parent} AS p ON p.id = c.{column}"
            " WHERE c.{column} IS NOT NULL AND c.deleted_at IS NULL AND NOT coalesce({skipped}, false)) AS t WHERE why IS NOT NULL ORDER BY id"
        ).format(
            why=why,
            child=sql.Identifier(mapping.table),
            parent=sql.Identifier(parent.table),
            column=sql.Identifier(column),
            skipped=_skipped(mapping, "c"),
        )
        with self.source.connection() as connection, connection.cursor(name="orphans") as cursor:
            cursor.itersize = FETCH
            cursor.execute(statement)
            for row_id, reason in cursor:
                yield Orphan(str(row_id), str(reason))


def _skipped(mapping: TableMapping, alias: str) -> sql.Composable:
    """Is the row not sent by rule?"""
    return sql.SQL(" OR ").join([sql.SQL("FALSE"), *(sql.SQL("({})").format(_holds(skip.when, alias)) for skip in mapping.skips)])


def _holds(condition: Condition, alias: str, *, survivors: bool = False) -> sql.Composable:
    """`Condition.__call__` in SQL. `survivors`: a merged patient is no gap where another stands for it."""
    parts: list[sql.Composable] = [sql.SQL("TRUE")]
    for column, values in condition.values.items():
        parts.append(_one_of(_born_in(alias) if column == "born_in" else sql.Identifier(alias, column), values))
    if survivors:
        parts.append(sql.SQL("{}.merged_into_patient_id IS NULL").format(sql.Identifier(alias)))
    return sql.SQL(" AND ").join(parts)


def _one_of(column: sql.Composable, values: tuple[Json, ...]) -> sql.Composable:
    tests = [sql.SQL("{} = {}").format(column, sql.Literal(value)) for value in values if value is not None]
    if None in values:
        tests.append(sql.SQL("{} IS NULL").format(column))
    return sql.SQL("({})").format(sql.SQL(" OR ").join(tests))


def _born_in(alias: str) -> sql.Composable:
    """`mapping.model.born_in`."""
    return sql.SQL("(CASE WHEN substr({}.id::text, 15, 1) = '5' THEN 'salesforce' ELSE 'oms' END)").format(sql.Identifier(alias))
