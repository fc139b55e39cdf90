"""Runs each row of "Questions and commands" in docs/operations.md.

Each command runs as an IAM user with the rights of the same page and no others.
"""

import json
import os
import re
import subprocess

from commands import BUYER, ROOT, OperationsTest
from scenarios import new_id, now_ms

PAGE = (ROOT / "docs/operations.md").read_text()
# A part of the output of each command, by its start. The longest start that fits counts.
ANSWERS = {
    "make orders ORDER=$ORDER": "status awaiting_payment, version 0",
    "make orders TICKET=$TICKET": "held by order $ORDER",
    "make orders TICKET=$TICKET SCAN=1": "order $ORDER",
    "make orders PAYMENT=$PAYMENT": "paid by $PAYMENT: bought",
    "make orders BUYER=$BUYER": "occupied slots",
    "make orders ORDER=$ORDER HISTORY=1": "version 0 awaiting_payment",
    "make release-order": "The order is cancelled",
    "make pay": "The order is paid",
    "make redrive": "PaymentEvents: ",
    "make redrive QUEUES": "moved back, 0 kept",
    "make audit": "0 disagreements",
    "make audit REPAIR=1 ALL=1": "repairs would be made",
    "make audit REPAIR=1 WRITE=1": "repairs made",
    "make retell": "states accepted by the relay",
    "make erase": "orders erased",
    "make roles": "CreateOrderRole",
}


def section(title):
    """The rows of the table in a section of the page: the text of each cell."""
    text = PAGE.split(f"## {title}\n")[1].split("\n## ")[0]
    rows = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("| ")]
    return rows[1:]


def rights():
    """The documented rights, by command."""
    return {row[0].strip("`"): re.findall(r"`([\w-]+:\w+)`", " ".join(row[1:])) for row in section("Rights")}


class Questions(OperationsTest):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.iam, cls.user = cls.service.client("iam"), f"operator-{new_id()}"
        cls.iam.create_user(UserName=cls.user)
        cls.addClassCleanup(cls.iam.delete_user, UserName=cls.user)
        cls.key = cls.iam.create_access_key(UserName=cls.user)["AccessKey"]
        cls.addClassCleanup(cls.iam.delete_access_key, UserName=cls.user, AccessKeyId=cls.key["AccessKeyId"])
        cls.permit([])
        cls.addClassCleanup(cls.iam.delete_user_policy, UserName=cls.user, PolicyName="rights")
        # Other tests leave records that this release cannot read.
        for output, url in cls.service.outputs.items():
            if output.endswith("DeadLetterQueueUrl"):
                cls.service.client("sqs").purge_queue(QueueUrl=url)

    @classmethod
    def permit(cls, actions):
        """Gives the operator these rights, and no others."""
        statement = {"Effect": "Allow", "Action": ["cloudformation:DescribeStacks", *actions], "Resource": "*"}
        policy = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
        cls.iam.put_user_policy(UserName=cls.user, PolicyName="rights", PolicyDocument=policy)

    def ids(self, command):
        """The ids for a command: of a held order, or of a paid order and its payment."""
        order, ticket = self.service.held()
        payment, buyer = new_id(), BUYER
        if "PAYMENT" in command:
            self.service.tell_payment(order, payment)
            self.service.until("the payment", lambda: self.service.row("Orders", order)["status"] == "paid")
        if "erase" in command:
            buyer = f"buyer-{new_id()}"
            self.service.order(order, ticket, now_ms(), status="cancelled", version=1)
            self.service.change("Orders", order, user_id=buyer)
            self.service.forget("Tickets", ticket)
        return {"ORDER": order, "TICKET": ticket, "PAYMENT": payment, "BUYER": buyer}

    def account(self):
        """The environment of the operator."""
        return {
            "AWS_ENDPOINT_URL": self.description["endpointUrl"],
            "AWS_DEFAULT_REGION": self.description["region"],
            "AWS_ACCESS_KEY_ID": self.key["AccessKeyId"],
            "AWS_SECRET_ACCESS_KEY": self.key["SecretAccessKey"],
        }

    def answer(self, command, ids):
        """Runs a command in a shell with these variables. Returns its output."""
        variables = "".join(f"{name}='{value}'\n" for name, value in ids.items())
        done = subprocess.run(
            ["bash", "-c", variables + command.replace("make ", "make --silent ", 1)],
            cwd=ROOT,
            env={**os.environ, **self.account(), "AWS_STACK": self.description["stackName"]},
            text=True,
            capture_output=True,
            check=False,
            timeout=120,
        )
        self.assertEqual(done.returncode, 0, f"{command}\n{done.stdout}{done.stderr}")
        return done.stdout

    def test_each_question_has_its_answer(self):
        permitted = rights()
        answered = set()
        for question, cell in section("Questions and commands"):
            command = cell.strip("`")
            name = max((name for name in ANSWERS if command.startswith(name)), key=len)
            answered.add(name)
            with self.subTest(question, command=command):
                self.permit(permitted.get(command.split()[1], []))
                ids = self.ids(command)
                expected = ANSWERS[name]
                for variable, id in ids.items():
                    expected = expected.replace(f"${variable}", id)
                self.assertIn(expected, self.answer(command, ids))
        self.assertEqual(answered, set(ANSWERS), "a question is missing in docs/operations.md")

    def test_missing_right_is_named(self):
        self.permit(["dynamodb:GetItem"])
        text = self.run_command("audit", "--stack", self.description["stackName"], code=2, **self.account())
        self.assertIn("not authorized to perform: dynamodb:Scan", text)
        self.assertIn("The needed rights are in docs/operations.md", text)
