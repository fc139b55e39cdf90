"""In AWS, who may send a message may send a batch of them; there is no right of its own for that (SQS
developer guide, "Amazon SQS API permissions: Actions and resource reference"). The emulator asks for one.
This fix has it ask for the right to send a message."""

from ministack.core import iam_actions


def apply():
    extract = iam_actions.extract_iam_action

    def extract_send(*request):
        action = extract(*request)
        return "sqs:SendMessage" if action == "sqs:SendMessageBatch" else action

    iam_actions.extract_iam_action = extract_send
