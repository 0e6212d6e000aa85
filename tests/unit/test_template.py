"""The house rules of the templates: what a reviewer would look for, looked for by a test.

Every queue has a DLQ, every DLQ its two alarms, every function a log group, every asynchronous target a DLQ; everything at rest
is encrypted with our key; what must outlive a mistake is retained.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
TEMPLATES = [path for path in (ROOT / "template.yaml", ROOT / "emails" / "template.yaml") if path.exists()]
TWO_WEEKS = 14 * 86_400
#: routes whose caller is a patient with a signed link, or a mail client (RFC 8058)
PUBLIC = {"/email/verify", "/email/unsubscribe"}

type Resource = dict[str, Any]


class CloudFormation(yaml.SafeLoader):
    """YAML with CloudFormation's short forms read as their long ones."""


def _long_form(loader: CloudFormation, suffix: str, node: yaml.Node) -> Any:
    if isinstance(node, yaml.ScalarNode):
        value: Any = loader.construct_scalar(node)
    elif isinstance(node, yaml.SequenceNode):
        value = loader.construct_sequence(node, deep=True)
    else:
        assert isinstance(node, yaml.MappingNode)
        value = loader.construct_mapping(node, deep=True)
    if suffix == "GetAtt" and isinstance(value, str):
        value = value.split(".")
    return {suffix if suffix in ("Ref", "Condition") else f"Fn::{suffix}": value}


CloudFormation.add_multi_constructor("!", _long_form)


@pytest.fixture(params=TEMPLATES, ids=lambda path: str(path.relative_to(ROOT)))
def template(request: pytest.FixtureRequest) -> dict[str, Any]:
    return dict(yaml.load(request.param.read_text(), CloudFormation))


def of_type(template: dict[str, Any], *types: str) -> dict[str, Resource]:
    return {name: resource for name, resource in template["Resources"].items() if resource["Type"] in types}


def by_default(template: dict[str, Any], value: Any) -> int:
    """A number, or the default of the parameter that it refers to."""
    return int(template["Parameters"][value["Ref"]]["Default"] if isinstance(value, dict) else value)


def named(value: Any) -> str | None:
    """The logical id behind a Ref or GetAtt."""
    if isinstance(value, dict):
        if "Ref" in value:
            return str(value["Ref"])
        if "Fn::GetAtt" in value:
            return str(value["Fn::GetAtt"][0])
    return None


def dead_letter_queues(template: dict[str, Any]) -> set[str]:
    return {name for name in of_type(template, "AWS::SQS::Queue") if name.endswith("Dlq")}


def test_every_queue_has_a_dlq(template: dict[str, Any]) -> None:
    dlqs = dead_letter_queues(template)
    for name, queue in of_type(template, "AWS::SQS::Queue").items():
        if name in dlqs:
            assert "RedrivePolicy" not in queue["Properties"], f"{name}: a DLQ has no DLQ"
        else:
            assert named(queue["Properties"]["RedrivePolicy"]["deadLetterTargetArn"]) in dlqs, name


def test_every_dlq_has_its_alarms(template: dict[str, Any]) -> None:
    watched = {
        (named(dimension["Value"]), alarm["Properties"]["MetricName"])
        for alarm in of_type(template, "AWS::CloudWatch::Alarm").values()
        for dimension in alarm["Properties"].get("Dimensions", [])
        if alarm["Properties"]["AlarmActions"]
    }
    for name in dead_letter_queues(template):
        assert {(name, "ApproximateNumberOfMessagesVisible"), (name, "ApproximateAgeOfOldestMessage")} <= watched, name


def test_every_end_of_a_state_machine_but_success_has_an_alarm(template: dict[str, Any]) -> None:
    """A run that nobody follows would fail for nobody."""
    watched = {
        (alarm["Properties"]["Dimensions"][0]["Value"]["Ref"], alarm["Properties"]["MetricName"])
        for alarm in of_type(template, "AWS::CloudWatch::Alarm").values()
        if alarm["Properties"]["Namespace"] == "AWS/States" and alarm["Properties"]["AlarmActions"]
    }
    ends = ("ExecutionsFailed", "ExecutionsTimedOut", "ExecutionsAborted")
    assert watched == {(name, end) for name in of_type(template, "AWS::Serverless::StateMachine") for end in ends}


def test_queues_keep_messages_for_two_weeks_under_our_key(template: dict[str, Any]) -> None:
    for name, queue in of_type(template, "AWS::SQS::Queue").items():
        assert queue["Properties"]["MessageRetentionPeriod"] == TWO_WEEKS, name
        assert "KmsMasterKeyId" in queue["Properties"], name


def test_every_queue_demands_tls(template: dict[str, Any]) -> None:
    demanded = {
        named(queue)
        for policy in of_type(template, "AWS::SQS::QueuePolicy").values()
        for statement in policy["Properties"]["PolicyDocument"]["Statement"]
        if statement["Effect"] == "Deny" and statement["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}
        for queue in policy["Properties"]["Queues"]
    }
    assert set(of_type(template, "AWS::SQS::Queue")) <= demanded


def test_a_message_stays_invisible_for_six_times_its_consumers_time_out(template: dict[str, Any]) -> None:
    default = template.get("Globals", {}).get("Function", {}).get("Timeout", 3)
    queues = of_type(template, "AWS::SQS::Queue")
    for name, function in of_type(template, "AWS::Serverless::Function").items():
        for source in function["Properties"].get("Events", {}).values():
            if source["Type"] == "SQS" and (queue := named(source["Properties"]["Queue"])) in queues:
                visible = by_default(template, queues[queue]["Properties"].get("VisibilityTimeout", 30))
                timeout = by_default(template, function["Properties"].get("Timeout", default))
                assert visible >= 6 * timeout, f"{name} on {queue}"


def test_a_lease_outlives_the_function_that_holds_it() -> None:
    template = yaml.load(TEMPLATES[0].read_text(), CloudFormation)
    defaults = {name: str(parameter.get("Default", "")) for name, parameter in template["Parameters"].items()}
    for stage, config in tomllib.loads((ROOT / "samconfig.toml").read_text()).items():
        if stage in ("local", "staging", "prod"):
            told = defaults | dict(one.split("=", 1) for one in config["deploy"]["parameters"]["parameter_overrides"])
            assert int(told["InsertLeaseSeconds"]) > int(told["ConsumerSeconds"]), stage


def test_every_function_has_a_log_group_with_retention_under_our_key(template: dict[str, Any]) -> None:
    groups = of_type(template, "AWS::Logs::LogGroup")
    for name, function in of_type(template, "AWS::Serverless::Function").items():
        group = named(function["Properties"]["LoggingConfig"]["LogGroup"])
        assert group in groups, name
    for name, group in groups.items():
        assert {"RetentionInDays", "KmsKeyId"} <= set(group["Properties"]), name


def test_every_function_is_published_by_the_build(template: dict[str, Any]) -> None:
    """Without it a change of a layer alone publishes nothing."""
    for name, function in of_type(template, "AWS::Serverless::Function").items():
        assert function["Properties"]["AutoPublishCodeSha256"] == {"Ref": "BuildId"}, name


def asynchronous_targets(template: dict[str, Any]) -> Iterator[tuple[str, Resource]]:
    """(where, properties that must name a DLQ) of everything that is delivered without anybody waiting."""
    for name, rule in of_type(template, "AWS::Events::Rule").items():
        for target in rule["Properties"]["Targets"]:
            yield f"{name}.{target['Id']}", target
    for name, schedule in of_type(template, "AWS::Scheduler::Schedule").items():
        yield name, schedule["Properties"]["Target"]
    for name, bus in of_type(template, "AWS::Events::EventBus").items():
        yield name, bus["Properties"]
    for name, function in of_type(template, "AWS::Serverless::Function", "AWS::Serverless::StateMachine").items():
        for event, source in function["Properties"].get("Events", {}).items():
            if source["Type"] in ("EventBridgeRule", "CloudWatchEvent", "Schedule", "ScheduleV2"):
                yield f"{name}.{event}", source["Properties"]


def test_every_asynchronous_target_has_a_dlq(template: dict[str, Any]) -> None:
    for where, properties in asynchronous_targets(template):
        assert (properties.get("DeadLetterConfig") or {}).get("Arn"), where


def test_tables_are_recoverable_encrypted_and_retained(template: dict[str, Any]) -> None:
    for name, table in of_type(template, "AWS::DynamoDB::Table").items():
        properties = table["Properties"]
        assert properties["PointInTimeRecoverySpecification"] == {"PointInTimeRecoveryEnabled": True}, name
        assert properties["SSESpecification"]["SSEType"] == "KMS", name
        assert (table["DeletionPolicy"], table["UpdateReplacePolicy"]) == ("Retain", "Retain"), name


def test_values_of_rows_expire_in_the_staging_bucket() -> None:
    """Bodies of messages and a migration's extracts; old versions of everything."""
    template = yaml.load((ROOT / "template.yaml").read_text(), CloudFormation)
    rules = template["Resources"]["StagingBucket"]["Properties"]["LifecycleConfiguration"]["Rules"]
    days = {rule["Prefix"]: by_default(template, rule["ExpirationInDays"]) for rule in rules if "ExpirationInDays" in rule}
    assert days == {"payloads/": 15, "extracts/": 30}
    assert [rule["NoncurrentVersionExpiration"] for rule in rules if "NoncurrentVersionExpiration" in rule] == [{"NoncurrentDays": 7}]


def test_the_key_admits_the_services_that_need_it() -> None:
    template = yaml.load((ROOT / "template.yaml").read_text(), CloudFormation)
    services: set[str] = set()
    for statement in template["Resources"]["Key"]["Properties"]["KeyPolicy"]["Statement"]:
        service = statement["Principal"].get("Service", [])
        services |= {str(entry) for entry in (service if isinstance(service, list) else [service])}
    for needed in ("events.amazonaws.com", "sns.amazonaws.com", "ses.amazonaws.com", "logs."):
        assert any(needed in service for service in services), needed


def test_every_route_names_the_scope_it_wants(template: dict[str, Any]) -> None:
    for name, function in of_type(template, "AWS::Serverless::Function").items():
        for event, source in function["Properties"].get("Events", {}).items():
            if source["Type"] == "Api":
                if source["Properties"]["Path"] in PUBLIC:
                    assert source["Properties"]["Auth"] == {"Authorizer": "NONE"}, f"{name}.{event}"
                else:
                    assert source["Properties"]["Auth"]["AuthorizationScopes"], f"{name}.{event}"


def test_no_statement_allows_everything(template: dict[str, Any]) -> None:
    """Least privilege: no action `*`, and `Resource: *` only where an action knows no resource."""
    unbound = {"cloudwatch:PutMetricData", "ses:GetAccount", "kms:Decrypt", "lambda:ListEventSourceMappings"}
    # a state machine's log: "Policies to log to CloudWatch Logs" (Step Functions Developer Guide)
    unbound |= {f"logs:{verb}LogDelivery" for verb in ("Create", "Get", "Update", "Delete")}
    unbound |= {"logs:ListLogDeliveries", "logs:PutResourcePolicy", "logs:DescribeResourcePolicies", "logs:DescribeLogGroups"}
    for name, function in of_type(template, "AWS::Serverless::Function", "AWS::Serverless::StateMachine").items():
        for statement in statements(function):
            assert not any(action.endswith(":*") or action == "*" for action in actions(statement)), name
            if statement["Resource"] == "*":
                assert set(actions(statement)) <= unbound, name


def references(value: Any) -> Iterator[str]:
    """Logical ids of all Refs and GetAtts inside."""
    if isinstance(value, dict):
        if (name := named(value)) is not None:
            yield name
        value = list(value.values())
    if isinstance(value, list):
        for one in value:
            yield from references(one)


def statements(function: Resource) -> Iterator[dict[str, Any]]:
    for policy in function["Properties"].get("Policies", []):
        yield from policy.get("Statement", []) if isinstance(policy, dict) else []


def actions(statement: dict[str, Any]) -> list[str]:
    return statement["Action"] if isinstance(statement["Action"], list) else [statement["Action"]]


def test_a_function_may_use_the_tables_and_secrets_that_its_variables_name(template: dict[str, Any]) -> None:
    stores = set(of_type(template, "AWS::DynamoDB::Table", "AWS::SecretsManager::Secret"))
    common = set(references(template.get("Globals", {}).get("Function", {}).get("Environment"))) & stores
    for name, function in of_type(template, "AWS::Serverless::Function").items():
        told = set(references(function["Properties"].get("Environment"))) & stores
        may = {store for statement in statements(function) for store in references(statement["Resource"])} & stores
        assert told <= may <= told | common, name


def test_the_dashboard_is_readable_and_shows_metrics_that_are_written() -> None:
    template = yaml.load((ROOT / "template.yaml").read_text(), CloudFormation)
    body = json.loads(re.sub(r"\$\{AWS::\w+\}", "x", template["Resources"]["Dashboard"]["Properties"]["DashboardBody"]["Fn::Sub"]))
    shown = [metric for widget in body["widgets"] for metric in widget["properties"]["metrics"]]
    code = "".join(path.read_text() for path in (ROOT / "layers/omsync/omsync").rglob("*.py"))
    ours = {name for namespace, name, *_ in (metric for metric in shown if len(metric) > 1) if namespace == "omsync"}
    assert {"LagFromOms", "LagFromSalesforce", "BreakersOpen", "ApiRequestsUsed"} == ours
    assert [name for name in ours if f'"{name}"' not in code] == []
    services = {metric[3] for metric in shown if len(metric) > 3 and metric[0] == "omsync"}
    assert services <= {path.name for path in (ROOT / "functions").iterdir()}


def test_every_call_can_be_traced() -> None:
    """X-Ray: functions, API and state machines."""
    template = yaml.load((ROOT / "template.yaml").read_text(), CloudFormation)
    assert template["Globals"]["Function"]["Tracing"] == "Active"
    assert template["Globals"]["Api"]["TracingEnabled"] is True
    for name, machine in of_type(template, "AWS::Serverless::StateMachine").items():
        assert machine["Properties"]["Tracing"] == {"Enabled": True}, name
