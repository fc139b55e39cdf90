"""Fix: permissions of schedules are checked.

AWS makes three checks for a schedule that the emulator omits:
- the caller has permissions for the schedule's group (the emulator always checks the default group);
- the caller may pass the schedule's role to Scheduler (`iam:PassRole`);
- when the schedule fires, its role may send to the target queue or invoke the target function, otherwise
  send to the dead-letter queue.
This fix adds them. A dead letter is the request that failed, with the cause in attributes (EventBridge Scheduler user
guide, "Configuring a schedule's dead-letter queue").
"""

import json

from ministack import app
from ministack.core import iam_actions, iam_evaluator
from ministack.services import eventbridge, scheduler, sqs

import dead_letters

# Permission for each kind of target.
ACTIONS = {"sqs": "sqs:SendMessage", "lambda": "lambda:InvokeFunction"}


def apply():
    if app.AUTH:
        _check_group()
        _check_role()
        _check_target()


def _check_group():
    extract = iam_actions.extract_resource_arn

    def extract_with_group(service, method, path, headers, body, query, region, account):
        if service != "scheduler" or not path.startswith("/schedules/"):
            return extract(service, method, path, headers, body, query, region, account)
        group = json.loads(body or b"{}").get("GroupName") or (query.get("groupName") or ["default"])[0]
        return f"arn:aws:scheduler:{region}:{account}:schedule/{group}/{path.split('/')[2]}"

    iam_actions.extract_resource_arn = extract_with_group


def _check_role():
    for name in ("_create_schedule", "_update_schedule"):
        setattr(scheduler, name, _checked(getattr(scheduler, name)))


def _checked(write):
    def write_if_allowed(name, body):
        caller, role = iam_evaluator.caller_arn(), body.get("Target", {}).get("RoleArn", "")
        if _may(caller, "iam:PassRole", role, {"iam:passedtoservice": "scheduler.amazonaws.com"}):
            return write(name, body)
        message = f"User: {caller} is not authorized to perform: iam:PassRole on resource: {role}"
        return scheduler._error(403, "AccessDeniedException", message)

    return write_if_allowed


def _check_target():
    invoke = eventbridge._invoke_target

    def invoke_if_allowed(target, event, source, *args):
        service = target["Arn"].split(":")[2]
        if event.get("Source") != "aws.scheduler" or service not in ACTIONS:
            return invoke(target, event, source, *args)
        fault = _fault(target["Arn"], target["RoleArn"])
        if not fault:
            return invoke(target, event, source, *args)
        dead_letter_queue = target.get("DeadLetterConfig", {}).get("Arn", "")
        if dead_letter_queue and not _fault(dead_letter_queue, target["RoleArn"]):
            queue = sqs._queue_by_arn(dead_letter_queue)
            dead_letters.send(queue, _request(target), fault, SCHEDULE_ARN=source["Arn"], TARGET_ARN=target["Arn"])

    eventbridge._invoke_target = invoke_if_allowed


def _fault(arn, role):
    """Returns why a role cannot call a target; `None` if it can."""
    service = arn.split(":")[2]
    if service == "sqs" and not sqs._queue_by_arn(arn):
        return "AWS.SimpleQueueService.NonExistentQueue"
    return None if _may(role, ACTIONS[service], arn) else "AccessDenied"


def _request(target):
    if ":sqs:" not in target["Arn"]:
        return target.get("Input", "{}")
    return json.dumps({"MessageBody": target.get("Input", "{}")})


def _may(principal, action, resource, context=None):
    """Returns whether a role or a session of the role has a permission. The account root has all."""
    _, _, _, _, account, name = principal.split(":", 5)
    if name == "root":
        return True
    request = iam_evaluator.EvalContext(
        principal_arn=principal,
        principal_type="AssumedRole",
        principal_account=account,
        action=action,
        resource_arn=resource,
        region="",
        service_context=context or {},
    )
    # The name is role/NAME or assumed-role/NAME/SESSION.
    policies = iam_evaluator._gather_role_policies(name.split("/")[1], account)
    return iam_evaluator.evaluate(request, policies).decision == "Allow"
