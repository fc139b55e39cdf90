"""Checks docs/promises.md against the repository.

Each promise is a section `## N. Title` with a paragraph `Tests:` and a paragraph `Planted bugs:`. The checks:

- every promise number in the repository (`promise 6`, `promises 1 and 2`, `promise = 8`) has a section;
- every promise has a test, and every test exists: a Rust function with `#[test]`, `#[tokio::test]` or in a list of
  tests (`conformance! {...}`), or a Python function `test_...`;
- every planted bug of bugs.toml is listed under its promise, and no other bug is listed.
"""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
PAGE = ROOT / "docs/promises.md"
BUGS = ROOT / "tests/simulation/planted_bugs/bugs.toml"
SUFFIXES = {".js", ".md", ".py", ".rs", ".toml", ".yaml"}

NUMBERS = r"\d+(?:(?:,? (?:and|or|to) |, )\d+)*"
USE = re.compile(rf"\bpromises?[: =]+({NUMBERS})\b", re.IGNORECASE)


def main():
    texts = {path: (ROOT / path).read_text() for path in files()}
    promises = sections(PAGE.read_text())
    code = "\n".join(text for path, text in texts.items() if path.suffix in (".py", ".rs"))
    bugs = tomllib.loads(BUGS.read_text())
    faults = [*unknown_numbers(texts, promises), *test_faults(promises, test_names(code)), *bug_faults(promises, bugs)]
    if faults:
        sys.exit("\n".join(faults))
    print(f"{len(promises)} promises, {len(bugs)} planted bugs")


def files():
    """Every source and documentation file of the repository."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    )
    paths = [Path(line) for line in listed.stdout.splitlines()]
    return [path for path in paths if path.suffix in SUFFIXES and (ROOT / path).is_file()]


def sections(page):
    """The tests and the planted bugs of each promise, by number."""
    _, *parts = re.split(r"^## (\d+)\. .*$", page, flags=re.MULTILINE)
    return {
        int(number): (listed("Tests", text), listed("Planted bugs", text))
        for number, text in zip(parts[::2], parts[1::2], strict=True)
    }


def listed(label, text):
    """The names in backticks of the paragraph with this label."""
    paragraph = re.search(rf"^{label}:(.*?)(?:\n\n|\Z)", text, re.MULTILINE | re.DOTALL)
    return re.findall(r"`([^`]+)`", paragraph[1]) if paragraph else []


def used_numbers(text):
    """The promise numbers in a text. `8 to 11` is a range."""
    for use in USE.finditer(text):
        for first, last in re.findall(r"(\d+)(?: to (\d+))?", use[1]):
            yield from range(int(first), int(last or first) + 1)


def test_names(code):
    """The names of all tests in the code."""
    attribute = r"#\[(?:tokio::)?test(?:\(.*\))?\]\s+(?:#\[[^\]]*\]\s+)*(?:async )?fn (\w+)"
    lists = re.findall(r"^conformance! \{(.*?)^\}", code, re.MULTILINE | re.DOTALL)
    listed_names = {name for text in lists for name in re.findall(r"\w+", text)}
    return {*re.findall(attribute, code), *re.findall(r"\bdef (test_\w+)", code), *listed_names}


def unknown_numbers(texts, promises):
    for path, text in sorted(texts.items()):
        for number in sorted(set(used_numbers(text)) - promises.keys()):
            yield f"{path}: promise {number} is not in docs/promises.md"


def test_faults(promises, known):
    for number, (tests, _) in promises.items():
        if not tests:
            yield f"docs/promises.md: promise {number} has no test"
        for name in tests:
            if name not in known:
                yield f"docs/promises.md: promise {number} names the test {name}, which does not exist"


def bug_faults(promises, bugs):
    for number, (_, names) in promises.items():
        for name in names:
            if name not in bugs:
                yield f"docs/promises.md: promise {number} names the planted bug {name}, which does not exist"
            elif bugs[name]["promise"] != number:
                yield f"docs/promises.md: the planted bug {name} breaks promise {bugs[name]['promise']}, not {number}"
    for name in bugs.keys() - {name for _, names in promises.values() for name in names}:
        yield f"docs/promises.md: the planted bug {name} is not listed"


if __name__ == "__main__":
    main()
