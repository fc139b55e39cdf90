"""Steps of the smoke test on what surrounds the functions: quotas, cold starts, metrics, alarms."""

import base64
import json
import re
import time
import uuid
from concurrent.futures import ThreadPoolExecutor

from smoke_site import Failed, NotHere, expect

# A new account has 10 concurrent executions, and the template needs them.
LEAST_EXECUTIONS, USUAL_EXECUTIONS = 10, 1000
COLD_STARTS = 5
MAX_INIT_MS = 1000
INIT = re.compile(r'(?:Init Duration: |"initDurationMs"\s*:\s*)([\d.]+)')
REPORT = re.compile(r'^REPORT |"platform\.report"', re.MULTILINE)
# Metrics with a value after ordinary traffic. The others have values only after a failure; the age of the oldest
# message of a queue only while it has one.
REGULAR_NAMESPACES = ("AWS/ApiGateway", "AWS/Lambda")
REGULAR = (
    "Requests",
    "MessagesReceived",
    "ChangesReceived",
    "EventsPublished",
    "ExpiryLateness",
    "ApproximateNumberOfMessagesVisible",
)
# Functions by what a run uses.
FUNCTIONS = {
    "POST /api/orders": "CreateOrder",
    "GET /api/orders/{id}": "ShowOrder",
    "GET /api/orders": "ListOrders",
    "DELETE /api/orders/{id}": "CancelOrder",
    "tickets": "TicketEvents",
    "payments": "PaymentEvents",
    "order": "OrderRelay",
    "expiry": "ExpireOrders",
}
# The metrics of a queue start up to 15 minutes after `wake_queues`, and arrive minutes late.
METRICS_SECONDS = 18 * 60
POLL_SECONDS = 5


def wake_queues(site):
    """Calls each queue: SQS publishes no metrics of an empty queue without a call for 6 hours."""
    for url in _queues(site):
        site.client("sqs").get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])


def _queues(site):
    return [url for name, url in site.stack.outputs.items() if name.endswith("QueueUrl")]


def quota(site):
    """The account has enough concurrent executions."""
    limit = site.client("lambda").get_account_settings()["AccountLimit"]
    total, free = limit["ConcurrentExecutions"], limit["UnreservedConcurrentExecutions"]
    if free < LEAST_EXECUTIONS:
        raise Failed(f"{free} of {total} concurrent executions are unreserved; the functions need {LEAST_EXECUTIONS}")
    small = "" if total >= USUAL_EXECUTIONS else "; ask for 1,000 before a sale"
    return f"{free} unreserved concurrent executions{small}"


def cold_start(site):
    """A function starts and answers. `$LATEST` has no traffic, so its environments start for this step."""
    with ThreadPoolExecutor(COLD_STARTS) as pool:
        logs = list(pool.map(lambda _: _invoke_unpublished(site), range(COLD_STARTS)))
    site.needs("duration of an initialization")
    if not any(map(REPORT.search, logs)):
        raise NotHere("no log has a report line; the step needs PlatformLogLevel INFO")
    durations = [float(found[1]) for log in logs if (found := INIT.search(log))]
    if not durations:
        raise NotHere("no cold start: all environments were warm; repeat the step in 15 minutes")
    if max(durations) > MAX_INIT_MS:
        raise Failed(f"an initialization took {max(durations):.0f} ms, more than {MAX_INIT_MS} ms")
    return f"{len(durations)} cold starts, at most {max(durations):.0f} ms each"


def metrics(site):
    """The metric of each alarm has data after the traffic of this run."""
    if site.stack.invoke("Reconcile", {}) is None:
        raise Failed("reconcile fails")
    found, used = {_key(metric): metric for metric in _alarm_metrics(site)}, _used(site)
    wanted = {key: metric for key, metric in found.items() if _is_regular(metric) and used & _values(metric)}
    end = f"; {len(found) - len(wanted)} count failures, or what this run did not use"
    if site.emulated:
        end = "; not here: metrics of other namespaces, and of functions that are not invoked by hand"
    if not wanted:
        raise Failed("no alarm has a metric of ordinary traffic")
    missing = dict(wanted)

    def all_have_data():
        for key in [key for key, metric in missing.items() if _has_data(site, metric)]:
            del missing[key]
        return not missing

    def lacking_data():
        return f"data of {', '.join(f'{namespace} {name}' for namespace, name, _ in sorted(missing))}"

    site.until(lacking_data, all_have_data, METRICS_SECONDS, POLL_SECONDS)
    return f"{len(wanted)} metrics of alarms have data{end}"


def dead_letter(site):
    """An invalid event ends in the dead-letter queue, unchanged, and turns on its alarm."""
    marker = str(uuid.uuid4())
    site.undo(f"dead letter {marker}", _take_dead_letter, site, marker)
    site.publish("tickets", "TicketCreated", {"id": marker, "title": 7})
    body = site.until("the invalid event is a dead letter", lambda: _find_dead_letter(site, marker), 120)
    expect("dead letter", json.loads(body)["detail"], {"id": marker, "title": 7})
    if site.emulated:
        return "a dead letter, unchanged; not here: alarms on metrics of SQS"
    name, started = resource(site, "TicketEventsDeadLetters"), time.monotonic()
    site.until(f"alarm {name}", lambda: _alarm_state(site, name) == "ALARM", METRICS_SECONDS, POLL_SECONDS)
    return f"a dead letter, unchanged; its alarm is on after {time.monotonic() - started:.0f} s"


def _invoke_unpublished(site):
    """Invokes `$LATEST` of show-order for an unknown order. Returns the end of its log."""
    response = site.client("lambda").invoke(
        FunctionName=site.stack.output("ShowOrderFunctionName"), LogType="Tail", Payload=json.dumps(unknown_order())
    )
    answer = json.loads(response["Payload"].read())
    if "FunctionError" in response:
        raise Failed(f"show-order fails: {answer}")
    expect("status of an unknown order", answer.get("statusCode"), 404)
    return base64.b64decode(response.get("LogResult", "")).decode(errors="replace")


def unknown_order():
    """Returns the event of a request for an unknown order."""
    id = str(uuid.UUID(int=0))
    path = f"/api/orders/{id}"
    http = {"method": "GET", "path": path, "protocol": "HTTP/1.1", "sourceIp": "127.0.0.1", "userAgent": "smoke"}
    jwt = {"jwt": {"claims": {"sub": "smoke"}, "scopes": None}}
    context = {"accountId": "0", "apiId": "smoke", "http": http, "authorizer": jwt, "requestId": "smoke"}
    context |= {"routeKey": "GET /api/orders/{id}", "stage": "$default", "domainName": "smoke", "timeEpoch": 0}
    context |= {"domainPrefix": "smoke", "time": "01/Jan/2026:00:00:00 +0000"}
    request = {"version": "2.0", "routeKey": "GET /api/orders/{id}", "rawPath": path, "rawQueryString": ""}
    return {**request, "headers": {}, "pathParameters": {"id": id}, "requestContext": context, "isBase64Encoded": False}


def _alarm_metrics(site):
    """Yields the metrics of the alarms of the stack."""
    names = [it["PhysicalResourceId"] for it in _resources(site) if it["ResourceType"] == "AWS::CloudWatch::Alarm"]
    for first in range(0, len(names), 100):
        found = site.client("cloudwatch").describe_alarms(AlarmNames=names[first : first + 100], MaxRecords=100)
        for alarm in found["MetricAlarms"]:
            if "MetricName" in alarm and alarm.get("Namespace") != "Expressions":
                yield {name: alarm[name] for name in ("Namespace", "MetricName", "Dimensions")}
            yield from (it["MetricStat"]["Metric"] for it in alarm.get("Metrics", []) if "MetricStat" in it)


def _is_regular(metric):
    return metric["Namespace"] in REGULAR_NAMESPACES or metric["MetricName"] in REGULAR


def _used(site):
    """Returns the names of what this run has used, as in the dimensions of metrics."""
    reconcile = {site.stack.output("ReconcileFunctionName")}
    if site.emulated:
        return reconcile
    functions = {site.stack.output(f"{FUNCTIONS[use]}FunctionName") for use in site.used & FUNCTIONS.keys()}
    api = {site.stack.output("ApiId")} if "api" in site.used else set()
    return reconcile | functions | api | site.used | {url.rsplit("/", 1)[-1] for url in _queues(site)}


def _values(metric):
    return {dimension["Value"] for dimension in metric["Dimensions"]}


def _key(metric):
    dimensions = tuple(sorted((it["Name"], it["Value"]) for it in metric["Dimensions"]))
    return metric["Namespace"], metric["MetricName"], dimensions


def _has_data(site, metric):
    now = time.time()
    found = site.client("cloudwatch").get_metric_statistics(
        **metric, StartTime=now - 3 * 60 * 60, EndTime=now + 60, Period=60, Statistics=["SampleCount"]
    )
    return bool(found["Datapoints"])


def _alarm_state(site, name):
    return site.client("cloudwatch").describe_alarms(AlarmNames=[name])["MetricAlarms"][0]["StateValue"]


def resource(site, logical):
    """Returns the physical id of a resource of the template."""
    return next(it["PhysicalResourceId"] for it in _resources(site) if it["LogicalResourceId"] == logical)


def _resources(site):
    pages = site.client("cloudformation").get_paginator("list_stack_resources").paginate(StackName=site.stack.name)
    return [resource for page in pages for resource in page["StackResourceSummaries"]]


def _find_dead_letter(site, marker):
    """Returns the body of a dead letter with a marker; `None` if there is none. It stays visible for the alarm."""
    return next((it["Body"] for it in _receive_dead_letters(site, 0) if marker in it["Body"]), None)


def _take_dead_letter(site, marker):
    """Deletes the dead letter of this run, and no other."""
    sqs, url = site.client("sqs"), site.stack.output("TicketEventsDeadLetterQueueUrl")

    def is_deleted():
        letters = _receive_dead_letters(site, 30)
        ours = [it for it in letters if marker in it["Body"]]
        for it in letters:
            if it in ours:
                sqs.delete_message(QueueUrl=url, ReceiptHandle=it["ReceiptHandle"])
            else:
                sqs.change_message_visibility(QueueUrl=url, ReceiptHandle=it["ReceiptHandle"], VisibilityTimeout=0)
        return ours

    site.until("the dead letter is deleted", is_deleted, 60)


def _receive_dead_letters(site, visibility_seconds):
    found = site.client("sqs").receive_message(
        QueueUrl=site.stack.output("TicketEventsDeadLetterQueueUrl"),
        MaxNumberOfMessages=10,
        VisibilityTimeout=visibility_seconds,
        WaitTimeSeconds=1,
    )
    return found.get("Messages", [])
