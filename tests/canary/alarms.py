"""The alarms of the expanded template, evaluated for the metrics of one minute."""

import fnmatch
import json
import re
from collections import Counter

STACK = "orders"


class Minute:
    """The sum of each metric in one minute, from what Lambda, API Gateway and the functions report."""

    def __init__(self, template):
        self._template, self._sums = template, Counter()

    def count(self, namespace, name, dimensions, value=1):
        self._sums[namespace, name, frozenset(dimensions.items())] += value

    def sum(self, metric):
        """Returns the sum of a metric of the template; `None` without data."""
        dimensions = {it["Name"]: self.resolve(it["Value"]) for it in metric["Dimensions"]}
        return self._sums.get((self.resolve(metric["Namespace"]), metric["MetricName"], frozenset(dimensions.items())))

    def log_request(self, route, status):
        """Applies the metric filters to the request's line of the access log."""
        context = {"routeKey": route, "status": str(status)}
        settings = self._template["Resources"]["HttpApiApiGatewayDefaultStage"]["Properties"]["AccessLogSettings"]
        text = re.sub(r"\$context\.([\w.]+)", lambda found: context.get(found[1], "-"), settings["Format"])
        line = json.loads(text)
        for _, filter_ in resources(self._template, "AWS::Logs::MetricFilter"):
            if matches(filter_["FilterPattern"], line):
                for it in filter_["MetricTransformations"]:
                    dimensions = {key["Key"]: line[key["Value"].removeprefix("$.")] for key in it["Dimensions"]}
                    self.count(self.resolve(it["MetricNamespace"]), it["MetricName"], dimensions)

    def log_output(self, lines):
        """Reads the metrics in the output of a function (CloudWatch user guide, "Embedded metric format")."""
        for line in lines:
            fields = json.loads(line)
            for directive in fields.get("_aws", {}).get("CloudWatchMetrics", []):
                for keys in directive["Dimensions"]:
                    dimensions = {key: fields[key] for key in keys}
                    for metric in directive["Metrics"]:
                        values = fields[metric["Name"]]
                        total = values if isinstance(values, (int, float)) else 0
                        self.count(directive["Namespace"], metric["Name"], dimensions, total)

    def resolve(self, value):
        """Returns the text of a value of the template; the name of a resource is its logical name."""
        match value:
            case {"Ref": name}:
                return name
            case {"Fn::Sub": text}:
                return text.replace("${AWS::StackName}", STACK)
            case {"Fn::FindInMap": [name, key, second]}:
                return self._template["Mappings"][name][key][second]
        return value


def matches(pattern, line):
    """Whether a filter pattern matches a line: one comparison, or several in brackets, joined by `&&` (CloudWatch Logs
    user guide, "Using filter patterns to match terms in JSON log events")."""
    for term in pattern.removeprefix("{ ").removesuffix(" }").split(" && "):
        field, operator, value = re.fullmatch(r'\(?\$\.(\w+) (!?=) "([^"]*)"\)?', term).groups()
        if fnmatch.fnmatch(line.get(field, ""), value) != (operator == "="):
            return False
    return True


def deployments(template):
    """Returns the names of the alarms that stop the deployment of each function."""
    return {
        name.removesuffix("FunctionDeploymentGroup"): [
            it["Name"]["Ref"] for it in group["AlarmConfiguration"]["Alarms"]
        ]
        for name, group in resources(template, "AWS::CodeDeploy::DeploymentGroup")
    }


def is_on(alarm, minute):
    """Whether the metrics of a minute turn the alarm on. Missing data does not."""
    value = minute.sum(alarm) if "MetricName" in alarm else _share(alarm["Metrics"], minute)
    return value is not None and value > alarm["Threshold"]


def _share(queries, minute):
    (expression,) = (it["Expression"] for it in queries if it.get("ReturnData"))
    sums = {it["Id"]: minute.sum(it["MetricStat"]["Metric"]) for it in queries if "MetricStat" in it}
    return evaluate(expression, sums)


def evaluate(expression, values):
    """Returns the value of a metric math expression; `None` without data. `None` is a metric without data
    (CloudWatch user guide, "Using math expressions"). `FILL` fills the gaps of a metric. No AWS document says that
    it fills a metric without any value, so here it does not."""
    functions = {
        "IF": lambda condition, one, other: one if condition else other,
        "FILL": lambda value, filler: value,
    }
    try:
        return eval(expression, {"__builtins__": {}, **functions}, values)
    except (TypeError, ZeroDivisionError):
        return None


def resources(template, kind):
    return [(name, it["Properties"]) for name, it in template["Resources"].items() if it["Type"] == kind]
