"""CloudFormation: the time to live of a table, numbers that come from parameters, and email templates.

Sources: AWS::DynamoDB::Table TimeToLiveSpecification, AWS::SES::Template.
"""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

from ministack.services import dynamodb, ses
from ministack.services.cloudformation import changesets, engine, handlers, provisioners
from samtranslator.translator import transform as sam

type Properties = dict[str, Any]
type Provisioned = tuple[str, dict[str, Any]]


#: the parameters of the stack operation whose template is being transformed
_parameters: ContextVar[dict[str, str] | None] = ContextVar("parameters", default=None)


def install() -> None:
    """Put the mends in place."""
    for user in (engine, changesets, handlers):  # two of them hold the function by name
        user._apply_transforms = _with_parameters(user._apply_transforms)
    sam.transform = _knowing_parameters(sam.transform)
    table = provisioners._RESOURCE_HANDLERS["AWS::DynamoDB::Table"]
    provisioners._RESOURCE_HANDLERS["AWS::DynamoDB::Table"] = table | {
        "create": _with_ttl(table["create"], lambda arguments: arguments[1]),
        "update": _with_ttl(table["update"], lambda arguments: arguments[2]),
    }
    for kind in ("AWS::Lambda::EventSourceMapping", "AWS::Lambda::Function"):  # parameters are text, even of type Number
        own = provisioners._RESOURCE_HANDLERS[kind]
        provisioners._RESOURCE_HANDLERS[kind] = own | {"create": _with_numbers(own["create"], 1), "update": _with_numbers(own["update"], 2)}
    provisioners._RESOURCE_HANDLERS["AWS::SES::Template"] = {
        "create": _create_template,
        "update": _update_template,
        "delete": lambda name, _properties: ses._templates.pop(name, None),
    }


def _with_parameters(own: Callable[..., Any]) -> Callable[..., Any]:
    """SAM's transform sees the operation's parameters, so that a new build's id publishes new versions (AutoPublishCodeSha256)."""

    def apply(template: Properties, provided: Any = None, previous: Any = None) -> Any:
        token = _parameters.set(engine._transform_parameters(template, provided, previous))
        try:
            return own(template, provided, previous)
        finally:
            _parameters.reset(token)

    return apply


def _knowing_parameters(own: Callable[..., Any]) -> Callable[..., Any]:
    def transform(template: Properties, parameters: dict[str, Any], *arguments: Any, **named: Any) -> Any:
        return own(template, {**parameters, **(_parameters.get() or {})}, *arguments, **named)

    return transform


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
