"""Assertions about the alarms: which failures have one, and when it goes off."""

import json
import re

from expand import ROOT
from template_case import Template

TELEMETRY = (ROOT / "shared/lambda/src/telemetry.rs").read_text()
QUEUE = (ROOT / "shared/lambda/src/queue.rs").read_text()


class Alarms(Template):
    def alarms(self, namespace, metric, **dimensions):
        """Returns the alarms on this metric with exactly these dimensions."""
        wanted = [{"Name": name, "Value": value} for name, value in dimensions.items()]
        return [
            it
            for _, it in self.on_a_metric()
            if (it["Namespace"], it["MetricName"], it["Dimensions"]) == (namespace, metric, wanted)
        ]

    def on_a_metric(self):
        """Returns the alarms on a metric. The other alarms are on an expression: see `Failures`."""
        return [(name, it) for name, it in self.all("CloudWatch::Alarm") if "Metrics" not in it]

    def wanted(self):
        """Returns every metric that must have an alarm, as published by AWS or by the functions."""
        for name, _ in self.functions():
            # Reconcile may run for minutes.
            for metric in ("Errors", "Throttles") if name == "Reconcile" else ("Errors", "Throttles", "Duration"):
                yield "AWS/Lambda", metric, {"FunctionName": {"Ref": f"{name}Function"}}
        for queue, _ in self.all("SQS::Queue"):
            dead = queue.endswith("DeadLetterQueue")
            metric = "ApproximateNumberOfMessagesVisible" if dead else "ApproximateAgeOfOldestMessage"
            yield "AWS/SQS", metric, {"QueueName": {"Fn::GetAtt": [queue, "QueueName"]}}
        for _, rule in self.all("Events::Rule"):
            # An event that lacks a permission is not retried and need not count as a failed invocation.
            for metric in ("FailedInvocations", "InvocationsFailedToBeSentToDlq", "RetryInvocationAttempts"):
                yield "AWS/Events", metric, {"EventBusName": rule["EventBusName"], "RuleName": rule["Name"]}
        for metric in ("TargetErrorCount", "InvocationDroppedCount"):
            for group, _ in self.all("Scheduler::ScheduleGroup"):
                yield "AWS/Scheduler", metric, {"ScheduleGroup": {"Ref": group}}
        lost = "InvocationsFailedToBeSentToDeadLetterCount"
        yield "AWS/Scheduler", lost, {"ScheduleGroup": {"Ref": "ScheduleGroup"}}
        for metric in ("5xx", "Latency"):
            yield "AWS/ApiGateway", metric, {"ApiId": {"Ref": "HttpApi"}}
        yield "AWS/Lambda", "IteratorAge", {"FunctionName": {"Ref": "OrderRelayFunction"}}
        # Namespace and dimension of the functions' metrics.
        (namespace,) = re.findall(r'cloudwatch_namespace\("(\w+)"\)', TELEMETRY)
        (dimension,) = re.findall(r'with_dimension\("(\w+)"', TELEMETRY)
        for metric, function in (
            ("RefundsDue", "order-relay"),
            ("WrongAmounts", "order-relay"),
            ("ExpiryLateness", "expire-orders"),
            ("TicketVersionGaps", "ticket-events"),
            ("TicketContradictions", "ticket-events"),
            ("OrdersRemoved", "order-relay"),
            ("ReconciledHolds", "reconcile"),
            ("ReconcileUnfinished", "reconcile"),
        ):
            counted = f'"{metric}"' in (ROOT / f"functions/{function}/src/lib.rs").read_text()
            self.assertTrue(counted, f"{function} does not count {metric}")
            name = "".join(word.capitalize() for word in function.split("-"))
            yield namespace, metric, {dimension: {"Ref": f"{name}Function"}}
        self.assertIn('"RetriedAge"', QUEUE)
        for name in ("TicketEvents", "PaymentEvents", "ExpireOrders"):
            yield namespace, "RetriedAge", {dimension: {"Ref": f"{name}Function"}}
        # The relay dead-letters a record that it cannot read; the other functions count such items.
        self.assertIn('"UnreadableItems"', (ROOT / "shared/dynamo/src/items.rs").read_text())
        for name, _ in self.functions():
            if name != "OrderRelay":
                yield namespace, "UnreadableItems", {dimension: {"Ref": f"{name}Function"}}

    def test_whatever_can_go_wrong_has_one(self):
        for namespace, metric, dimensions in self.wanted():
            self.assertTrue(self.alarms(namespace, metric, **dimensions), f"{namespace} {metric} {dimensions}")

    def test_each_is_one_of_those(self):
        wanted = [
            [*metric, [{"Name": k, "Value": v} for k, v in dimensions.items()]] for *metric, dimensions in self.wanted()
        ]
        for name, it in self.on_a_metric():
            self.assertIn([it["Namespace"], it["MetricName"], it["Dimensions"]], wanted, name)

    def test_each_goes_off_above_its_threshold_and_is_heard(self):
        statistics = {
            "Duration": "p99",
            "Latency": "p99",
            "ExpiryLateness": "p99",
            "IteratorAge": "Maximum",
            "ApproximateAgeOfOldestMessage": "Maximum",
            "RetriedAge": "Maximum",
            "ApproximateNumberOfMessagesVisible": "Maximum",
        }
        for name, it in self.all("CloudWatch::Alarm"):
            self.assertEqual(it["ComparisonOperator"], "GreaterThanThreshold", name)
            self.assertEqual(it["TreatMissingData"], "notBreaching", name)
            self.assertEqual(it["AlarmActions"], {"Fn::If": ["HasAlarmTopic", [{"Ref": "AlarmTopicArn"}], []]}, name)
        for name, it in self.on_a_metric():
            statistic = statistics.get(it["MetricName"], "Sum")
            self.assertEqual(it.get("ExtendedStatistic", it.get("Statistic")), statistic, name)
            # A count has the threshold 0, a measured value has a limit.
            counted = it["MetricName"] == "ApproximateNumberOfMessagesVisible" or statistic == "Sum"
            self.assertEqual(it["Threshold"] == 0, counted, name)

    def test_a_retry_keeps_its_alarm_on_until_the_next(self):
        (doublings,) = re.findall(r"MAX_DOUBLINGS: u32 = (\d+);", QUEUE)
        longest_wait = 5 * 2 ** int(doublings)
        for name, it in self.on_a_metric():
            if it["MetricName"] == "RetriedAge":
                self.assertEqual(it["DatapointsToAlarm"], 1, name)
                self.assertGreater(it["EvaluationPeriods"] * it["Period"], longest_wait, name)

    def test_the_dashboard_shows_them_all(self):
        body = self.one("Dashboard")["DashboardBody"]["Fn::Sub"]
        alarms, *widgets = json.loads(body)["widgets"]
        shown = {name for name, _ in self.all("CloudWatch::Alarm")}
        self.assertEqual({it[2:-5] for it in alarms["properties"]["alarms"]}, shown)
        metrics = {metric for widget in widgets for _, metric, *_ in widget["properties"]["metrics"]}
        own = re.findall(r"^//! \| (`.*`) \|", TELEMETRY, re.MULTILINE)
        self.assertLessEqual(set(re.findall(r"`(\w+)`", "".join(own))), metrics)

    def test_the_runbook_says_what_to_do_for_each(self):
        headings = re.findall("^### (.*)$", (ROOT / "docs/runbook.md").read_text(), re.MULTILINE)
        told_of = {name for heading in headings for name in heading.split(", ")}
        self.assertEqual(told_of, {name for name, _ in self.all("CloudWatch::Alarm")})


class Failures(Template):
    """What a function does wrong without an error of Lambda. tests/canary runs such functions."""

    def expressions(self):
        """Returns the metrics of each alarm on an expression: ids, metrics and dimensions."""
        for name, it in self.all("CloudWatch::Alarm"):
            if "Metrics" in it:
                share, *metrics = it["Metrics"]
                yield name.removesuffix("Failures"), it, share, [(m["Id"], m["MetricStat"]["Metric"]) for m in metrics]

    def test_each_function_of_clients_and_messages_has_one(self):
        watched = {name for name, *_ in self.expressions()}
        self.assertEqual(watched, {name for name, _ in self.functions()} - {"Reconcile"})

    def test_each_goes_off_at_five_percent_of_twenty_in_one_of_the_last_minutes(self):
        for name, it, share, ((total, _), (part, _)) in self.expressions():
            failed = f"{total} - FILL({part}, 0)" if name == "OrderRelay" else f"FILL({part}, 0)"
            failed = f"({failed})" if "-" in failed else failed
            self.assertEqual(share["Expression"], f"IF({total} >= 20, {failed} / {total}, 0)", name)
            self.assertIs(share["ReturnData"], True, name)
            self.assertEqual(it["Threshold"], 0.05, name)
            # Metrics of logs can arrive after the end of their minute.
            self.assertEqual((it["EvaluationPeriods"], it["DatapointsToAlarm"]), (3, 1), name)
            for metric in it["Metrics"][1:]:
                self.assertIs(metric["ReturnData"], False, name)
                self.assertEqual((metric["MetricStat"]["Period"], metric["MetricStat"]["Stat"]), (60, "Sum"), name)

    def test_each_compares_what_the_function_received_with_what_failed(self):
        for name, _, _, metrics in self.expressions():
            names = tuple(metric["MetricName"] for _, metric in metrics)
            if name in self.routes():
                namespace, dimension = (
                    {"Fn::Sub": "Orders/${AWS::StackName}"},
                    {"Name": "Route", "Value": self.routes()[name]},
                )
                expected = ("Requests", "ServerErrors")
            else:
                namespace, dimension = "Orders", {"Name": "Function", "Value": {"Ref": f"{name}Function"}}
                queues = ("MessagesReceived", "MessagesFailed")
                expected = ("ChangesReceived", "EventsPublished") if name == "OrderRelay" else queues
            self.assertEqual(names, expected, name)
            for _, metric in metrics:
                self.assertEqual((metric["Namespace"], metric["Dimensions"]), (namespace, [dimension]), name)

    def routes(self):
        """Returns the reference to the route of each function of the API."""
        return {name: {"Fn::FindInMap": ["Routes", name, "Route"]} for name in self.mappings["Routes"]}

    def test_a_route_is_the_one_of_its_function(self):
        routes = {}
        for path, operations in self.one("HttpApi")["Body"]["paths"].items():
            for method, operation in operations.items():
                uri = operation["x-amazon-apigateway-integration"]["uri"]["Fn::Sub"]
                (name,) = re.findall(r"\$\{(\w+)FunctionAliaslive\}", uri)
                routes[name] = {"Route": f"{method.upper()} {path}"}
        self.assertEqual(self.mappings["Routes"], routes)

    def test_the_access_log_counts_requests_and_server_errors_by_route(self):
        # A request with 401 or 429 never reaches a function.
        reached = '{ ($.route = "*") && ($.status != "401") && ($.status != "429") }'
        filters = {"RouteRequests": ("Requests", reached), "RouteServerErrors": ("ServerErrors", '{ $.status = "5*" }')}
        self.assertEqual({name for name, _ in self.all("Logs::MetricFilter")}, set(filters))
        log = json.loads(self.one("HttpApiApiGatewayDefaultStage")["AccessLogSettings"]["Format"])
        for name, (metric, pattern) in filters.items():
            it = self.one(name)
            self.assertEqual(it["LogGroupName"], {"Ref": "ApiLogs"}, name)
            self.assertEqual(it["FilterPattern"], pattern, name)
            self.assertLessEqual(set(re.findall(r"\$\.(\w+)", pattern)), set(log), name)
            self.assertEqual(
                it["MetricTransformations"],
                [
                    {
                        "MetricNamespace": {"Fn::Sub": "Orders/${AWS::StackName}"},
                        "MetricName": metric,
                        "MetricValue": "1",
                        "Dimensions": [{"Key": "Route", "Value": "$.route"}],
                    }
                ],
            )
        self.assertIn("route", log)
