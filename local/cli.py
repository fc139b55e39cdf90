"""Command line of the local stack.

    cli.py run            builds and deploys the service, and keeps the stack running until Ctrl-C
    cli.py exec COMMAND   runs COMMAND with a temporary stack on free ports
    cli.py shop COMMAND   like exec, with the demo shop
    cli.py publish        publishes an event of the ticket service or the payment service (TYPE, DETAIL)
    cli.py consume        runs the example consumer, docs/consumer.py, on a running stack
    cli.py token BUYER... prints a token for each buyer id, or for each JSON object of claims
    cli.py down           stops a running stack
    cli.py clean-state    deletes the data of the stack

Environment variables:

    ORDERS_PORT, ORDERS_ISSUER_PORT, ORDERS_SHOP_PORT   ports of `run`; 0 selects a free port
    ORDERS_STATE        data folder of the stack; default: .state, for exec a temporary folder
    ORDERS_STACK_FILE   file for the description of the stack; default: local/stack.json
    TYPE, DETAIL        type of the event, such as PaymentCreated; its detail, a JSON object
    AUTH                true: the emulator enforces IAM policies, as AWS does; default: true for exec
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import data_folder
import description
import tools
from tools import ROOT, UserError, log

# Events of the other services, with their sources.
EVENTS = {
    "TicketCreated": "tickets",
    "TicketUpdated": "tickets",
    "TicketWithdrawn": "tickets",
    "PaymentStarted": "payments",
    "PaymentCreated": "payments",
    "PaymentRefunded": "payments",
}


def main(arguments):
    command, *rest = arguments or [""]
    commands = {
        "run": run,
        "exec": execute,
        "shop": execute_with_shop,
        "publish": publish,
        "consume": consume,
        "token": token,
        "down": down,
        "clean-state": clean_state,
    }
    if command not in commands:
        raise UserError(__doc__.strip())
    return commands[command](rest) or 0


def run(_):
    _enter_emulator_python()
    import welcome
    from ports import Ports
    from stack import Stack

    ports = Ports.choose(_port("ORDERS_PORT", 4566), _port("ORDERS_ISSUER_PORT", 4567), _port("ORDERS_SHOP_PORT", 4568))
    with Stack(_folder(), ports, _stack_file()) as stack:
        welcome.put_sample_tickets(stack)
        print(welcome.text(_folder(), ports), flush=True)
        stack.emulator.wait()


def execute_with_shop(command):
    return execute(command, shop_port=0)


def execute(command, shop_port=None):
    if not command:
        raise UserError("A command to run is missing.")
    _enter_emulator_python()
    from ports import Ports
    from stack import Stack

    # `exec` runs tests: IAM policies are enforced unless disabled explicitly.
    os.environ.setdefault("AUTH", "true")
    with tempfile.TemporaryDirectory(prefix="orders-stack-") as temporary:
        folder = Path(os.environ.get("ORDERS_STATE", temporary))
        stack_file = Path(os.environ.get("ORDERS_STACK_FILE", folder / "stack.json"))
        environment = {**os.environ, "ORDERS_STATE": str(folder), "ORDERS_STACK_FILE": str(stack_file)}
        with Stack(folder, Ports.choose(0, 0, shop_port), stack_file):
            return subprocess.run(command, check=False, env=environment).returncode


def token(buyers):
    _enter_emulator_python()
    from issuer import Issuer

    buyers = buyers or [os.environ.get("SUB", "")]
    if not all(buyers):
        raise UserError("The buyer id is missing: make -s token SUB=alice")
    issuer = Issuer.of_stack(_folder())
    for buyer in buyers:
        print(issuer.token_for(buyer))


def publish(_):
    kind, text = os.environ.get("TYPE", ""), os.environ.get("DETAIL", "")
    if kind not in EVENTS:
        raise UserError(f"TYPE must be one of {', '.join(EVENTS)}, not {kind or 'missing'}.")
    try:
        detail = json.loads(text)
    except ValueError:
        detail = None
    if not isinstance(detail, dict):
        raise UserError(f"DETAIL must be a JSON object in single quotes, not {text or 'missing'}.")
    stack = description.read(_stack_file())
    _enter_emulator_python()
    from bus import Bus

    Bus(stack["endpointUrl"], stack["busName"]).put(EVENTS[kind], kind, detail)
    print(f"{kind} is on the bus. `make redrive` lists it if the service rejects it.")


def consume(_):
    stack = description.read(_stack_file())
    _enter_emulator_python()
    import aws

    database = Path(stack["stateFolder"]) / "ticket-office.sqlite"
    command = [sys.executable, ROOT / "docs/consumer.py", stack["busName"], database]
    os.execve(sys.executable, command, {**os.environ, **aws.environment(stack["endpointUrl"])})


def down(_):
    log("The stack is stopped." if _stop_processes() else "No stack was running.")


def clean_state(_):
    folder = _folder()
    if not folder.exists():
        log(f"There is no data in {folder}.")
        return
    data_folder.check_removable(folder)
    _stop_processes()
    data_folder.remove(folder)
    log("The data of the stack is deleted.")


def _stop_processes():
    """Stops the stack, and an emulator whose stack was killed. Returns whether any process was stopped."""
    stopped, folder = False, _folder()
    if any(folder.glob("*.pid")):
        _enter_emulator_python()
        import processes

        # The stack first: it stops its emulator.
        for name, group in (("stack", False), ("emulator", True)):
            pid = processes.running(folder, name)
            if pid:
                processes.stop(pid, group)
                stopped = True
            processes.forget(folder, name)
    description.remove(_stack_file(), folder)
    return stopped


def _port(name, default):
    value = os.environ.get(name, str(default))
    if not value.isdecimal() or int(value) > 65535:
        raise UserError(f"{name.removeprefix('ORDERS_')} must be a number from 0 to 65535, not {value}.")
    return int(value)


def _folder():
    return Path(os.environ.get("ORDERS_STATE", ROOT / ".state"))


def _stack_file():
    return Path(os.environ.get("ORDERS_STACK_FILE", ROOT / "local/stack.json"))


def _enter_emulator_python():
    """Restarts this program in the emulator's Python, which has the libraries, unless it runs there."""
    tools.check_machine()
    python = tools.emulator_python()
    if Path(sys.prefix) != python.parent.parent:
        os.execv(python, [python, __file__, *sys.argv[1:]])


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except UserError as error:
        sys.exit(str(error))
    except KeyboardInterrupt:
        sys.exit(0)
