"""Checks the variables of a make command before any target runs: settings.py [NAME...]

The names are the variables of the command line. Runs on a bare Python.
"""

import os
import re
import sys

from tools import ROOT, UserError

FLAGS = ("ACCEPT", "ALL", "FIX", "HISTORY", "REPAIR", "SCAN", "WRITE")
PORTS = ("ISSUER_PORT", "PORT", "SHOP_PORT")
# Smallest value of each number.
NUMBERS = {
    "BUYERS": 1,
    "CASE": 1,
    "CASES": 1,
    "FIRST": 0,
    "HOLD": 1,
    "LAPSE": 0,
    "RUNS": 1,
    "SEED": 0,
    "SEEDS": 1,
    "TICKETS": 1,
}
LARGEST_NUMBER = 2**64 - 1
LARGEST_PORT = 65535


def check(names, values):
    """Raises `UserError` if the Makefile uses no variable of a name, or if a known variable has a wrong value."""
    makefile = (ROOT / "Makefile").read_text()
    for name in names:
        if not re.search(rf"\b{re.escape(name)}\b", makefile):
            raise UserError(f"No make target uses the variable {name}. `make` lists the targets and their variables.")
    # An empty value is an absent one.
    for name, value in values.items():
        if value and (fault := _fault(name, value)):
            raise UserError(f"{name} must be {fault}, not {value}.")


def _fault(name, value):
    if name in FLAGS and value != "1":
        return "1, or left out"
    if name == "AUTH" and value not in ("true", "false"):
        return "true or false"
    if name in PORTS and not _is_number(value, 0, LARGEST_PORT):
        return f"a number from 0 to {LARGEST_PORT}"
    if name in NUMBERS and not _is_number(value, NUMBERS[name], LARGEST_NUMBER):
        return f"a whole number, {NUMBERS[name]} or more"
    if name == "SETTINGS":
        return _one_of(value, ("before", "after"))
    if name == "TARGET":
        return _one_of(value, sorted(path.stem for path in (ROOT / "tests/fuzz/targets").glob("*.rs")))
    if name == "SUITE":
        return _one_of(value, suites())
    return None


def _one_of(value, known):
    return None if set(value.split()) <= set(known) else f"one of {', '.join(known)}"


def suites():
    """Returns the Rust suites that `make test` runs."""
    lists = re.findall(r"^(?:IN_PROCESS|DEPLOYED) := (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    return [suite for names in lists for suite in names.split()]


def _is_number(text, smallest, largest):
    return re.fullmatch(r"[0-9]{1,20}", text) and smallest <= int(text) <= largest


if __name__ == "__main__":
    try:
        check(sys.argv[1:], os.environ)
    except UserError as error:
        sys.exit(str(error))
