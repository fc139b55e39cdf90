"""Looks that the pages in docs/ name what there is: each test that architecture.md trusts in, and each file
that a page links to."""

import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent.parent
PAGES = [*sorted((ROOT / "docs").glob("*.md")), ROOT / "README.md"]


def main():
    code = [path for folder in ("tests", "shared", "functions", "local") for path in (ROOT / folder).rglob("*")]
    names = {name for path in code if path.suffix in (".rs", ".py")
             for name in re.findall(r"(?:fn|def) (\w+)", path.read_text())}
    trusted = set(re.findall(r"`(\w+_\w+_\w+_\w+)`", (ROOT / "docs/architecture.md").read_text()))
    missing = sorted(trusted - names)
    for page in PAGES:
        links = re.findall(r"\]\((?!http)([^)#]+)", page.read_text())
        missing += [f"{page.name}: {link}" for link in links if not (page.parent / link).exists()]
    if missing:
        sys.exit(f"The pages name what is not there: {', '.join(missing)}")
    print(f"{len(PAGES)} pages, {len(trusted)} tests")


if __name__ == "__main__":
    main()
