"""Where a client looks first: versions, the resources of a version, limits, record counts."""

from __future__ import annotations

from dataclasses import dataclass

from local.salesforce.rest.http import Request, Response, Route, not_found
from local.salesforce.rest.state import OrgState

FIRST, LAST = 20, 67  # API versions this org speaks
_SEASONS = ("Winter", "Spring", "Summer")
_RESOURCES = (
    *("tooling", "metadata", "folders", "eclair", "prechatForms", "contact-tracing", "jsonxform", "chatter", "async-queries"),
    *("query", "queryAll", "search", "parameterizedSearch", "recent", "sobjects", "composite", "limits", "process", "dedupe", "wave"),
    *("connect", "licensing", "jobs", "support", "theme", "nouns", "appMenu", "compactLayouts", "actions", "tabs", "quickActions"),
    *("analytics", "serviceTemplates", "smartdatadiscovery", "knowledgeManagement"),
)


def label(version: int) -> str:
    """`Summer '26` for 67."""
    return f"{_SEASONS[(version - FIRST) % 3]} '{11 + (version - FIRST) // 3}"


def known_version(segment: str) -> bool:
    """`v67.0`, as the second segment after `/services/data/`."""
    number, dot, zero = segment.lower().removeprefix("v").partition(".")
    return (
        segment[:1].lower() == "v" and number.isascii() and number.isdigit() and dot == "." and zero == "0" and FIRST <= int(number) <= LAST
    )


@dataclass
class Resources:
    """Handlers of the roots and of `/limits`."""

    state: OrgState

    def routes(self) -> list[Route]:
        version = "/services/data/{version}"
        return [
            Route("GET", "/services/data", self.versions, auth=False, counts=False),
            Route("GET", version, self.resources),
            Route("GET", f"{version}/limits", self.limits),
            Route("GET", f"{version}/limits/recordCount", self.record_count),
            Route("GET", f"{version}/recent", self.recent),
        ]

    def versions(self, request: Request) -> Response:
        return Response(200, [{"label": label(n), "url": f"/services/data/v{n}.0", "version": f"{n}.0"} for n in range(FIRST, LAST + 1)])

    def resources(self, request: Request) -> Response:
        found = {name: f"{request.root}/{name}" for name in _RESOURCES}
        found["identity"] = f"{request.base}/id/{self.state.org_id}/{request.user.user_id}"
        return Response(200, found)

    def limits(self, request: Request) -> Response:
        return Response(200, self.state.limits.report())

    def record_count(self, request: Request) -> Response:
        """Approximate counts of the objects named (all, when none is); an unknown name is left out."""
        names = request.query.get("sObjects")
        if names is None:
            wanted = [obj for obj in self.state.org if obj.queryable and not obj.event]
        else:
            found = (self.state.org.object(name.strip()) for name in names.split(","))
            wanted = [obj for obj in found if obj is not None and not obj.event]
        counts = [{"count": self.state.store.count(obj.name), "name": obj.name} for obj in wanted]
        return Response(200, {"sObjects": [item for item in counts if names is not None or item["count"]]})

    def recent(self, request: Request) -> Response:
        return Response(200, [])


def check_version(segment: str) -> None:
    """404 for a version that doesn't exist, whatever comes after it."""
    if not known_version(segment):
        raise not_found()
