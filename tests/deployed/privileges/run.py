"""Checks that each role has only the rights it needs: `make least-privilege`.

Needs a running stack with enforced policies (ORDERS_STACK_FILE). Each right is removed from its deployed role;
the scenario of the role must then fail, and must succeed after the right is restored. Calls of AWS itself with
a role are visible only in an account: `asserted.py` checks those rights against AWS documentation pages. A right
without a failing scenario and without a page is not needed.
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

# Independent groups of roles, checked in parallel. expire-orders handles the messages of the Scheduler.
SIDE_BY_SIDE = (
    ("CreateOrderRole", "ShowOrderRole", "ListOrdersRole", "CancelOrderRole"),
    ("TicketEventsRole",),
    ("PaymentEventsRole",),
    ("OrderRelayRole",),
    ("ExpireOrdersRole", "SchedulerRole"),
    ("ReconcileRole", "ReconcileScheduleRole"),
)
LONG_SECONDS = 120


class Roles:
    """The deployed roles."""

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
        reason = f"required: {page}" if page else next((what for it, what in looked if it == right), None)
        unneeded += not reason
        print(f"{right.role:<22} {str(right):<84} {reason or 'NOT NEEDED'}")
    print(
        f"\n{len(rows)} rights: without {len(own) - unneeded} the service fails, "
        f"{len(rows) - len(own)} are required by AWS, {unneeded} are not needed."
    )
    return bool(unneeded)


def look_at(service, roles, role, own):
    """Returns each right of a role with the failure without it, or `None` if the scenarios succeed."""
    seconds = {work: seconds_of(service, work) for work in SCENARIOS[role]}
    for right in (right for right in own if right.role == role):
        yield right, next(filter(None, (fails(service, roles, right, *it) for it in seconds.items())), None)


def seconds_of(service, work):
    work(service.waiting(LONG_SECONDS))  # the first run is the slowest
    started = time.monotonic()
    work(service.waiting(LONG_SECONDS))
    return time.monotonic() - started


def fails(service, roles, right, work, seconds):
    """Returns the failure of a scenario without the right, or `None`."""
    with roles.without(right):
        try:
            # Twice the usual time is enough.
            work(service.waiting(2 * seconds + 3))
            return None
        except Missing as missing:
            what = f"fails: {missing}"
    # The scenario succeeds again with the right.
    work(service.waiting(LONG_SECONDS))
    return what


if __name__ == "__main__":
    sys.exit(main())
