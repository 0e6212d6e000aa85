"""What OpenAPI says about the row routes: schemas made from the catalog."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from .catalog import ADDRESS_UNITS, CREATE_ONLY, READ_ONLY, Table
from .values import address_schema, json_schema

type Schema = dict[str, Any]

PROBLEM: Schema = {
    "type": "object",
    "required": ["type", "title", "status", "detail"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "errors": {"type": "array", "items": {"type": "object"}},
    },
}
REFUSALS = {
    "400": "The request cannot be read",
    "401": "No valid token",
    "403": "The token lacks the scope",
    "404": "No such row",
    "409": "Not in this state",
    "413": "The request is too large",
    "422": "Refused for good",
    "503": "Come again",
}


def model_name(table: Table) -> str:
    """`patient_addresses` -> `PatientAddress`."""
    name = table.name.removesuffix("es") if table.name.endswith(("sses", "xes")) else table.name.removesuffix("s")
    name = {"pharmacie": "pharmacy", "allergie": "allergy", "patient_allergie": "patient_allergy"}.get(name, name)
    return "".join(part.capitalize() for part in name.split("_"))


def row_schemas(table: Table) -> dict[str, Schema]:
    """The row as shown, as created, as patched."""
    name = model_name(table)
    shown: Schema = {column.name: json_schema(column) for column in table.columns.values()}
    if table.name == "patients":
        shown |= {unit: address_schema() for unit in ADDRESS_UNITS}
    patched = {key: schema for key, schema in shown.items() if key not in READ_ONLY | CREATE_ONLY}
    created = {key: schema for key, schema in shown.items() if key not in READ_ONLY}
    required = [column.name for column in table.writable if column.required]
    return {
        name: {"type": "object", "properties": shown},
        f"{name}Create": {"type": "object", "properties": created, "required": required, "additionalProperties": False},
        f"{name}Patch": {"type": "object", "properties": patched, "additionalProperties": False},
    }


def reference(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}


def answers(*codes: str, **schemas: Schema) -> Schema:
    """Responses by status: `ok_200=schema` are JSON, `codes` are problems."""
    found: Schema = {
        key.removeprefix("ok_"): {"description": "Done", "content": {"application/json": {"schema": schema}}}
        for key, schema in schemas.items()
    }
    for code in codes:
        content = {"application/problem+json": {"schema": reference("Problem")}}
        found[code] = {"description": REFUSALS.get(code, "Precondition"), "content": content}
    return found


def body(schema: Schema, example: Any = None) -> Schema:
    media: Schema = {"schema": schema}
    if example is not None:
        media["example"] = example
    return {"required": True, "content": {"application/json": media}}


def page(table: Table, **more: Schema) -> Schema:
    return {"type": "object", "properties": {"items": {"type": "array", "items": reference(model_name(table))}, **more}}


def list_extra(table: Table, filters: list[str]) -> Schema:
    ids: Schema = {"type": "array", "items": {"type": "string", "format": "uuid"}}
    parameters = [{"name": name, "in": "query", "required": False, "explode": True, "schema": ids} for name in filters]
    following = {"type": ["string", "null"]}
    return {"parameters": parameters, "responses": answers("400", "401", "403", "503", ok_200=page(table, next=following))}


def get_extra(table: Table) -> Schema:
    responses = answers("400", "401", "403", "404", "503", ok_200=reference(model_name(table)))
    return {"responses": {**responses, "304": {"description": "Not modified"}}}


def batch_extra(table: Table, most: int) -> Schema:
    ids: Schema = {"type": "array", "maxItems": most, "items": {"type": "string", "format": "uuid"}}
    schema = {"type": "object", "required": ["ids"], "properties": {"ids": ids}, "additionalProperties": False}
    shown = page(table, missing={"type": "array", "items": {"type": "string"}})
    example = {"ids": ["00000000-0000-4000-8000-000000000000"]}
    return {"requestBody": body(schema, example), "responses": answers("400", "401", "403", "413", "422", "503", ok_200=shown)}


def create_extra(table: Table) -> Schema:
    name = model_name(table)
    responses = answers("400", "401", "403", "413", "422", "503", ok_201=reference(name), ok_200=reference(name))
    return {"requestBody": body(reference(f"{name}Create")), "responses": responses}


def patch_extra(table: Table) -> Schema:
    name = model_name(table)
    responses = answers("400", "401", "403", "404", "412", "413", "422", "428", "503", ok_200=reference(name))
    return {"requestBody": body(reference(f"{name}Patch")), "responses": responses}


def install(app: FastAPI, tables: Mapping[str, Table]) -> None:
    """Serve a document with the tables' schemas in it."""

    def document() -> Schema:
        if app.openapi_schema is None:
            made = get_openapi(title=app.title, version=app.version, description=app.description, routes=app.routes, tags=app.openapi_tags)
            schemas = made.setdefault("components", {}).setdefault("schemas", {})
            schemas["Problem"] = PROBLEM
            for table in tables.values():
                schemas |= row_schemas(table)
            for path in made["paths"].values():
                for operation in path.values():
                    _drop_default(operation["responses"])
            for name in ("HTTPValidationError", "ValidationError"):
                schemas.pop(name, None)
            app.openapi_schema = made
        return app.openapi_schema

    app.openapi = document  # type: ignore[method-assign]


def _drop_default(responses: Schema) -> None:
    """FastAPI documents a 422 of its own for every operation with parameters; here bad parameters are a 400."""
    content = responses.get("422", {}).get("content", {})
    if "application/json" in content:
        del content["application/json"]
        if content:
            responses["422"]["description"] = REFUSALS["422"]
        else:
            del responses["422"]
