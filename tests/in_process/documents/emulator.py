"""Checks docs/emulator.md: each behaviour of AWS has an AWS page and a test or a reason; every test, fault of the
simulation, step of the smoke test and fix of the emulator that the page names exists; every step and fix is named.
docs/operations.md lists the steps."""

import re
import sys

from promises import ROOT, files, test_names

PAGE = ROOT / "docs/emulator.md"
LEAST_ROWS = 30
SOURCE = r"\[[^\]]+\]\(https://docs\.aws\.amazon\.com/[\w./-]+\.html\)"
HEADER = ["behaviour", "source", "emulator", "in process", "smoke"]


def main():
    page = PAGE.read_text()
    code = "\n".join((ROOT / path).read_text() for path in files() if path.suffix in (".py", ".rs"))
    rows = [row for table in tables(page) if table[0] == HEADER for row in table[1:]]
    tests, faults = test_names(code), names(r"^        (\w+) = \"", "tests/simulation/coverage.rs")
    steps = names(r'Step\(\s*"([\w ]+)"', "operations/smoke.py")
    fixes = names(r'^    "(\w+)",$', "local/emulator/launch.py")
    problems = [f"fewer than {LEAST_ROWS} behaviours"] if len(rows) < LEAST_ROWS else []
    for row in rows:
        problems += [f"{row[0]}: {problem}" for problem in row_problems(row, tests, faults, steps)]
    problems += [f"the step {step} is in no row" for step in steps - {row[4] for row in rows}]
    operations = tables((ROOT / "docs/operations.md").read_text())
    described = {row[0] for table in operations if table[0] == ["step", "check"] for row in table[1:]}
    problems += [f"docs/operations.md and smoke.py disagree on the step {step}" for step in steps ^ described]
    listed = {
        name for table in tables(page) if table[0][0] == "fix" for row in table[1:] for name in code_spans(row[0])
    }
    problems += [f"the fix {name} is not both listed and applied" for name in listed ^ fixes]
    if problems:
        sys.exit("\n".join(f"docs/emulator.md: {problem}" for problem in sorted(problems)))
    print(f"{len(rows)} behaviours of AWS, {len(steps)} steps, {len(fixes)} fixes")


def row_problems(row, tests, faults, steps):
    """Yields what is wrong with a row."""
    _, source, emulator, in_process, smoke = row
    if not re.fullmatch(SOURCE, source):
        yield f"{source} is no AWS page"
    if not emulator.startswith("lenient: ") and not code_spans(emulator):
        yield "the emulator has neither a test nor a reason"
    if not code_spans(in_process):
        yield "there is no test in process"
    for name in code_spans(emulator) + code_spans(in_process):
        fault = name.removeprefix("Fault::")
        if fault not in (faults if fault != name else tests):
            yield f"{name} does not exist"
    if smoke != "-" and smoke not in steps:
        yield f"the step {smoke} does not exist"


def tables(page):
    """Yields the rows of each table; a row is the text of its cells."""
    for table in re.findall(r"(?:^\|.*\n)+", page, re.MULTILINE):
        rows = [[cell.strip() for cell in line.strip("| ").split(" | ")] for line in table.splitlines()]
        yield [row for row in rows if not set(row[0]) <= set("-|: ")]


def names(pattern, path):
    return set(re.findall(pattern, (ROOT / path).read_text(), re.MULTILINE))


def code_spans(cell):
    """The names in backticks of a cell; texts with other characters are no names."""
    return re.findall(r"`((?:Fault::)?\w+)`", cell)


if __name__ == "__main__":
    main()
