"""Fix: the policy of a queue decides on events of a rule; an event that is not delivered is a dead letter.

On AWS a rule needs a queue policy that permits it (EventBridge user guide, "Using resource-based policies"). An event
whose queue is missing or denies access goes to the dead-letter queue of the target at once, with the cause in
attributes (EventBridge user guide, "Using dead-letter queues to process undelivered events"). The emulator delivers
without a policy, and has no dead-letter queues of rules. This fix adds both.
"""

import json

from ministack.services import eventbridge, sqs

import dead_letters

SERVICE = "events.amazonaws.com"


def apply():
    invoke = eventbridge._invoke_target

    def invoke_or_dead_letter(target, event, rule, view=None):
        # Scheduler uses the same function; its roles decide (schedule_permissions.py).
        if ":sqs:" not in target["Arn"] or event.get("Source") == "aws.scheduler":
            return invoke(target, event, rule, view)
        fault = _fault(target["Arn"], rule["Arn"], event["Account"])
        if not fault:
            return invoke(target, event, rule, view)
        dead_letter_queue = target.get("DeadLetterConfig", {}).get("Arn", "")
        if dead_letter_queue and not _fault(dead_letter_queue, rule["Arn"], event["Account"]):
            view = view or eventbridge._pattern_event_view(event)
            body, arns = json.dumps(view.event_with_detail()), {"RULE_ARN": rule["Arn"], "TARGET_ARN": target["Arn"]}
            dead_letters.send(sqs._queue_by_arn(dead_letter_queue), body, fault, **arns)

    eventbridge._invoke_target = invoke_or_dead_letter


def _fault(queue, rule, account):
    """Returns why a rule cannot send to a queue; `None` if it can."""
    if not sqs._queue_by_arn(queue):
        return "NO_RESOURCE"
    return None if sqs.queue_policy_allows(queue, SERVICE, rule, account) else "NO_PERMISSIONS"
