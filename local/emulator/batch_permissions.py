"""In AWS, who may send, delete or hide one message may do so with a batch of them; there is no right of its
own for that (SQS developer guide, "Amazon SQS API permissions: Actions and resource reference"). The
emulator asks for one. This fix has it ask for the right to one message."""

from ministack.core import iam_actions

OF_ONE = {f"sqs:{action}Batch": f"sqs:{action}" for action in ("SendMessage", "DeleteMessage", "ChangeMessageVisibility")}


def apply():
    extract = iam_actions.extract_iam_action

    def extract_of_one(*request):
        action = extract(*request)
        return OF_ONE.get(action, action)

    iam_actions.extract_iam_action = extract_of_one
