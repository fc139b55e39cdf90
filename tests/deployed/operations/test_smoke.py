"""The smoke test on the local stack, with the documented rights; and two planted faults that it must find."""

import json
import os
import subprocess
import sys
import tempfile
import threading
import unittest
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from commands import ROOT, OperationsTest
from scenarios import new_id
from test_questions import rights

RESULTS = {
    "quota": "ok",
    "cold start": "not here",
    "bus": "ok",
    "tokens": "ok",
    "key twice": "ok",
    "race": "ok",
    "expiry": "ok",
    "early message": "ok",
    "schedule": "ok",
    "dead letter": "ok",
    "metrics": "ok",
    "deployment": "not here",
}
SECONDS = 300


class Smoke(OperationsTest):
    def test_every_step_passes_and_planted_faults_are_found(self):
        sqs = self.service.client("sqs")
        unread = sqs.create_queue(QueueName=f"unread-{new_id()}")["QueueUrl"]
        self.addCleanup(sqs.delete_queue, QueueUrl=unread)
        outputs = self.description["outputs"]
        dead_letters = self.dead_letters()
        runs = {
            "all": self.start(**self.operator()),
            "any token": self.start("tokens", apiUrl=self.tolerant_api()),
            "lost early messages": self.start("early message", outputs={**outputs, "ExpiryQueueUrl": unread}),
        }
        results = {name: self.end(run) for name, run in runs.items()}

        code, lines = results["all"]
        printed = "\n".join(lines)
        self.assertEqual(code, 0, printed)
        found = {name: next(line for line in lines if f" {name}: " in line) for name in RESULTS}
        for name, result in RESULTS.items():
            self.assertTrue(found[name].startswith(result), printed)
            self.assertRegex(found[name], r"  https://docs\.aws\.amazon\.com/\S+\.html$")
        self.assertEqual(lines[-1], "10 ok, 2 not here, 0 FAILED")
        self.assertEqual(self.traces(), [])
        self.assertEqual(self.dead_letters(), dead_letters)

        for name, message in (("any token", "no token: 200, not 401"), ("lost early messages", "early messages wait")):
            code, lines = results[name]
            self.assertEqual(code, 1, lines)
            self.assertTrue(any(line.startswith("FAILED") and message in line for line in lines), lines)

    def test_unknown_step_is_named(self):
        self.assertIn("Unknown: sale. Known: quota, ", self.run_command("smoke", "--only", "sale", code=2))

    def start(self, step=None, **changes):
        """Starts the command on a description with these changes."""
        file = Path(self.enterContext(tempfile.TemporaryDirectory())) / "stack.json"
        file.write_text(json.dumps({**self.description, **changes}))
        program = [sys.executable, ROOT / "operations/smoke.py", *(["--only", step] if step else [])]
        environment = {**os.environ, "ORDERS_STACK_FILE": str(file)}
        return subprocess.Popen(program, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=environment)

    def end(self, run):
        """Waits for the end of the command. Returns its exit code and its lines."""
        printed, _ = run.communicate(timeout=SECONDS)
        self.assertNotIn("Traceback", printed)
        return run.returncode, printed.splitlines()

    def operator(self):
        """Creates a user with the documented rights. Returns the keys."""
        iam, user = self.service.client("iam"), f"smoke-{new_id()}"
        iam.create_user(UserName=user)
        self.addCleanup(iam.delete_user, UserName=user)
        key = iam.create_access_key(UserName=user)["AccessKey"]
        self.addCleanup(iam.delete_access_key, UserName=user, AccessKeyId=key["AccessKeyId"])
        actions = [action for command, actions in rights().items() if command.startswith("smoke") for action in actions]
        statement = {"Effect": "Allow", "Action": actions, "Resource": "*"}
        policy = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
        iam.put_user_policy(UserName=user, PolicyName="rights", PolicyDocument=policy)
        self.addCleanup(iam.delete_user_policy, UserName=user, PolicyName="rights")
        return {"accessKeyId": key["AccessKeyId"], "secretAccessKey": key["SecretAccessKey"]}

    def tolerant_api(self):
        """Starts an API that accepts every token. Returns its URL."""

        class Tolerant(BaseHTTPRequestHandler):
            def do_GET(self):
                self.send_response(200)
                self.end_headers()
                self.wfile.write(b"[]")

            def log_message(self, *_):
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Tolerant)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        self.addCleanup(server.server_close)
        self.addCleanup(server.shutdown)
        return f"http://127.0.0.1:{server.server_port}"

    def dead_letters(self):
        """The number of messages in each dead-letter queue, without the relay's: it may still work on other tests."""
        names = [f"{name}DeadLetterQueueUrl" for name in ("TicketEvents", "PaymentEvents", "Expiry")]
        urls = {name: self.description["outputs"][name] for name in names}
        return {name: self.service.waiting_messages(url) for name, url in urls.items()}

    def traces(self):
        """What the command has left: rules, queues, tickets, and orders that stay."""
        client, outputs = self.service.client, self.description["outputs"]
        rules = client("events").list_rules(EventBusName=outputs["EventBusName"], NamePrefix="smoke-")["Rules"]
        queues = client("sqs").list_queues(QueueNamePrefix="smoke-").get("QueueUrls", [])
        starts = {"ExpressionAttributeValues": {":start": {"S": "smoke-"}}}
        tickets = client("dynamodb").scan(
            TableName=outputs["TicketsTableName"], FilterExpression="begins_with(id, :start)", **starts
        )["Items"]
        orders = client("dynamodb").scan(
            TableName=outputs["OrdersTableName"],
            FilterExpression="begins_with(ticket.id, :start) AND attribute_not_exists(forget_at)",
            **starts,
        )["Items"]
        return [*rules, *queues, *tickets, *orders]


if __name__ == "__main__":
    unittest.main()
