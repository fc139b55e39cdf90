"""Fix: `sqs:SendMessage` permits `SendMessageBatch`.

On AWS the permission to send a message covers batches; no separate action exists (SQS developer guide,
"Amazon SQS API permissions: Actions and resource reference"). The emulator checks `sqs:SendMessageBatch`.
This fix checks `sqs:SendMessage` instead.
"""

from ministack.core import iam_actions


def apply():
    extract = iam_actions.extract_iam_action

    def extract_send(*request):
        action = extract(*request)
        return "sqs:SendMessage" if action == "sqs:SendMessageBatch" else action

    iam_actions.extract_iam_action = extract_send
