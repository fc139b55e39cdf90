"""Tests of the smoke test: each step passes on a stack without faults, and each fault makes its step fail."""

import contextlib
import json
import os
import re
import types
import unittest
import unittest.mock

import botocore.session

import smoke
import smoke_buyers
from fakes import quiet
from smoke_deployments import deployment
from smoke_fakes import FakeEvents, FakeSite, jwt
from smoke_orders import bus, early, expired, key_twice, race, schedule, tokens
from smoke_platform import cold_start, dead_letter, metrics, quota
from smoke_site import Failed, NotHere, Site
from stack import ROOT

FIRST_VERSION = "7"
RUNNING, STOPPED, SUCCEEDED = ("InProgress", None), ("Stopped", "ALARM_ACTIVE"), ("Succeeded", None)
STEPS = (quota, cold_start, bus, tokens, key_twice, race, expired, early, schedule, dead_letter, metrics)
# Step, fault, message.
FAULTS = [
    (quota, {"concurrency": 9}, "9 of 9 concurrent executions"),
    (cold_start, {"function_error": True}, "show-order fails"),
    (cold_start, {"show_status": 500}, "500, not 404"),
    (cold_start, {"init_ms": 1500}, "took 1500 ms"),
    (bus, {"loses_tickets": True}, "not within 60 s: ticket smoke-test-0 is in the table"),
    (tokens, {"refuses": (jwt("access"),)}, "access token: 401, not 200"),
    *((tokens, {"accepts": (name,)}, f"{name}: 200, not 401") for name in smoke_buyers.broken(jwt("id"))),
    (key_twice, {"knows_keys": False, "sells": 2}, r"\[201, 201\], not \[201, 200\]"),
    (race, {"sells": 2}, "{201: 2, 409: 48}, not {201: 1, 409: 49}"),
    (race, {"sells": 0}, "{409: 50}"),
    (race, {"loser": 500}, "500: 49"),
    (race, {"refusals": [503] * 5000}, "gets 503 for 60 s"),
    (expired, {"expires_late_seconds": None}, "no OrderExpired within 40"),
    (expired, {"expires_late_seconds": 11}, "no OrderExpired within 40"),
    (expired, {"expires_late_seconds": -1}, "expired -1.0 s after"),
    (early, {"emulated": True, "keeps_early_messages": False}, "20 early messages wait"),
    (early, {"expires_late_seconds": -20}, "expired -20.0 s after"),
    (early, {"expired_version": 2}, "version of the expired order: 2"),
    (early, {"dead_letters": 1}, "dead letters of the expiry queue: 1, not 0"),
    (schedule, {"has_schedules": False}, "not within 20 s: schedule of"),
    (schedule, {"deletes_schedules": False}, "schedule of the cancelled order is deleted"),
    (schedule, {"fires": False}, "the schedule has fired"),
    (schedule, {"schedule_late_seconds": -20}, "a schedule fired 20 s before its time"),
    (schedule, {"expires_before_its_time": True}, "expired, not awaiting_payment"),
    (schedule, {"expires_late_seconds": None}, "no OrderExpired"),
    (dead_letter, {"changes_dead_letters": True}, "dead letter: "),
    (dead_letter, {"alarm": "OK"}, "not within 1080 s: alarm TicketEventsDeadLetters"),
    (metrics, {"function_error": True}, "reconcile fails"),
    (metrics, {"metrics_without_data": ("Errors",)}, "data of AWS/Lambda Errors"),
    (metrics, {"metrics_without_data": ("TicketEventsDeadLetter",)}, "data of AWS/SQS"),
]
# Step, dimension of a metric that has data after it.
USES = [
    (tokens, "api-id"),
    (tokens, "GET /api/orders"),
    (tokens, "ListOrders"),
    (key_twice, "POST /api/orders"),
    (key_twice, "CreateOrder"),
    (key_twice, "OrderRelay"),
    (key_twice, "GET /api/orders/{id}"),
    (key_twice, "ShowOrder"),
    (schedule, "DELETE /api/orders/{id}"),
    (schedule, "CancelOrder"),
    (schedule, "PaymentEvents"),
    (bus, "TicketEvents"),
    (expired, "ExpireOrders"),
]
LACKS = [
    (race, {"buyers": 1}, "tokens of several buyers"),
    (expired, {"hold_seconds": 900}, "a hold takes 900 s"),
    (early, {"hold_seconds": 900}, "a hold takes 900 s"),
    (schedule, {"hold_seconds": 900}, "a hold takes 900 s"),
    (schedule, {"hold_seconds": 9}, "a hold takes 9 s"),
    (schedule, {"payment_seconds": 60}, "a started payment has 60 s"),
    (cold_start, {"init_ms": None}, "no cold start"),
    (cold_start, {"logs_reports": False}, "needs PlatformLogLevel INFO"),
    (cold_start, {"emulated": True}, "the emulator has no duration"),
    (deployment, {"emulated": True}, "the emulator has no CodeDeploy"),
]


class Steps(unittest.TestCase):
    def test_each_step_passes_without_faults(self):
        for step in STEPS:
            with self.subTest(step.__name__):
                self.assertTrue(FakeSite().run(step))

    def test_each_fault_makes_its_step_fail(self):
        for step, settings, message in FAULTS:
            with self.subTest(step.__name__, **settings):
                with self.assertRaises(Failed) as caught:
                    FakeSite(**settings).run(step)
                self.assertRegex(str(caught.exception), message)
        self.assertEqual({step for step, _, _ in FAULTS}, set(STEPS))

    def test_step_names_what_the_stack_lacks(self):
        for step, settings, message in LACKS:
            with self.subTest(step.__name__, **settings):
                with self.assertRaises(NotHere) as caught:
                    FakeSite(**settings).run(step)
                self.assertIn(message, str(caught.exception))

    def test_metric_of_a_failure_needs_no_data(self):
        site = FakeSite(metrics_without_data=("TicketVersionGaps",))
        site.run(bus)
        self.assertIn("3 metrics of alarms have data", site.run(metrics))

    def test_metric_needs_data_only_if_the_run_has_used_its_function_or_route(self):
        for step, name in USES:
            with self.subTest(name):
                site = FakeSite(metrics_without_data=(name,))
                site.run(metrics)
                site.run(step)
                with self.assertRaisesRegex(Failed, "data of"):
                    site.run(metrics)

    def test_long_hold_has_a_schedule_without_a_payment(self):
        for hold in (90, 120):
            with self.subTest(hold=hold):
                self.assertIn("one fired", FakeSite(hold_seconds=hold, payment_seconds=0).run(schedule))
                self.assertIn("one fired", FakeSite(hold_seconds=hold).run(schedule))

    def test_late_count_of_early_messages_is_no_failure(self):
        self.assertIn("was not visible in time", FakeSite(keeps_early_messages=False).run(early))

    def test_refused_order_is_repeated_with_its_key(self):
        self.assertIn("49 409", FakeSite(refusals=[503, 429, 503]).run(race))

    def test_order_with_a_lost_reply_counts_as_new(self):
        self.assertIn("one 201, 49 409", FakeSite(lost_replies=[503]).run(race))
        self.assertIn("201, then 200", FakeSite(lost_replies=[503]).run(key_twice))

    def test_repeated_key_gets_200_also_after_a_refusal(self):
        self.assertIn("201, then 200", FakeSite(refused_repeats=[429, 503]).run(key_twice))


class FakeDeployments:
    """Lambda and CodeDeploy: a deployment moves traffic, and stops by an alarm if its version is broken."""

    def __init__(self, shifts=True, outcome=STOPPED, returns=True):
        self.shifts, self.broken_outcome, self.returns = shifts, outcome, returns
        self.alias = {"FunctionVersion": FIRST_VERSION}
        self.first = self.environment = {"ORDERS_TABLE": "orders", "TICKETS_TABLE": "tickets"}
        self.versions, self.outcomes = {FIRST_VERSION: self.environment}, {}

    def get_function_configuration(self, FunctionName):
        return {"Environment": {"Variables": self.environment}}

    def update_function_configuration(self, FunctionName, Environment):
        self.environment = Environment["Variables"]

    def publish_version(self, FunctionName):
        version = str(max(map(int, self.versions)) + 1)
        self.versions[version] = self.environment
        return {"Version": version}

    def delete_function(self, FunctionName, Qualifier):
        assert Qualifier not in json.dumps(self.alias), "the alias uses this version"
        del self.versions[Qualifier]

    def get_alias(self, FunctionName, Name):
        return self.alias

    def update_alias(self, FunctionName, Name, FunctionVersion, RoutingConfig):
        self.alias = {"FunctionVersion": FunctionVersion, "RoutingConfig": RoutingConfig}

    def create_deployment(self, applicationName, deploymentGroupName, revision):
        (resource,) = json.loads(revision["appSpecContent"]["content"])["Resources"]
        properties = resource["ShowOrder"]["Properties"]
        assert properties["CurrentVersion"] == FIRST_VERSION
        version = properties["TargetVersion"]
        if self.shifts:
            self.alias = {**self.alias, "RoutingConfig": {"AdditionalVersionWeights": {version: 0.1}}}
        is_broken = not self.versions[version]["ORDERS_TABLE"]
        self.outcomes[version] = self.broken_outcome if is_broken else RUNNING
        if is_broken and self.broken_outcome == STOPPED and self.returns:
            self.alias = {"FunctionVersion": FIRST_VERSION}
        if is_broken and self.broken_outcome == SUCCEEDED:
            self.alias = {"FunctionVersion": version}
        return {"deploymentId": version}

    def get_deployment(self, deploymentId):
        status, code = self.outcomes[deploymentId]
        error = {"errorInformation": {"code": code}} if code else {}
        return {"deploymentInfo": {"status": status, **error}}

    def stop_deployment(self, deploymentId, autoRollbackEnabled):
        assert autoRollbackEnabled
        self.outcomes[deploymentId] = ("Stopped", None)
        self.alias = {"FunctionVersion": FIRST_VERSION}

    def list_deployments(self, includeOnlyStatuses, **_):
        return {"deployments": [id for id, (status, _) in self.outcomes.items() if status in includeOnlyStatuses]}


class RecordedClient:
    """A client that records the action of each call."""

    def __init__(self, service, fake, actions):
        self.service, self.fake, self.actions = service, fake, actions

    def __getattr__(self, name):
        self.actions.add(f"{self.service}:{camel_case(name)}")
        return getattr(self.fake, name)

    def get_waiter(self, name):
        waiters = botocore.session.get_session().get_waiter_model(self.service)
        self.actions.add(f"{self.service}:{waiters.get_waiter(camel_case(name)).operation}")
        return types.SimpleNamespace(wait=lambda FunctionName: None)


def camel_case(name):
    return name.title().replace("_", "")


class Deployment(unittest.TestCase):
    def run_step(self, interrupted=False, **faults):
        """Runs the step. Returns its result, after the undo."""
        site = FakeSite()
        self.fake = fake = FakeDeployments(**faults)
        if interrupted:
            site.request = lambda *_: site.interrupt()
        self.actions = set()
        clients = {service: RecordedClient(service, fake, self.actions) for service in ("lambda", "codedeploy")}
        site.stack._clients |= clients
        site.stack.outputs["ShowOrderFunctionName"] = "ShowOrder"
        try:
            return site.run(deployment)
        finally:
            with site.clock.installed():
                self.left = site.close()

    def test_deployment_moves_traffic_and_takes_it_back(self):
        self.assertIn("10 % moved", self.run_step())
        self.check_that_nothing_remains()

    def test_each_fault_makes_the_step_fail(self):
        for faults, message in [
            ({"shifts": False}, "a canary with 10 % of the traffic"),
            ({"outcome": SUCCEEDED}, "('Succeeded', None), not ('Stopped', 'ALARM_ACTIVE')"),
            ({"outcome": RUNNING}, "not within 900 s: the end of the broken deployment"),
            ({"outcome": RUNNING, "interrupted": True}, "interrupted"),
            ({"returns": False}, f"all traffic on version {FIRST_VERSION}"),
        ]:
            with self.subTest(**faults):
                with self.assertRaises(Failed) as caught:
                    self.run_step(**faults)
                self.assertIn(message, str(caught.exception))
                self.check_that_nothing_remains()

    def test_every_call_is_a_documented_right(self):
        row = re.search(
            r"^\| `smoke`: alarms and deployments .*", (ROOT / "docs/operations.md").read_text(), re.MULTILINE
        )
        documented = set(re.findall(r"`([\w-]+:\w+)`", row[0]))
        with contextlib.suppress(Failed):
            self.run_step(outcome=SUCCEEDED)
        self.assertIn("lambda:UpdateAlias", self.actions)
        self.assertEqual(self.actions - documented, set())

    def check_that_nothing_remains(self):
        self.assertEqual(self.left, [])
        self.assertEqual((self.fake.environment, list(self.fake.versions)), (self.fake.first, [FIRST_VERSION]))
        self.assertEqual(self.fake.alias["FunctionVersion"], FIRST_VERSION)
        self.assertFalse(self.fake.alias.get("RoutingConfig", {}).get("AdditionalVersionWeights"))


class Command(unittest.TestCase):
    """The frame of the command: results, exit code, undo."""

    def run_main(self, *steps, words=(), left=None):
        """Runs the command with these steps. Returns the exit code and the output."""
        self.site, events = FakeSite(emulated=True), FakeEvents()
        site = self.site
        events.start = lambda site: site.undo("rule", left or (lambda: None))
        named = [smoke.Step(step.__name__, step, "page.html") for step in steps]
        with (
            unittest.mock.patch.object(smoke.Stack, "named", lambda _: site.stack),
            unittest.mock.patch.object(smoke, "Events", lambda _: events),
            unittest.mock.patch.object(smoke, "buyers", lambda *_: site.buyers),
            unittest.mock.patch.multiple(smoke, STEPS=named, LAST_STEPS=[], NAMES=[step.name for step in named]),
        ):
            return quiet(smoke.main, list(words))

    def test_each_result_has_its_line_and_a_failure_its_exit_code(self):
        def passes(site):
            return "found"

        def fails(site):
            raise Failed("a reason")

        def breaks(site):
            return {}["missing"]

        def lacks(site):
            site.needs("a feature")

        self.assertEqual(self.run_main(passes)[0], 0)
        code, printed = self.run_main(passes, fails, breaks, lacks)
        self.assertEqual(code, 1)
        page = "https://docs.aws.amazon.com/page.html"
        for line in (
            f"ok        passes: found  {page}",
            f"FAILED    fails: a reason  {page}",
            f"FAILED    breaks: KeyError: 'missing'  {page}",
            f"not here  lacks: the emulator has no a feature  {page}",
            "1 ok, 1 not here, 2 FAILED",
        ):
            self.assertIn(line, printed.splitlines())
        self.assertEqual(self.run_main(passes, fails, words=("--without", "fails"))[0], 0)
        self.assertEqual(self.run_main(passes, fails, words=("--only", "fails"))[0], 1)

    def test_run_calls_each_queue(self):
        self.run_main()
        self.assertEqual(set(self.site.called_at), {"Expiry", "ExpiryDeadLetter", "TicketEventsDeadLetter"})

    def test_what_remains_is_a_failure(self):
        def remains():
            raise Failed("access denied")

        code, printed = self.run_main(left=remains)
        self.assertEqual(code, 1)
        self.assertIn("FAILED    left behind: rule: access denied", printed)

    def test_undo_runs_in_reverse_and_after_a_failed_undo(self):
        site, done = Site(None, [], None), []
        site.undo("first", done.append, 1)
        site.undo("second", lambda: 1 / 0)
        site.undo("third", done.append, 3)
        self.assertEqual(site.close(), ["second: division by zero"])
        self.assertEqual(done, [3, 1])

    def test_buyers_come_from_tokens_or_the_issuer_or_the_user_pool(self):
        stack = types.SimpleNamespace(emulated=False, outputs={})
        with unittest.mock.patch.dict(os.environ, TOKEN="one two"):
            self.assertEqual([buyer.token for buyer in smoke.buyers(stack, "", None)], ["one", "two"])
        with unittest.mock.patch.dict(os.environ, TOKEN=""), self.assertRaisesRegex(smoke.UserError, "Set TOKEN"):
            smoke.buyers(stack, "", None)


class FakeCognito:
    """A user pool that keeps its users."""

    def __init__(self):
        self.users = {}

    def admin_create_user(self, UserPoolId, Username, MessageAction):
        self.users[Username] = None

    def admin_set_user_password(self, UserPoolId, Username, Password, Permanent):
        self.users[Username] = Password

    def admin_initiate_auth(self, UserPoolId, ClientId, AuthFlow, AuthParameters):
        assert self.users[AuthParameters["USERNAME"]] == AuthParameters["PASSWORD"]
        return {"AuthenticationResult": {"IdToken": jwt("id"), "AccessToken": jwt("access")}}

    def admin_delete_user(self, UserPoolId, Username):
        del self.users[Username]


class Buyers(unittest.TestCase):
    def test_users_of_the_pool_are_deleted(self):
        cognito, site = FakeCognito(), Site(None, [], None)
        stack = types.SimpleNamespace(client=lambda _: cognito, output=lambda name: name)
        buyers = smoke_buyers.UserPool(stack, "smoke-").create(site.undo)
        self.assertEqual((len(buyers), len(cognito.users)), (50, 50))
        self.assertEqual(set(buyers[0].tokens), {"id", "access"})
        self.assertEqual((site.close(), cognito.users), ([], {}))


class Undo(unittest.TestCase):
    def test_order_that_cannot_be_cancelled_is_left_behind(self):
        class Refusing(FakeSite):
            def delete(self, id):
                return 409

        site = Refusing()
        with site.clock.installed():
            site.hold()
            left = site.close()
        self.assertTrue(any("gets 409" in it for it in left), left)


if __name__ == "__main__":
    unittest.main()
