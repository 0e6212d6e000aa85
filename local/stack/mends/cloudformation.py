"""CloudFormation: the time to live of a table, numbers that come from parameters, and email templates.

Sources: AWS::DynamoDB::Table TimeToLiveSpecification, AWS::SES::Template.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ministack.services import dynamodb, ses
from ministack.services.cloudformation import provisioners

type Properties = dict[str, Any]
type Provisioned = tuple[str, dict[str, Any]]


def install() -> None:
    """Put the mends in place."""
    table = provisioners._RESOURCE_HANDLERS["AWS::DynamoDB::Table"]
    provisioners._RESOURCE_HANDLERS["AWS::DynamoDB::Table"] = table | {
        "create": _with_ttl(table["create"], lambda arguments: arguments[1]),
        "update": _with_ttl(table["update"], lambda arguments: arguments[2]),
    }
    for kind in ("AWS::Lambda::EventSourceMapping", "AWS::Lambda::Function"):  # parameters are text, even of type Number
        handlers = provisioners._RESOURCE_HANDLERS[kind]
        provisioners._RESOURCE_HANDLERS[kind] = handlers | {
            "create": _with_numbers(handlers["create"], 1),
            "update": _with_numbers(handlers["update"], 2),
        }
    provisioners._RESOURCE_HANDLERS["AWS::SES::Template"] = {
        "create": _create_template,
        "update": _update_template,
        "delete": lambda name, _properties: ses._templates.pop(name, None),
    }


def _with_ttl(provision: Callable[..., Provisioned], properties_of: Callable[[tuple[Any, ...]], Properties]) -> Callable[..., Provisioned]:
    def provisioned(*arguments: Any, **named: Any) -> Provisioned:
        name, attributes = provision(*arguments, **named)
        if wanted := properties_of(arguments).get("TimeToLiveSpecification"):
            on = str(wanted.get("Enabled", True)).lower() == "true"
            dynamodb._update_ttl(
                {"TableName": name, "TimeToLiveSpecification": {"Enabled": on, "AttributeName": wanted.get("AttributeName", "")}}
            )
        return name, attributes

    return provisioned


#: A parameter is text, even of type Number; CloudFormation turns it into what the property wants.
_NUMBERS = frozenset({"BatchSize", "MaximumBatchingWindowInSeconds", "MaximumConcurrency", "MemorySize", "Timeout", "Size"})


def _with_numbers(provision: Callable[..., Provisioned], place: int) -> Callable[..., Provisioned]:
    def provisioned(*arguments: Any, **named: Any) -> Provisioned:
        return provision(*arguments[:place], _numbers(arguments[place]), *arguments[place + 1 :], **named)

    return provisioned


def _numbers(properties: Any) -> Any:
    if not isinstance(properties, dict):
        return properties
    return {
        name: int(value) if name in _NUMBERS and isinstance(value, str) and value.isdigit() else _numbers(value)
        for name, value in properties.items()
    }


def _create_template(logical_id: str, properties: Properties, stack_name: str) -> Provisioned:
    template = properties.get("Template") or {}
    name = template.get("TemplateName") or f"{stack_name}-{logical_id}"
    parts = {part: template.get(part, "") for part in ("SubjectPart", "TextPart", "HtmlPart")}
    ses._templates[name] = {"TemplateName": name, **parts, "CreatedTimestamp": ses._iso_now()}
    return name, {"Id": name}


def _update_template(physical_id: str, _old: Properties, new: Properties, stack_name: str) -> Provisioned:
    name, attributes = _create_template(physical_id, {"Template": {"TemplateName": physical_id, **(new.get("Template") or {})}}, stack_name)
    return name, attributes
