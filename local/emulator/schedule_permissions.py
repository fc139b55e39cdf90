"""AWS asks three things about a schedule that the emulator does not: whether the caller may use schedules
of this group (the emulator asks about the default group, whatever the schedule's), whether the caller may
pass the schedule's role to Scheduler, and, when it fires, whether that role may send to its target. What
the role may not send goes to the dead-letter queue, if the role may send to that. This fix asks them."""

import json

from ministack import app
from ministack.core import iam_actions, iam_evaluator
from ministack.services import eventbridge, scheduler, sqs


def apply():
    if app.AUTH:
        _ask_about_the_group()
        _ask_about_the_role()
        _ask_when_it_fires()


def _ask_about_the_group():
    extract = iam_actions.extract_resource_arn

    def extract_with_group(service, method, path, headers, body, query, region, account):
        if service != "scheduler" or not path.startswith("/schedules/"):
            return extract(service, method, path, headers, body, query, region, account)
        group = json.loads(body or b"{}").get("GroupName") or (query.get("groupName") or ["default"])[0]
        return f"arn:aws:scheduler:{region}:{account}:schedule/{group}/{path.split('/')[2]}"

    iam_actions.extract_resource_arn = extract_with_group


def _ask_about_the_role():
    for name in ("_create_schedule", "_update_schedule"):
        setattr(scheduler, name, _asking(getattr(scheduler, name)))


def _asking(write):
    def write_if_allowed(name, body):
        caller, role = iam_evaluator.caller_arn(), body.get("Target", {}).get("RoleArn", "")
        if _may(caller, "iam:PassRole", role, {"iam:passedtoservice": "scheduler.amazonaws.com"}):
            return write(name, body)
        message = f"User: {caller} is not authorized to perform: iam:PassRole on resource: {role}"
        return scheduler._error(403, "AccessDeniedException", message)

    return write_if_allowed


def _ask_when_it_fires():
    invoke = eventbridge._invoke_target

    def invoke_if_allowed(target, event, source, *args):
        if event.get("Source") != "aws.scheduler" or ":sqs:" not in target["Arn"]:
            return invoke(target, event, source, *args)
        for queue in (target["Arn"], target.get("DeadLetterConfig", {}).get("Arn")):
            if queue and sqs._queue_by_arn(queue) and _may(target["RoleArn"], "sqs:SendMessage", queue):
                return invoke({**target, "Arn": queue}, event, source, *args)

    eventbridge._invoke_target = invoke_if_allowed


def _may(principal, action, resource, context=None):
    """Whether a role, or a session of it, may do this; the account itself may do all."""
    _, _, _, _, account, name = principal.split(":", 5)
    if name == "root":
        return True
    asked = iam_evaluator.EvalContext(
        principal_arn=principal, principal_type="AssumedRole", principal_account=account, action=action,
        resource_arn=resource, region="", service_context=context or {})
    # Both are named as role/NAME or assumed-role/NAME/SESSION.
    policies = iam_evaluator._gather_role_policies(name.split("/")[1], account)
    return iam_evaluator.evaluate(asked, policies).decision == "Allow"
