"""Holds without timers: one run of reconcile expires them, and its metric has their number."""

import base64
import json
import time

from commands import OperationsTest

HOLDS = 50
HOLD_SECONDS = 30


class Reconcile(OperationsTest):
    def test_holds_without_timers_expire_in_one_run(self):
        sqs, queue = self.service.client("sqs"), self.service.outputs["ExpiryQueueUrl"]
        before = self.delayed(sqs, queue)
        held = [self.service.held(HOLD_SECONDS) for _ in range(HOLDS)]
        lapsed_at = time.time() + HOLD_SECONDS
        for order, ticket in held:
            self.addCleanup(self.forget, order, ticket)
        self.service.until("the relay sends a timer for each hold", lambda: self.delayed(sqs, queue) >= before + HOLDS)
        sqs.purge_queue(QueueUrl=queue)
        self.service.until("the timers are deleted", lambda: self.delayed(sqs, queue) == 0)
        time.sleep(max(0, lapsed_at - time.time()) + 2)
        self.assertEqual({self.service.row("Orders", order)["status"] for order, _ in held}, {"awaiting_payment"})

        report, log = self.run_reconcile()
        self.assertGreaterEqual(report["expired"], HOLDS)
        self.assertEqual((report["failed"], report["finished"]), (0, True))
        self.assertIn(f'"ReconciledHolds":{report["expired"] + report["released"] + report["madePermanent"]}', log)
        for order, ticket in held:
            self.assertEqual(self.service.row("Orders", order)["status"], "expired")
            self.assertNotIn("locked_by", self.service.row("Tickets", ticket))
        report, _ = self.run_reconcile()
        self.assertEqual(report["expired"], 0)

    def delayed(self, sqs, queue):
        """The number of timers that wait in the queue."""
        names = ["ApproximateNumberOfMessagesDelayed", "ApproximateNumberOfMessages"]
        attributes = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=names)["Attributes"]
        return sum(map(int, attributes.values()))

    def run_reconcile(self):
        """Runs reconcile for all lapsed holds. Returns its report and the end of its log."""
        response = self.service.client("lambda").invoke(
            FunctionName=f"{self.service.outputs['ReconcileFunctionName']}:live",
            LogType="Tail",
            Payload=json.dumps({"lapsedSeconds": 0}),
        )
        self.assertNotIn("FunctionError", response)
        return json.load(response["Payload"]), base64.b64decode(response.get("LogResult", "")).decode()
