"""Proves that each role may do nothing that it does not need: `make least-privilege`.

Against a stack that runs and checks every call (ORDERS_STACK_FILE names it). One right after the other is
taken from a deployed role; what the role is for must then fail, and must work again once the right is
given back. What AWS does with a role itself can be seen in an account only; those rights are demanded by
the pages of AWS that `asserted.py` holds the template to. A right that neither misses is not needed.
"""

import json
import os
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from asserted import demanded, page_of
from expand import TEMPLATE, expand
from roles import rights, without
from scenarios import SCENARIOS, Missing, Service

# Roles that do not touch each other's work are tried at the same time. What the Scheduler sends is seen by
# what becomes of it in expire-orders.
SIDE_BY_SIDE = (
    ("CreateOrderRole", "ShowOrderRole", "ListOrdersRole", "CancelOrderRole"),
    ("TicketEventsRole",), ("PaymentEventsRole",), ("OrderRelayRole",), ("ExpireOrdersRole", "SchedulerRole"))
LONG_SECONDS = 120


class Roles:
    """The roles of the deployed stack."""

    def __init__(self, service):
        self._iam = service.client("iam")
        resources = service.client("cloudformation").describe_stack_resources(StackName=service.stack_name)
        self._names = {it["LogicalResourceId"]: it["PhysicalResourceId"] for it in resources["StackResources"]}

    @contextmanager
    def without(self, right):
        policy = {"RoleName": self._names[right.role], "PolicyName": right.policy}
        document = self._iam.get_role_policy(**policy)["PolicyDocument"]
        narrower = without(document, right)
        if narrower["Statement"]:
            self._iam.put_role_policy(**policy, PolicyDocument=json.dumps(narrower))
        else:
            self._iam.delete_role_policy(**policy)
        try:
            yield
        finally:
            self._iam.put_role_policy(**policy, PolicyDocument=json.dumps(document))


def main():
    service = Service(json.loads(Path(os.environ["ORDERS_STACK_FILE"]).read_text()))
    template = expand(TEMPLATE.read_text())
    pages = demanded(template)
    rows = sorted(rights(template["Resources"]), key=lambda right: (right.role, str(right)))
    own = [right for right in rows if not page_of(right, pages)]
    roles = Roles(service)

    def look(names):
        return [found for name in names for found in look_at(service, roles, name, own)]

    with ThreadPoolExecutor() as pool:
        looked = [found for part in pool.map(look, SIDE_BY_SIDE) for found in part]
    unneeded = 0
    for right in rows:
        page = page_of(right, pages)
        reason = f"demanded: {page}" if page else next((what for it, what in looked if it == right), None)
        unneeded += not reason
        print(f"{right.role:<17} {str(right):<84} {reason or 'MISSED BY NOTHING'}")
    print(f"\n{len(rows)} rights: without {len(own) - unneeded} the service fails, "
          f"{len(rows) - len(own)} are demanded by AWS, {unneeded} are missed by nothing.")
    return bool(unneeded)


def look_at(service, roles, role, own):
    """Each right of a role, with what fails without it; nothing, if all works."""
    seconds = {work: seconds_of(service, work) for work in SCENARIOS[role]}
    for right in (right for right in own if right.role == role):
        yield right, next(filter(None, (fails(service, roles, right, *it) for it in seconds.items())), None)


def seconds_of(service, work):
    work(service.waiting(LONG_SECONDS))  # the first time is the slowest
    started = time.monotonic()
    work(service.waiting(LONG_SECONDS))
    return time.monotonic() - started


def fails(service, roles, right, work, seconds):
    """What is not seen of this work without the right."""
    with roles.without(right):
        try:
            # What has not happened in twice the time will not.
            work(service.waiting(2 * seconds + 3))
            return None
        except Missing as missing:
            what = f"not seen: {missing}"
    # It was the right that was missing, and nothing is left of that.
    work(service.waiting(LONG_SECONDS))
    return what


if __name__ == "__main__":
    sys.exit(main())
