"""Description of a running stack for tools: a JSON file, `local/stack.json` by default.

Runs on a bare Python.
"""

import json

import data_folder
from tools import UserError


def write(file, description):
    """Writes the description of a running stack."""
    data_folder.write_atomically(file, json.dumps(description, indent=2) + "\n")


def read(file):
    """Returns the description of the running stack."""
    try:
        return json.loads(file.read_text())
    except FileNotFoundError:
        raise UserError("No stack is running. To start one: make run") from None


def remove(file, folder):
    """Removes the file if it describes the stack with this data folder."""
    try:
        described = json.loads(file.read_text())["stateFolder"]
    except (OSError, ValueError, KeyError, TypeError):
        return
    if described == str(folder.resolve()):
        file.unlink()
