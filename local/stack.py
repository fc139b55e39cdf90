"""The whole service on this machine: builds it, deploys the template into an emulator, keeps it up.

    stack.py run            up until Ctrl-C, with sample tickets and lines to paste
    stack.py exec COMMAND   up for one command, on free ports, with no past and no future
    stack.py shop COMMAND   the same, with the shop
    stack.py token SUB...   a token for each buyer (or with the claims of a JSON object)
    stack.py down           ends a stack that is still up
    stack.py clean-state    forgets its data

Settings, from the environment: ORDERS_PORT, ORDERS_ISSUER_PORT and ORDERS_SHOP_PORT (0: any that is free),
ORDERS_STATE (the folder for the data), ORDERS_STACK_FILE (where to describe the stack), AUTH (true: IAM
policies are enforced, as in AWS; exec always does, run does not unless asked).
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import processes
import tools
from tools import MARKER, ROOT, UserError, log


def main(arguments):
    command, *rest = arguments or [""]
    commands = {
        "run": run, "exec": execute, "shop": execute_with_shop, "token": token, "down": down, "clean-state": clean_state}
    if command not in commands:
        raise UserError(__doc__.strip())
    return commands[command](rest) or 0


def run(_):
    service = _service()
    ports = _port("ORDERS_PORT", 4566), _port("ORDERS_ISSUER_PORT", 4567)
    with service.Stack(_state(), ports, _stack_file(), _port("ORDERS_SHOP_PORT", 4568)) as stack:
        stack.put_sample_tickets()
        print(stack.welcome(), flush=True)
        stack.wait()


def execute_with_shop(command):
    return execute(command, shop_port=0)


def execute(command, shop_port=None):
    if not command:
        raise UserError("There is no command to execute.")
    service = _service()
    # What runs here is a test: every call is checked against the policies of its caller.
    os.environ.setdefault("AUTH", "true")
    with tempfile.TemporaryDirectory(prefix="orders-stack-") as folder:
        state = Path(os.environ.get("ORDERS_STATE", folder))
        stack_file = Path(os.environ.get("ORDERS_STACK_FILE", state / "stack.json"))
        found_by = {"ORDERS_STATE": str(state), "ORDERS_STACK_FILE": str(stack_file)}
        with service.Stack(state, (0, 0), stack_file, shop_port):
            return subprocess.run(command, check=False, env={**os.environ, **found_by}).returncode


def token(subs):
    service = _service()
    subs = subs or [os.environ.get("SUB", "")]
    if not all(subs):
        raise UserError("Say for whom: make token SUB=alice")
    for sub in subs:
        print(service.token(_state(), sub))


def down(_):
    log("The stack is down." if _end_processes() else "No stack was up.")


def clean_state(_):
    state = _state()
    if not state.exists():
        log(f"There is no data in {state}.")
    elif not (state / MARKER).exists():
        raise UserError(f"{state} is no folder of a stack, so nothing was removed.")
    else:
        _end_processes()
        try:
            shutil.rmtree(state)
        except OSError as error:
            raise UserError(f"{error.filename} could not be removed: {error.strerror}.") from None
        log("The stack's data is gone.")


def _port(name, default):
    value = os.environ.get(name, str(default))
    if not value.isdecimal() or int(value) > 65535:
        raise UserError(f"{name.removeprefix('ORDERS_')} must be a number from 0 to 65535, not {value}.")
    return int(value)


def _state():
    return Path(os.environ.get("ORDERS_STATE", ROOT / ".state"))


def _stack_file():
    return Path(os.environ.get("ORDERS_STACK_FILE", ROOT / "local/stack.json"))


def _end_processes():
    """The stack ends its emulator itself; an emulator that has lost its stack is ended here."""
    ended = False
    for name, group in (("stack", False), ("emulator", True)):
        pid = processes.running(_state(), name)
        if pid:
            processes.end(pid, group)
            ended = True
        processes.forget(_state(), name)
    if _is_described():
        _stack_file().unlink()
    return ended


def _is_described():
    """Whether the description that tools find is this stack's."""
    try:
        return json.loads(_stack_file().read_text())["stateFolder"] == str(_state().resolve())
    except (OSError, ValueError, KeyError):
        return False


def _service():
    """The module that needs the emulator's Python; starts this program anew in it, if need be."""
    tools.check_machine()
    python = tools.emulator_python()
    if Path(sys.prefix) != python.parent.parent:
        os.execv(python, [python, __file__, *sys.argv[1:]])
    import service
    return service


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except UserError as error:
        sys.exit(str(error))
    except KeyboardInterrupt:
        sys.exit(0)
