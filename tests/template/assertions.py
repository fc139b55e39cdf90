"""Assertions about the template, beyond the linters."""

import json
import re
import unittest

from cfnlint.schema.manager import PROVIDER_SCHEMA_MANAGER

from alarm_assertions import Alarms, Failures  # noqa: F401
from api_assertions import Api  # noqa: F401
from data_assertions import Data  # noqa: F401
from expand import ROOT
from roles import rights, table
from template_case import Template, arn, as_list, target

DAY_SECONDS = 24 * 60 * 60
CONTRACTS = ROOT / "shared/contracts/src"
# Actions of AWS itself with a role of the stack: documentation page and actions.
LOGS = "AWS managed policy reference, AWSLambdaBasicExecutionRole", ("logs:CreateLogStream", "logs:PutLogEvents")
TRACES = (
    "Lambda developer guide, Visualize Lambda function invocations using AWS X-Ray",
    ("xray:PutTelemetryRecords", "xray:PutTraceSegments"),
)
QUEUE = (
    "AWS managed policy reference, AWSLambdaSQSQueueExecutionRole",
    ("sqs:DeleteMessage", "sqs:GetQueueAttributes", "sqs:ReceiveMessage"),
)
STREAM = (
    "AWS managed policy reference, AWSLambdaDynamoDBExecutionRole",
    ("dynamodb:DescribeStream", "dynamodb:GetRecords", "dynamodb:GetShardIterator", "dynamodb:ListStreams"),
)
DEPLOYMENT = (
    "AWS managed policy reference, AWSCodeDeployRoleForLambdaLimited",
    ("lambda:GetAlias", "lambda:UpdateAlias"),
)
# Its resource is an alias or a version.
CONCURRENCY = (
    "Service authorization reference, Actions, resources, and condition keys for AWS Lambda",
    ("lambda:GetProvisionedConcurrencyConfig",),
)
# Any narrower resource hides the composite alarms.
ALARMS = "CloudWatch API reference, DescribeAlarms", ("cloudwatch:DescribeAlarms",)


def _each(page_and_actions, role, resource):
    page, actions = page_and_actions
    return [(page, role, action, resource) for action in actions]


class Queues(Template):
    def statements(self, queue):
        policies = [it for _, it in self.all("SQS::QueuePolicy") if {"Ref": queue} in it["Queues"]]
        # A queue has one policy: a second would replace the first.
        self.assertEqual(len(policies), 1, queue)
        return policies[0]["PolicyDocument"]["Statement"]

    def dead_letter_queues(self):
        return {name for name, _ in self.all("SQS::Queue") if name.endswith("DeadLetterQueue")}

    def sources(self):
        return {name: it for name, it in self.all("SQS::Queue") if name not in self.dead_letter_queues()}

    def test_a_queue_refuses_plain_http(self):
        for queue, _ in self.all("SQS::Queue"):
            self.assertIn(
                {
                    "Effect": "Deny",
                    "Principal": "*",
                    "Action": "sqs:*",
                    "Resource": arn(queue),
                    "Condition": {"Bool": {"aws:SecureTransport": "false"}},
                },
                self.statements(queue),
                queue,
            )

    def test_a_queue_lets_in_the_rule_that_sends_to_it_and_nobody_else(self):
        rules = {}
        for rule, it in self.all("Events::Rule"):
            for to in it["Targets"]:
                rules[target(to["Arn"])] = rules[target(to["DeadLetterConfig"]["Arn"])] = rule
        for queue, _ in self.all("SQS::Queue"):
            expected = (
                [
                    {
                        "Effect": "Allow",
                        "Principal": {"Service": "events.amazonaws.com"},
                        "Action": "sqs:SendMessage",
                        "Resource": arn(queue),
                        "Condition": {"ArnEquals": {"aws:SourceArn": arn(rules[queue])}},
                    }
                ]
                if queue in rules
                else []
            )
            self.assertEqual([it for it in self.statements(queue) if it["Effect"] == "Allow"], expected, queue)

    def test_a_queue_gives_up_to_its_dead_letter_queue_which_keeps_it_longer(self):
        for queue, it in self.sources().items():
            dead_letters = target(it["RedrivePolicy"]["deadLetterTargetArn"])
            self.assertEqual(dead_letters, queue.replace("Queue", "DeadLetterQueue"))
            # 320 s between two receives of a message that fails, and 12 h of retries: 135 receives and those that
            # Lambda throttles.
            self.assertEqual(it["RedrivePolicy"]["maxReceiveCount"], 1000, queue)
            self.assertGreater(
                self.one(dead_letters)["MessageRetentionPeriod"], it["MessageRetentionPeriod"] + DAY_SECONDS, queue
            )

    def test_a_function_dead_letters_the_messages_of_its_queue(self):
        for _, it in self.all("Lambda::EventSourceMapping"):
            queue = target(it["EventSourceArn"])
            if queue not in self.sources():
                continue
            function = target(self.one(target(it["FunctionName"]))["FunctionName"])
            variables = self.one(function)["Environment"]["Variables"]
            dead_letters = queue.replace("Queue", "DeadLetterQueue")
            self.assertEqual(variables["QUEUE_URL"], {"Ref": queue})
            self.assertEqual(variables["DEAD_LETTER_QUEUE_URL"], {"Ref": dead_letters})

    def test_a_queue_is_encrypted(self):
        for queue, it in self.all("SQS::Queue"):
            self.assertIs(it["SqsManagedSseEnabled"], True, queue)

    def test_a_message_is_hidden_for_six_timeouts(self):
        for name, it in self.all("Lambda::EventSourceMapping"):
            if target(it["EventSourceArn"]) in self.sources():
                queue, alias = self.one(target(it["EventSourceArn"])), self.one(target(it["FunctionName"]))
                timeout = self.one(target(alias["FunctionName"]))["Timeout"]
                self.assertGreaterEqual(queue["VisibilityTimeout"], 6 * timeout, name)

    def test_a_dead_letter_queue_can_be_redriven(self):
        for queue in self.dead_letter_queues():
            self.assertEqual(self.outputs[f"{queue}Url"]["Value"], {"Ref": queue})


class Mappings(Template):
    def test_a_batch_may_fail_in_part(self):
        for name, it in self.all("Lambda::EventSourceMapping"):
            self.assertEqual(it["FunctionResponseTypes"], ["ReportBatchItemFailures"], name)

    def test_a_queue_takes_only_some_of_the_functions_there_may_be(self):
        for name, it in self.all("Lambda::EventSourceMapping"):
            if target(it["EventSourceArn"]).endswith("Queue"):
                self.assertEqual(it["ScalingConfig"], {"MaximumConcurrency": {"Ref": "QueueConcurrency"}}, name)
        parameter = self.parameters["QueueConcurrency"]
        # Limits of `MaximumConcurrency` (Lambda API reference, `ScalingConfig`).
        self.assertEqual((parameter["MinValue"], parameter["MaxValue"]), (2, 1000))
        self.assertLessEqual(parameter["Default"], 100)

    def test_concurrency_is_reserved_by_parameter_and_not_by_default(self):
        # Any reservation fails in an account with a quota of 10: 100 must stay unreserved (Lambda developer guide,
        # "Configuring reserved concurrency").
        self.assertEqual(self.parameters["ReservedConcurrency"]["Default"], "0")
        given = {"Fn::If": ["HasReservedConcurrency", {"Ref": "ReservedConcurrency"}, {"Ref": "AWS::NoValue"}]}
        self.check_pattern("ReservedConcurrency", range(1001), ["", "00", "1.5", "-1", "1001", "2000"])
        equals_zero = {"Fn::Equals": [{"Ref": "ReservedConcurrency"}, "0"]}
        self.assertEqual(self.conditions["HasReservedConcurrency"], {"Fn::Not": [equals_zero]})
        for name, it in self.all("Lambda::EventSourceMapping"):
            function = target(self.one(target(it["FunctionName"]))["FunctionName"])
            self.assertEqual(self.one(function).get("ReservedConcurrentExecutions"), given, name)

    def test_batches_of_a_shard_are_relayed_at_once(self):
        self.assertEqual(self.one("OrderRelayFunctionStream")["ParallelizationFactor"], 10)

    def test_the_stream_is_read_from_its_start_and_gives_up_in_time(self):
        mapping = self.one("OrderRelayFunctionStream")
        self.assertEqual(mapping["EventSourceArn"], {"Fn::GetAtt": ["OrdersTable", "StreamArn"]})
        self.assertEqual(mapping["StartingPosition"], "TRIM_HORIZON")
        self.assertIs(mapping["BisectBatchOnFunctionError"], True)
        # -1 means unlimited, and a stream keeps its records for a day.
        self.assertGreater(mapping["MaximumRetryAttempts"], 0)
        self.assertIn(mapping["MaximumRecordAgeInSeconds"], range(1, DAY_SECONDS // 2 + 1))
        self.assertEqual(mapping["DestinationConfig"]["OnFailure"]["Destination"], arn("OrderRelayDeadLetterQueue"))

    def test_the_version_that_is_live_is_called(self):
        for name, it in self.all("Lambda::EventSourceMapping"):
            self.assertEqual(self.resources[target(it["FunctionName"])]["Type"], "AWS::Lambda::Alias", name)
        for path, operations in self.one("HttpApi")["Body"]["paths"].items():
            for operation in operations.values():
                self.assertIn("Aliaslive}", operation["x-amazon-apigateway-integration"]["uri"]["Fn::Sub"], path)


class Rules(Template):
    def test_a_rule_retries_and_then_gives_up_to_the_dead_letter_queue(self):
        for rule, it in self.all("Events::Rule"):
            for to in it["Targets"]:
                dead_letters = target(to["Arn"]).replace("Queue", "DeadLetterQueue")
                self.assertEqual(to["DeadLetterConfig"], {"Arn": arn(dead_letters)}, rule)
                self.assertGreater(to["RetryPolicy"]["MaximumRetryAttempts"], 0, rule)
                self.assertLessEqual(to["RetryPolicy"]["MaximumEventAgeInSeconds"], DAY_SECONDS, rule)

    def test_a_rule_matches_what_the_contract_reads(self):
        for rule, contract in (("TicketEventsRule", "ticket_event.rs"), ("PaymentEventsRule", "payment_event.rs")):
            code, tests = (CONTRACTS / contract).read_text().split("#[cfg(test)]")
            self.assertEqual(
                self.one(rule)["EventPattern"],
                {
                    "source": re.findall(r'"source": "(\w+)"', tests),
                    "detail-type": re.findall(r'"((?:Ticket|Payment)[A-Z]\w+)"', code),
                },
                rule,
            )

    def test_the_archive_keeps_the_events_of_every_service_on_any_bus(self):
        archive, bus = (
            self.one("EventArchive"),
            "arn:${AWS::Partition}:events:${AWS::Region}:${AWS::AccountId}:event-bus/",
        )
        given = {"Fn::Sub": bus + "${EventBusName}"}
        self.assertEqual(archive["SourceArn"], {"Fn::If": ["OwnEventBus", arn("EventBus"), given]})
        (published,) = re.findall(r'SOURCE: &str = "(\w+)"', (CONTRACTS / "order_event.rs").read_text())
        consumed = [source for _, it in self.all("Events::Rule") for source in it["EventPattern"]["source"]]
        self.assertEqual(archive["EventPattern"], {"source": sorted([published, *consumed])})
        # RetentionDays 0 is for ever (EventBridge API reference, `CreateArchive`), ArchiveDays 0 is none.
        self.assertEqual(archive["RetentionDays"], {"Ref": "ArchiveDays"})
        self.check_pattern("ArchiveDays", range(3651), ["", "00", "030", "0.5", "-1", "3651", "3700", "10000"])
        self.assertEqual(self.resources["EventArchive"]["Condition"], "HasArchive")
        self.assertEqual(self.conditions["HasArchive"], {"Fn::Not": [{"Fn::Equals": [{"Ref": "ArchiveDays"}, "0"]}]})

    def test_the_archive_has_a_generated_name_which_a_long_stack_name_does_not_exceed(self):
        # At most 48 characters (EventBridge API reference, `CreateArchive`). The runbook reads the output.
        self.assertNotIn("ArchiveName", self.one("EventArchive"))
        self.assertEqual(self.outputs["EventArchiveArn"]["Value"], arn("EventArchive"))
        self.assertEqual(self.outputs["EventArchiveArn"]["Condition"], "HasArchive")

    def test_all_events_take_the_same_bus(self):
        bus = {"Fn::If": ["OwnEventBus", {"Ref": "EventBus"}, {"Ref": "EventBusName"}]}
        for rule, it in self.all("Events::Rule"):
            self.assertEqual(it["EventBusName"], bus, rule)
        relay = self.one("OrderRelayFunction")["Environment"]["Variables"]
        self.assertEqual(relay["EVENT_BUS_NAME"], bus)
        self.assertEqual(self.outputs["EventBusName"]["Value"], bus)


class Roles(Template):
    def test_each_may_do_what_the_table_says(self):
        expected = (ROOT / "tests/template/roles.txt").read_text()
        self.assertEqual(table(self.resources), expected, "To accept the change: make roles > tests/template/roles.txt")

    def test_each_may_do_what_aws_does_with_it(self):
        given = [(right.role, right.action, right.resource) for right in rights(self.resources)]
        for page, *demanded in self.demanded():
            self.assertIn(tuple(demanded), given, page)

    def demanded(self):
        """Returns documentation page, role, action and resource of each right required by AWS."""
        for name, _ in self.functions():
            yield from _each(LOGS, f"{name}Role", arn(f"{name}Logs"))
            yield from _each(TRACES, f"{name}Role", "*")
            yield from _each(DEPLOYMENT, "DeploymentRole", arn(f"{name}Function"))
            yield from _each(CONCURRENCY, "DeploymentRole", {"Fn::Sub": f"${{{name}Function.Arn}}:*"})
        for _, it in self.all("Lambda::EventSourceMapping"):
            role = target(self.one(target(self.one(target(it["FunctionName"]))["FunctionName"]))["Role"])
            source = it["EventSourceArn"]
            yield from _each(QUEUE if target(source).endswith("Queue") else STREAM, role, source)
        yield from _each(ALARMS, "DeploymentRole", "*")

    def test_each_function_has_one_of_its_own_that_is_complete_before_it(self):
        for name, it in self.functions():
            self.assertEqual(it["Role"], arn(f"{name}Role"))
            self.assertEqual(self.one(f"{name}Policy")["Roles"], [{"Ref": f"{name}Role"}])
            self.assertIn(f"{name}Policy", as_list(self.resources[f"{name}Function"]["DependsOn"]))

    def test_none_has_managed_policies_or_wildcards(self):
        for role, it in self.all("IAM::Role"):
            self.assertNotIn("ManagedPolicyArns", it, role)
        for role, statement in self.statements():
            self.assertEqual(statement["Effect"], "Allow", role)
            for action in as_list(statement["Action"]):
                self.assertNotIn("*", action, role)
                # Neither has a narrower resource: see template.yaml.
                if action != "cloudwatch:DescribeAlarms" and not action.startswith("xray:"):
                    self.assertNotEqual(statement["Resource"], "*", action)

    def statements(self):
        documents = [(role, policy) for role, it in self.all("IAM::Role") for policy in it.get("Policies", [])]
        for name, it in [*documents, *self.all("IAM::Policy")]:
            for statement in it["PolicyDocument"]["Statement"]:
                yield name, statement

    def test_each_trusts_one_service(self):
        account = {"aws:SourceAccount": {"Ref": "AWS::AccountId"}}
        conditions = {
            # Only the schedule group (Scheduler user guide, "Confused deputy prevention").
            "SchedulerRole": {"StringEquals": {**account, "aws:SourceArn": arn("ScheduleGroup")}},
            "ReconcileScheduleRole": {"StringEquals": {**account, "aws:SourceArn": arn("ReconcileScheduleGroup")}},
            "DeploymentRole": {"StringEquals": account},
        }
        services = {
            "SchedulerRole": "scheduler",
            "ReconcileScheduleRole": "scheduler",
            "DeploymentRole": "codedeploy",
        }
        for role, it in self.all("IAM::Role"):
            (statement,) = it["AssumeRolePolicyDocument"]["Statement"]
            self.assertEqual(statement["Principal"], {"Service": f"{services.get(role, 'lambda')}.amazonaws.com"}, role)
            self.assertEqual(statement["Action"], "sts:AssumeRole", role)
            self.assertEqual(statement.get("Condition"), conditions.get(role), role)

    def test_a_role_is_passed_to_one_service(self):
        passing = [it for _, it in self.statements() if "iam:PassRole" in as_list(it["Action"])]
        self.assertEqual(
            passing,
            [
                {
                    "Effect": "Allow",
                    "Action": "iam:PassRole",
                    "Resource": arn("SchedulerRole"),
                    "Condition": {"StringEquals": {"iam:PassedToService": "scheduler.amazonaws.com"}},
                }
            ],
        )


class Functions(Template):
    def test_each_is_traced_by_parameter_and_has_a_log_of_its_own(self):
        for name, it in self.functions():
            self.assertEqual(it["TracingConfig"], {"Mode": {"Ref": "Tracing"}}, name)
            self.assertEqual(it["LoggingConfig"]["LogFormat"], "JSON", name)
            self.assertEqual(it["LoggingConfig"]["LogGroup"], {"Ref": f"{name}Logs"}, name)

    def test_no_log_level_drops_the_metrics(self):
        # A line without a level counts as INFO.
        for name, it in self.functions():
            self.assertEqual(it["LoggingConfig"]["ApplicationLogLevel"], "INFO", name)

    def test_platform_lines_of_successful_calls_are_off_by_default(self):
        # "Log level" of the report of a successful invocation is INFO (Lambda developer guide, "System log level
        # event mapping").
        self.assertEqual(self.parameters["PlatformLogLevel"]["Default"], "WARN")
        for name, it in self.functions():
            self.assertEqual(it["LoggingConfig"]["SystemLogLevel"], {"Ref": "PlatformLogLevel"}, name)

    def test_the_runbook_follows_an_order_in_the_logs_of_all(self):
        runbook = (ROOT / "docs/runbook.md").read_text().replace("\\\n", "")
        (searched,) = re.findall(r"^LOGS=\$\(for name in ([\w ]+); do", runbook, re.MULTILINE)
        self.assertEqual(set(searched.split()), {name for name, _ in self.functions()})

    def test_a_log_is_not_kept_for_ever(self):
        for group, it in self.all("Logs::LogGroup"):
            self.assertIn("RetentionInDays", it, group)

    def test_a_new_version_takes_over_in_part_and_only_without_alarms(self):
        for name, _ in self.functions():
            group = self.one(f"{name}FunctionDeploymentGroup")
            failures = "Unfinished" if name == "Reconcile" else "Failures"
            alarms = [{"Name": {"Ref": f"{name}{kind}"}} for kind in ("Errors", "Throttles", failures)]
            self.assertEqual(group["AlarmConfiguration"], {"Enabled": True, "Alarms": alarms}, name)
            self.assertIn("DEPLOYMENT_STOP_ON_ALARM", group["AutoRollbackConfiguration"]["Events"], name)
            self.assertIn("Canary", json.dumps(group["DeploymentConfigName"]), name)
            policy = self.resources[f"{name}FunctionAliaslive"]["UpdatePolicy"]["CodeDeployLambdaAliasUpdate"]
            self.assertEqual(policy["DeploymentGroupName"], {"Ref": f"{name}FunctionDeploymentGroup"})

    def test_a_parameter_makes_a_new_version(self):
        for name, it in self.functions():
            (version,) = [
                it for _, it in self.all("Lambda::Version") if it["FunctionName"] == {"Ref": f"{name}Function"}
            ]
            published = json.dumps([it[part] for part in ("Environment", "LoggingConfig", "TracingConfig")])
            for parameter in self.parameters:
                if f'{{"Ref": "{parameter}"}}' in published:
                    self.assertIn("${" + parameter + "}", json.dumps(version.get("Description")), name)

    def test_each_can_trust_other_roots(self):
        # Endpoints outside of the partition `aws` need not have the roots of shared/lambda/src/roots.pem.
        for name, it in self.functions():
            self.assertEqual(it["Environment"]["Variables"]["AWS_CA_BUNDLE"], {"Ref": "CaBundle"}, name)
        self.assertEqual(self.parameters["CaBundle"]["Default"], "")
        for path, allowed in (("", True), ("/etc/pki/tls/certs/ca-bundle.crt", True), ("ca-bundle.crt", False)):
            match = re.fullmatch(self.parameters["CaBundle"]["AllowedPattern"], path)
            self.assertEqual(bool(match), allowed, path)

    def test_those_that_end_orders_know_how_long_to_keep_them(self):
        knowing = {
            name
            for name, it in self.functions()
            if it["Environment"]["Variables"].get("KEEP_UNPAID_DAYS") == {"Ref": "KeepUnpaidDays"}
        }
        self.assertEqual(knowing, {"CreateOrder", "CancelOrder", "PaymentEvents", "ExpireOrders", "Reconcile"})


class Reconcile(Template):
    def test_the_live_version_is_started_by_its_own_schedule(self):
        schedule = self.one("ReconcileSchedule")
        self.assertEqual(self.resources["ReconcileSchedule"]["Condition"], "HasReconcile")
        self.assertEqual(schedule["ScheduleExpression"], {"Fn::Sub": "rate(${ReconcileMinutes} minutes)"})
        self.assertEqual(schedule["Target"]["Arn"], {"Ref": "ReconcileFunctionAliaslive"})
        self.assertEqual(schedule["Target"]["RoleArn"], arn("ReconcileScheduleRole"))
        # The relay may delete schedules of the other group.
        self.assertEqual(schedule["GroupName"], {"Ref": "ReconcileScheduleGroup"})

    def test_a_failed_start_is_retried_only_until_the_next(self):
        retries = self.one("ReconcileSchedule")["Target"]["RetryPolicy"]
        self.assertIn(retries["MaximumRetryAttempts"], range(1, 11))
        self.assertLessEqual(retries["MaximumEventAgeInSeconds"], 3600)
        (invocations,) = (it for _, it in self.all("Lambda::EventInvokeConfig"))
        self.assertEqual(invocations["FunctionName"], {"Ref": "ReconcileFunction"})
        self.assertEqual(invocations["MaximumRetryAttempts"], 0)
        self.assertLessEqual(invocations["MaximumEventAgeInSeconds"], 3600)

    def test_a_run_has_the_longest_time_of_lambda(self):
        self.assertEqual(self.one("ReconcileFunction")["Timeout"], 900)

    def test_the_interval_can_be_zero_for_never(self):
        # A condition compares texts: of all zeros, only "0" is equal to "0".
        self.check_pattern("ReconcileMinutes", range(1441), ["", "00", "060", "0.5", "-1", "1441", "1500", "10000"])
        self.assertEqual(
            self.conditions["HasReconcile"], {"Fn::Not": [{"Fn::Equals": [{"Ref": "ReconcileMinutes"}, "0"]}]}
        )


class Names(Template):
    def test_each_has_room_for_the_longest_name_of_the_stack(self):
        (longest,) = re.findall(r"at most (\d+) characters", self.description)
        named = 0
        for resource, it in self.resources.items():
            for key, value in it.get("Properties", {}).items():
                if key.endswith("Name") and "${AWS::StackName}" in str(value):
                    schema = PROVIDER_SCHEMA_MANAGER.get_resource_schema("us-east-1", it["Type"]).schema
                    name = value["Fn::Sub"].replace("${AWS::StackName}", "s" * int(longest))
                    # Longest name of a region: ap-southeast-1. The schema of a dashboard has no limit; it is 255
                    # (CloudWatch API reference, `PutDashboard`).
                    name = name.replace("${AWS::Region}", "ap-southeast-1")
                    self.assertLessEqual(len(name), schema["properties"][key].get("maxLength", 255), resource)
                    named += 1
        self.assertGreater(named, 4)


if __name__ == "__main__":
    unittest.main()
