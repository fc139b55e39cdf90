"""Fix: templates with alarms on an expression are deployable.

The emulator evaluates no metric math and rejects such an alarm. This fix creates the alarm on a metric with the
expression as its name: the alarm exists, never has data, and stays off.
"""

from ministack.services.cloudformation import provisioners


def apply():
    record = provisioners._cw_metric_alarm_record
    provisioners._cw_metric_alarm_record = lambda name, properties: record(name, _without_expression(properties))


def _without_expression(properties):
    if not properties.get("Metrics"):
        return properties
    (expression,) = (it["Expression"] for it in properties["Metrics"] if "Expression" in it)
    others = {key: value for key, value in properties.items() if key != "Metrics"}
    return {**others, "Namespace": "Expressions", "MetricName": expression, "Statistic": "Sum"}
