"""Checks what the service assumes about AWS on a deployed stack: a line for each step, with the AWS page it rests on.

Run it after the first deployment, before the first buyer. It orders tickets of its own, and removes them at the end;
the other services receive their events. The step "dead letter" turns on an alarm. The step "deployment" gives a broken
version a tenth of the requests for an order until its alarm is on.

Buyers: the tokens in the variable TOKEN, separated by blanks; otherwise users of the stack's user pool, or the issuer
of a local stack. On a local stack the steps name what the emulator lacks.
"""

import dataclasses
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, as_completed

import botocore.exceptions

import smoke_buyers
import stack as stacks
from smoke_deployments import deployment
from smoke_events import Events
from smoke_orders import bus, early, expired, key_twice, race, schedule, tokens
from smoke_platform import cold_start, dead_letter, metrics, quota, wake_queues
from smoke_site import Failed, NotHere, Site
from stack import FOUND, Stack, UserError

DOCS = "https://docs.aws.amazon.com"


@dataclasses.dataclass(frozen=True)
class Step:
    """An assumption about AWS: its check returns what it found, or raises `Failed` or `NotHere`."""

    name: str
    check: Callable
    page: str


# All of them run at once.
STEPS = [
    Step("quota", quota, "lambda/latest/dg/lambda-concurrency.html"),
    Step("cold start", cold_start, "lambda/latest/dg/lambda-runtime-environment.html"),
    Step("bus", bus, "eventbridge/latest/userguide/eb-targets.html"),
    Step("tokens", tokens, "apigateway/latest/developerguide/http-api-jwt-authorizer.html"),
    Step("key twice", key_twice, "amazondynamodb/latest/developerguide/transaction-apis.html"),
    Step("race", race, "amazondynamodb/latest/developerguide/Expressions.ConditionExpressions.html"),
    Step("expiry", expired, "AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-message-timers.html"),
    Step("early message", early, "AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-delay-queues.html"),
    Step("schedule", schedule, "scheduler/latest/UserGuide/schedule-types.html"),
    Step("dead letter", dead_letter, "AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-dead-letter-queues.html"),
]
# They need the traffic of the others, or disturb it.
LAST_STEPS = [
    Step("metrics", metrics, "AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format.html"),
    Step("deployment", deployment, "codedeploy/latest/userguide/deployment-steps-lambda.html"),
]
NAMES = [step.name for step in (*STEPS, *LAST_STEPS)]


def main(words):
    parser = stacks.arguments(__doc__, writes=False)
    parser.add_argument("--only", metavar="STEPS", type=_split, default=NAMES, help=f"with commas: {', '.join(NAMES)}")
    parser.add_argument("--without", metavar="STEPS", type=_split, default=[], help="steps to leave out")
    arguments = parser.parse_args(words)
    if unknown := {*arguments.only, *arguments.without} - set(NAMES):
        raise UserError(f"Unknown: {', '.join(sorted(unknown))}. Known: {', '.join(NAMES)}.")
    wanted = set(arguments.only) - set(arguments.without)
    stack = Stack.named(arguments.stack)
    events = Events(stack)
    site = Site(stack, [], events)
    counts = {"ok": 0, "not here": 0, "FAILED": 0}
    try:
        wake_queues(site)
        site.buyers = buyers(stack, events.prefix, site.undo)
        events.start(site)
        for steps in (STEPS, LAST_STEPS):
            run([step for step in steps if step.name in wanted], site, counts)
    except Failed as failure:
        counts["FAILED"] += 1
        print(f"FAILED    start: {failure}")
    finally:
        left = site.close()
    for remains in left:
        print(f"FAILED    left behind: {remains}")
    print(", ".join(f"{count} {result}" for result, count in counts.items()))
    return FOUND if counts["FAILED"] or left else 0


def buyers(stack, prefix, undo):
    """Returns the buyers of the test."""
    if given := os.environ.get("TOKEN"):
        return smoke_buyers.of_tokens(given)
    if stack.emulated:
        names = [f"{prefix}{number}" for number in range(smoke_buyers.COUNT)]
        return smoke_buyers.of_issuer(stack.description, names)
    if "UserPoolId" not in stack.outputs:
        raise UserError("The stack has no user pool. Set TOKEN to the tokens of some buyers, separated by blanks.")
    return smoke_buyers.UserPool(stack, prefix).create(undo)


def run(steps, site, counts):
    """Runs steps at once, and prints the result of each."""
    with ThreadPoolExecutor(len(steps) or 1) as pool:
        running = {pool.submit(outcome, step, site): step for step in steps}
        try:
            for done in as_completed(running):
                step, (result, text) = running[done], done.result()
                counts[result] += 1
                print(f"{result:9} {step.name}: {text}  {DOCS}/{step.page}", flush=True)
        except KeyboardInterrupt:
            site.interrupt()
            raise


def outcome(step, site):
    """Runs a step. Returns the result and what was found."""
    try:
        return "ok", step.check(site)
    except NotHere as lack:
        return "not here", str(lack)
    except Failed as failure:
        return "FAILED", str(failure)
    except botocore.exceptions.ClientError as error:
        return "FAILED", f"{error} The needed rights are in docs/operations.md."
    except Exception as error:
        # An answer without an expected part.
        return "FAILED", f"{type(error).__name__}: {error}"


def _split(text):
    return [name.strip() for name in text.split(",")]


if __name__ == "__main__":
    stacks.run(main)
