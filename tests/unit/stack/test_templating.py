"""Email templates render as SES renders them."""

from __future__ import annotations

import pytest

from local.stack.mends.templating import MissingAttribute, render


@pytest.mark.parametrize(
    ("text", "data", "expected"),
    [
        ("Hello {{name}}", {"name": "Ann"}, "Hello Ann"),
        ("{{{name}}} {{ name }}", {"name": "<b>"}, "<b> <b>"),
        ("{{order.ref}}", {"order": {"ref": "A1"}}, "A1"),
        ("{{#if late}}late{{else}}on time{{/if}}", {"late": True}, "late"),
        ("{{#if late}}late{{else}}on time{{/if}}", {}, "on time"),
        ("{{#unless late}}on time{{/unless}}", {"late": 0}, "on time"),
        ("{{#each items}}[{{this}}]{{/each}}", {"items": ["a", "b"]}, "[a][b]"),
        ("{{#each items}}{{name}}{{#if last}}.{{else}},{{/if}}{{/each}}", {"items": [{"name": "a"}, {"name": "b", "last": 1}]}, "a,b."),
        ("{{#if a}}{{#if b}}both{{else}}a{{/if}}{{else}}none{{/if}}", {"a": 1}, "a"),
        ("a{{! not shown }}b", {}, "ab"),
        ("{{#if late}}{{never}}{{/if}}x", {}, "x"),
        ("{ {x} } {{}}", {}, "{ {x} } {{}}"),
    ],
)
def test_what_is_in_the_data_is_rendered(text: str, data: dict[str, object], expected: str) -> None:
    assert render(text, data) == expected


@pytest.mark.parametrize("text", ["{{name}}", "{{order.ref}}", "{{#each items}}x{{/each}}", "{{#if a}}{{else}}{{name}}{{/if}}"])
def test_what_is_missing_is_named(text: str) -> None:
    with pytest.raises(MissingAttribute, match=r"name|order\.ref|items"):
        render(text, {"order": {}})
