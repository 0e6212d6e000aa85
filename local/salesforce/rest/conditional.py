"""Conditional requests: ETag, Last-Modified, and what `If-*` headers make of them (304, 412)."""

from __future__ import annotations

import zlib
from datetime import UTC, datetime
from email.utils import format_datetime, parsedate_to_datetime

from local.salesforce.rest.http import Request, Response


def etag(*parts: object) -> str:
    """A short validator over what identifies a version: `"baf7f695"`."""
    return f'"{zlib.crc32(repr(parts).encode()):08x}"'


def http_date(moment: datetime) -> str:
    return format_datetime(moment.astimezone(UTC).replace(microsecond=0), usegmt=True)


def parse_stamp(stored: str) -> datetime:
    """A stored moment (`2026-01-01T00:00:00.000Z`)."""
    return datetime.strptime(stored, "%Y-%m-%dT%H:%M:%S.%fZ").replace(tzinfo=UTC)


def _header_date(request: Request, name: str) -> datetime | None:
    """A date header; one that can't be read counts as absent, as RFC 9110 has it."""
    value = request.headers.get(name)
    if not value:
        return None
    try:
        moment = parsedate_to_datetime(value)
    except ValueError:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _tags(value: str) -> set[str]:
    """The entity tags of a header, without the `--gzip` that a compressed answer's tag may carry, and weak ones as strong."""
    tags = (tag.strip().removeprefix("W/").replace('-gzip"', '"').replace('--gzip"', '"') for tag in value.split(","))
    return {tag if tag == "*" or tag.startswith('"') else f'"{tag}"' for tag in tags if tag}


def precondition(request: Request, tag: str, modified: datetime) -> Response | None:
    """304 or 412 where the request's conditions say so, else None. HTTP dates count whole seconds."""
    modified = modified.replace(microsecond=0)
    match = request.headers.get("if-match")
    if match and not _tags(match) & {tag, "*"}:
        return Response(412)
    unmodified = _header_date(request, "if-unmodified-since")
    if not match and unmodified is not None and modified > unmodified:
        return Response(412)
    none = request.headers.get("if-none-match")
    if none:
        return _unchanged(request, tag, modified) if _tags(none) & {tag, "*"} else None
    since = _header_date(request, "if-modified-since")
    if since is not None and modified <= since and request.method in {"GET", "HEAD"}:
        return _unchanged(request, tag, modified)
    return None


def _unchanged(request: Request, tag: str, modified: datetime) -> Response:
    if request.method in {"GET", "HEAD"}:
        return Response(304, None, {"ETag": tag, "Last-Modified": http_date(modified)})
    return Response(412)
