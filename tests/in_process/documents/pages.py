"""Checks the facts of README.md, CONTRIBUTING.md and docs/ against the repository: links, paths, make targets,
test names, planted bugs, log messages, dashboard widgets, and numbers stated in prose.

docs/promises.md has its own check, promises.py; tests/template checks the alarms of the runbook.
"""

import re
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
GENERATED = {"local/stack.json"}
FOLDERS = ("docs", "functions", "local", "operations", "shared", "tests")

# Page, statement in the page, definition in the code. The groups of both patterns must be equal.
NUMBERS = [
    ("README.md", r"hold \((\d+) seconds by default\)", r"HoldSeconds:.*?Default: (\d+)"),
    ("README.md", r"`limit` is 1 to (\d+), default (\d+)", r"MAX: u8 = (\d+);.*?DEFAULT: Self = Self\((\d+)\)"),
    ("docs/openapi.yaml", r"minimum: 1, maximum: (\d+), default: (\d+)", r"MAX: u8 = (\d+);.*?DEFAULT: Self = Self\((\d+)\)"),
    ("docs/openapi.yaml", r"At most (\d+) bytes", r"MAX_BODY_BYTES: usize = (\d+)"),
    ("docs/architecture.md", r"bodies of at most (\d+) bytes", r"MAX_BODY_BYTES: usize = (\d+)"),
    ("docs/architecture.md", r"reads again, at most (\d+) times", r"MAX_ATTEMPTS: usize = (\d+)"),
    ("docs/architecture.md", r"random time of up to (\d+) ms", r"LONGEST_PAUSE: Duration = Duration::from_millis\((\d+)\)"),
    ("docs/architecture.md", r"retried twice, (\d+) s apart", r"WAIT_FOR_GAP: Duration = Duration::from_secs\((\d+)\)"),
    ("docs/architecture.md", r"a function runs for at most (\d+) seconds", r" Timeout: (\d+)"),
    ("docs/runbook.md", r"exceeded its (\d+) s timeout", r" Timeout: (\d+)"),
    ("docs/runbook.md", r"not applied in (\d+) receives", r"maxReceiveCount: (\d+)"),
    ("docs/runbook.md", r"and has (\d+) receives", r"maxReceiveCount: (\d+)"),
    ("docs/runbook.md", r"one batch of (\d+) per shard", r"StartingPosition: TRIM_HORIZON BatchSize: (\d+)"),
]
LEAD = r"SCHEDULE_LEAD: Duration = Duration::from_mins\((\d+)\)"
MARGIN = r"SCHEDULE_MARGIN: Duration = Duration::from_secs\((\d+)\)"
DIRECT = [
    ("README.md", r"hold under (\d+) s"), ("docs/architecture.md", r"less than (\d+) s left"),
    ("docs/costs.md", r"hold of (\d+) s or more"), ("docs/runbook.md", r"holds of (\d+) s and more")]


def main():
    pages = {path: path.read_text() for path in [*sorted(ROOT.glob("*.md")), *sorted(ROOT.glob("docs/*.*"))]
             if path.suffix in (".md", ".yaml")}
    code = {path: path.read_text() for folder in FOLDERS for path in (ROOT / folder).rglob("*")
            if path.suffix in (".rs", ".py") and path.is_file()}
    product = [text for path, text in code.items() if path.relative_to(ROOT).parts[0] in ("functions", "shared")]
    sources = one_line("\n".join([*product, (ROOT / "template.yaml").read_text()]))
    functions = {name for text in code.values() for name in re.findall(r"\b(?:fn|def) (\w+)", text)}
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    faults = [*number_faults(sources), *runbook_faults(sources), *bug_faults()]
    for page, text in pages.items():
        missing = [
            *(f"link {link}" for link in re.findall(r"\]\((?!https?:)([^)#]+)", text) if not (page.parent / link).exists()),
            *(f"path {path}" for path in paths(text) if not any(ROOT.glob(path))),
            *(f"make {name}" for name in make_targets(text) if name not in targets),
            *(f"test {name}" for name in re.findall(r"`([a-z\d]+(?:_[a-z\d]+){3,})`", text) if name not in functions)]
        faults += [f"{page.relative_to(ROOT)}: {name} does not exist" for name in sorted(set(missing))]
    if faults:
        sys.exit("\n".join(faults))
    print(f"{len(pages)} pages, {len(NUMBERS) + len(DIRECT)} numbers")


def one_line(text):
    """The text with single spaces, and numbers without `_`, so that wrapping does not matter."""
    return re.sub(r"(?<=\d)_(?=\d)", "", " ".join(text.split()))


def paths(text):
    """The repository paths named in the text, with or without backticks, also glob patterns."""
    found = re.findall(rf"(?<![\w/.{{-])(?:\.\./)?((?:{'|'.join(FOLDERS)})/[\w.*/-]*\w)", text)
    return set(found) - GENERATED


def make_targets(text):
    """The targets of `make` commands in code spans and fences."""
    code = "\n".join(re.findall(r"```.*?```|`[^`]+`", text, re.DOTALL))
    return re.findall(r"\bmake (?:-s )?([a-z][a-z-]*)", code)


def number_faults(sources):
    minutes, seconds = (re.search(pattern, sources) for pattern in (LEAD, MARGIN))
    direct = (str(60 * int(minutes[1]) + int(seconds[1])),)
    expected = [(page, statement, re.search(definition, sources)) for page, statement, definition in NUMBERS]
    expected = [(page, statement, found.groups() if found else None) for page, statement, found in expected]
    for page, statement, wanted in [*expected, *((page, statement, direct) for page, statement in DIRECT)]:
        stated = re.search(statement, one_line((ROOT / page).read_text()))
        if not stated or stated.groups() != wanted:
            yield f"{page}: {statement} is {stated and stated.groups()}, in the code {wanted}"


def runbook_faults(sources):
    """Log messages of the table, and widgets of the dashboard."""
    text = (ROOT / "docs/runbook.md").read_text()
    for message in re.findall(r"^\| `(.+?)` \| (?:WARN|ERROR) \|", text, re.MULTILINE):
        if message not in sources:
            yield f"docs/runbook.md: no log line has the message {message}"
    for title in re.findall(r'(?:with|widget) "([^"]+)"', one_line(text)):
        if title not in sources:
            yield f"docs/runbook.md: the dashboard has no widget {title}"


def bug_faults():
    bugs = tomllib.loads((ROOT / "tests/simulation/planted_bugs/bugs.toml").read_text())
    for name in re.findall(r"^\| `([a-z]+(?:-[a-z]+)+)` \|", (ROOT / "docs/verification.md").read_text(), re.MULTILINE):
        if name not in bugs:
            yield f"docs/verification.md: planted bug {name} does not exist"


if __name__ == "__main__":
    main()
