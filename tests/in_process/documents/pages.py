"""Checks the facts of README.md, CONTRIBUTING.md and docs/: links, paths, make targets, test names, planted bugs, log
messages, dashboard widgets, numbers, no gaps to fill in. promises.py checks promises.md; tests/template checks the
runbook's alarms."""

import re
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
LONG_NAME = r"`([a-z\d]+(?:_[a-z\d]+){3,})`"  # a test: four words or more
LINK = r"\]\((?!https?:)([^)#]+)"
GENERATED = {"local/stack.json"}
FOLDERS = ("docs", "functions", "local", "operations", "shared", "tests")

PAGE_SIZE = r"impl PageSize \{.*?MAX: u8 = (\d+);.*?DEFAULT: Self = Self\((\d+)\)"
MAX_REFUNDS = r"MAX_REFUNDS: usize = (\d+)"
HOLDS_PER_BUYER = r"HoldsPerBuyer:.*?Default: (\d+)"
KEEP_UNPAID_DAYS = r'KeepUnpaidDays:.*?Default: "(\d+)"'
RECONCILE_MINUTES = r'ReconcileMinutes:.*?Default: "(\d+)"'
ARCHIVE_DAYS = r'ArchiveDays:.*?Default: "(\d+)"'
BODY_BYTES = r"MAX_BODY_BYTES: usize = (\d+)"
# Page, statement in the page, definition in the code. The groups of both patterns must be equal.
NUMBERS = [
    ("README.md", r"hold \((\d+) seconds by default\)", r"HoldSeconds:.*?Default: (\d+)"),
    ("docs/deployment.md", r"`LatePaymentSeconds` \| (\d+)", r"LatePaymentSeconds:.*?Default: (\d+)"),
    ("docs/deployment.md", r"`PaymentSeconds` \| (\d+)", r"\bPaymentSeconds:.*?Default: (\d+)"),
    ("docs/deployment.md", r"`HoldsPerBuyer` \| (\d+)", HOLDS_PER_BUYER),
    ("docs/api.md", r"at most (\d+) unpaid tickets", HOLDS_PER_BUYER),
    ("docs/openapi.yaml", r"as the stack allows, (\d+) by default", HOLDS_PER_BUYER),
    ("docs/architecture.md", r"`HoldsPerBuyer` \((\d+)\)", HOLDS_PER_BUYER),
    ("docs/architecture.md", r"`PaymentSeconds` \((\d+)\)", r"\bPaymentSeconds:.*?Default: (\d+)"),
    ("docs/deployment.md", r"`KeepUnpaidDays` \| (\d+)", KEEP_UNPAID_DAYS),
    ("docs/deployment.md", r"`ReconcileMinutes` \| (\d+)", RECONCILE_MINUTES),
    ("docs/deployment.md", r"`ArchiveDays` \| (\d+)", ARCHIVE_DAYS),
    ("docs/architecture.md", r"`KeepUnpaidDays` \((\d+)\)", KEEP_UNPAID_DAYS),
    ("docs/architecture.md", r"`ReconcileMinutes` \((\d+)\)", RECONCILE_MINUTES),
    ("docs/architecture.md", r"lapsed more than (\d+) minutes", r"GRACE: Duration = Duration::from_mins\((\d+)\)"),
    ("docs/architecture.md", r"`ArchiveDays` \((\d+)\)", ARCHIVE_DAYS),
    ("docs/runbook.md", r"`KeepUnpaidDays` \((\d+)\)", KEEP_UNPAID_DAYS),
    ("docs/runbook.md", r"lapsed more than (\d+) minutes", r"GRACE: Duration = Duration::from_mins\((\d+)\)"),
    ("docs/runbook.md", r"for `ArchiveDays` \((\d+)\)", ARCHIVE_DAYS),
    ("docs/costs.md", r"a run every (\d+) minutes", RECONCILE_MINUTES),
    ("docs/api.md", r"`limit` is 1 to (\d+), default (\d+)", PAGE_SIZE),
    ("docs/openapi.yaml", r"minimum: 1, maximum: (\d+), default: (\d+)", PAGE_SIZE),
    ("docs/openapi.yaml", r"At most (\d+) bytes", BODY_BYTES),
    ("docs/openapi.yaml", r"maxItems: (\d+) items: \{ \$ref: '#/components/schemas/Refund'", MAX_REFUNDS),
    ("docs/order-events.schema.json", r'"maxItems": (\d+)', MAX_REFUNDS),
    ("docs/architecture.md", r"stores at most (\d+) refunds", MAX_REFUNDS),
    ("docs/architecture.md", r"`LatePaymentSeconds` \((\d+)\)", r"LatePaymentSeconds:.*?Default: (\d+)"),
    ("docs/architecture.md", r"OR schema <= (\d+)", r"const SCHEMA: u64 = (\d+)"),
    ("docs/architecture.md", r"bodies of at most (\d+) bytes", BODY_BYTES),
    ("docs/architecture.md", r"reads again, at most (\d+) times", r"MAX_ATTEMPTS: u32 = (\d+)"),
    (
        "docs/architecture.md",
        r"In the first (\d+) ms after the end",
        r"CROWD: Duration = Duration::from_millis\((\d+)\)",
    ),
    ("docs/capacity.md", r"`OrdersBurst` \| 200 \| (\d+)", r"OrdersPerSecond:.*?Default: (\d+)"),
    ("docs/capacity.md", r"`QueueConcurrency` \| 10 \| (\d+)", r"QueueConcurrency:.*?Default: (\d+)"),
    ("docs/capacity.md", r"`ParallelizationFactor` \| 1 \| (\d+)", r"ParallelizationFactor: (\d+)"),
    ("docs/architecture.md", r"random time of up to (\d+) ms", r"FIRST_BACKOFF: .*?from_millis\((\d+)\)"),
    ("docs/architecture.md", r"each attempt, at most (\d+) ms", r"LONGEST_BACKOFF: .*?from_millis\((\d+)\)"),
    (
        "docs/architecture.md",
        r"at least (\d+) s after it was sent",
        r"AGE_BEFORE_GAP: Duration = Duration::from_secs\((\d+)\)",
    ),
    ("docs/architecture.md", r"message waits (\d+) s, doubled", r"FIRST_WAIT: Duration = Duration::from_secs\((\d+)\)"),
    ("docs/architecture.md", r"`maxReceiveCount` \((\d+)\)", r"maxReceiveCount: (\d+)"),
    ("docs/architecture.md", r"a function runs for at most (\d+) seconds", r" Timeout: (\d+)"),
    ("docs/runbook.md", r"exceeded its (\d+) s timeout", r" Timeout: (\d+)"),
    ("docs/runbook.md", r"10 batches of (\d+) per shard", r"StartingPosition: TRIM_HORIZON BatchSize: (\d+)"),
    ("docs/verification.md", r"runs the first (\d+) seeds", r"const SEEDS: u64 = (\d{5,})"),
    ("docs/verification.md", r"\| wide \|.*?(\d+) \| \| deep", r"\(WIDE\), (\d+)"),
    ("docs/verification.md", r"\| deep \|.*?(\d+) \| \| shared", r"\(DEEP\), (\d+)"),
    ("docs/verification.md", r"\| shared \|.*?(\d+) \| \| refunded", r"\(SHARED\), (\d+)"),
    ("docs/verification.md", r"\| refunded \|.*?(\d+) \| \| limited", r"\(REFUNDED\), (\d+)"),
    ("docs/verification.md", r"\| limited \|.*?(\d+) \| \| forgotten", r"\(LIMITED\), (\d+)"),
    ("docs/verification.md", r"\| forgotten \|.*?(\d+) \| The tests", r"\(FORGOTTEN\), (\d+)"),
    ("docs/verification.md", r"and (\d+) mutations per target", r"const MUTATIONS: usize = (\d+)"),
]
# Marks of a figure that is still to be measured.
GAPS = r"\(FIGURES\)|\| \? \|"
# The longest hold without a schedule: SCHEDULE_LEAD and SCHEDULE_MARGIN.
DIRECT = [
    ("README.md", r"hold under (\d+) s"),
    ("docs/architecture.md", r"less than (\d+) s left"),
    ("docs/costs.md", r"hold of (\d+) s or more"),
    ("docs/runbook.md", r"holds of (\d+) s and more"),
]


def main():
    pages = read("*.md", "docs/*.md", "docs/*.yaml", "tests/README.md")
    code = read(*(f"{folder}/**/*.{suffix}" for folder in FOLDERS for suffix in ("py", "rs")))
    product = [text for path, text in code.items() if path.relative_to(ROOT).parts[0] in ("functions", "shared")]
    sources = one_line("\n".join([*product, (ROOT / "template.yaml").read_text()]))
    functions = {name for text in code.values() for name in re.findall(r"\b(?:fn|def) (\w+)", text)}
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    faults = [*number_faults(sources + one_line("\n".join(code.values()))), *name_faults(sources)]
    for page, text in pages.items():
        missing = [
            *(f"link {link}" for link in re.findall(LINK, text) if not (page.parent / link).exists()),
            *(f"path {path}" for path in paths(text) if not any(ROOT.glob(path))),
            *(f"make {name}" for name in make_targets(text) if name not in targets),
            *(f"test {name}" for name in re.findall(LONG_NAME, text) if name not in functions),
        ]
        faults += [f"{page.relative_to(ROOT)}: {name} does not exist" for name in sorted(set(missing))]
        faults += [f"{page.relative_to(ROOT)}: {gap} is still to be filled in" for gap in re.findall(GAPS, text)]
    if faults:
        sys.exit("\n".join(faults))
    print(f"{len(pages)} pages, {len(NUMBERS) + len(DIRECT)} numbers")


def read(*patterns):
    """The text of each file, by its path."""
    return {path: path.read_text() for pattern in patterns for path in sorted(ROOT.glob(pattern))}


def one_line(text):
    """The text with single spaces, and numbers without separators: wrapping and spelling do not matter."""
    return re.sub(r"(?<=\d)[_,](?=\d{3})", "", " ".join(text.split()))


def paths(text):
    """The repository paths named in the text, with or without backticks, also glob patterns."""
    found = re.findall(rf"(?<![\w/.{{-])(?:\.\./)?((?:{'|'.join(FOLDERS)})/[\w.*/-]*\w)", text)
    return set(found) - GENERATED


def make_targets(text):
    """The targets of `make` commands in code spans and fences."""
    code = "\n".join(re.findall(r"```.*?```|`[^`]+`", text, re.DOTALL))
    return re.findall(r"\bmake (?:-s )?([a-z][a-z-]*)", code)


def number_faults(sources):
    (minutes,), (seconds,) = groups(r"SCHEDULE_LEAD: .*?(\d+)", sources), groups(r"SCHEDULE_MARGIN: .*?(\d+)", sources)
    direct = (str(60 * int(minutes) + int(seconds)),)
    wanted = [(page, statement, groups(definition, sources)) for page, statement, definition in NUMBERS]
    for page, statement, expected in [*wanted, *((page, statement, direct) for page, statement in DIRECT)]:
        stated = groups(statement, one_line((ROOT / page).read_text()))
        if not stated or stated != expected:
            yield f"{page}: {statement} is {stated}, in the code {expected}"


def groups(pattern, text):
    found = re.search(pattern, text)
    return found and found.groups()


def name_faults(sources):
    """Log messages, log fields and dashboard widgets of the runbook, planted bugs of verification.md."""
    runbook, verification = ((ROOT / "docs" / name).read_text() for name in ("runbook.md", "verification.md"))
    messages = re.findall(r"^\| `(.+?)` \| (?:INFO|WARN|ERROR) \|", runbook, re.MULTILINE)
    widgets = re.findall(r'(?:with|widget) "([^"]+)"', one_line(runbook))
    bugs = re.findall(r"^\| `([a-z]+(?:-[a-z]+)+)` \|", verification, re.MULTILINE)
    planted = tomllib.loads((ROOT / "tests/simulation/planted_bugs/bugs.toml").read_text())
    fields = re.findall(r"\b(?:fields|span)\.(\w+)", runbook)
    yield from (f"docs/runbook.md: log message {name} does not exist" for name in messages if name not in sources)
    yield from (f"docs/runbook.md: log field {name} does not exist" for name in fields if name not in sources)
    yield from (f"docs/runbook.md: widget {name} does not exist" for name in widgets if name not in sources)
    yield from (f"docs/verification.md: planted bug {name} does not exist" for name in bugs if name not in planted)


if __name__ == "__main__":
    main()
