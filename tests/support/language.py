"""Measures the language of the documentation and the size of the code, and fails above a limit.

Limits: 38 vague words and 1 word of speech per 1,000 words, in the pages and in rustdoc; 8 examples in rustdoc;
a record's id in each log line of the relay; no old name in the code or the pages.
"""

import re
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
VAGUE = re.compile(r"\b(what|it|that|which|who|those|one)\b", re.I)
SPEECH = re.compile(r"\b(told|tell|say|said)\b", re.I)
WORD = re.compile(r"[A-Za-z][A-Za-z'’-]*")
VAGUE_LIMIT, SPEECH_LIMIT, EXAMPLES, WORST = 38, 1, 8, 5

# A call on one line, or up to the line that closes it.
LOG_LINE = re.compile(r"^(?! *//)( *)[^\n]*\b(?:error|warn|info|debug|trace)!\((?:[^\n]+|\n.*?\n\1\))", re.M | re.S)
RECORD_ID = re.compile(r"sequence_number|order_id|event_id")

# Names that another has replaced. Letters bound them, so that `bury` is found in `bury_record`.
OLD_NAMES = r"""(Aws)?Outbox(Names|Error)?|bury|buries|buried|Happenings?|see_to_schedule|scheduler_hangs|NotDone
    |LockAgain|OrderRows?|TicketFacts|shown_status|PublishedEvent|[Ll]edger|Bookkeeper|survival|onsale|Backstage
    |Lagging|pry|pester|quick_answers|turns\.py|refusals\.py|words\.js|MAX_READS|rows\.rs|http::answer
    |telemetry::chain|Visibility::hide|Lock::claim|tools\.Refused|def\ssay"""
# These are ordinary English in prose, and names in Rust.
OLD_RUST_NAMES = r"""Claim|Seal|Moved|Repeat|Passing|NotYet|Call|Anything|EventError|Replica|Moving|contention
    |LockChange::Keep|fn\schain|fn\s(of|at)\([^)]*\)\s->\s.*Self"""


def main():
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, text=True, capture_output=True, check=True).stdout
    present = [name for name in listed.splitlines() if (ROOT / name).is_file()]
    texts = {name: (ROOT / name).read_text(errors="ignore") for name in present}
    pages = {name: text for name, text in texts.items() if re.fullmatch(r"([A-Z]+|(docs|tests)/[\w-]+)\.md", name)}
    rust = {name: text for name, text in texts.items() if name.endswith(".rs")}
    product = {name: text for name, text in rust.items() if re.match(r"(shared/(?!testing/)|functions/)", name)}
    tests = {name: text for name, text in rust.items() if name not in product}

    print(f"{'per 1,000 words':<36}{'words':>8}{'vague':>8}{'speech':>8}")
    failures = rated("pages", paragraphs(pages))
    for name, text in pages.items():
        rated(f"  {name}", paragraphs({name: text}))
    failures += rated("rustdoc of shared/ and functions/", paragraphs(rustdoc(product)))
    failures += rated("rustdoc of tests", paragraphs(rustdoc(tests)))
    failures += examples(product) + log_lines(product) + old_names(texts)
    sizes(texts, product)
    if failures:
        sys.exit("\n" + "\n".join(failures))


def paragraphs(texts):
    """Each paragraph, item of a list and row of a table with its place, without code and addresses of links."""
    found = []
    for name, text in texts.items():
        fenced = inside = False
        for number, line in enumerate(text.splitlines(), 1):
            fenced ^= line.lstrip().startswith("```")
            prose = "" if fenced else re.sub(r"```.*|`[^`]*`|\]\([^)]*\)|<[^>]*>", " ", line)
            if inside and prose.strip() and not line.startswith(("|", "- ")):
                found[-1][1] += f" {prose}"
            elif prose.strip():
                found.append([f"{name}:{number}", prose])
            inside = bool(prose.strip())
    return found


def rustdoc(texts):
    """The doc comments of each file, on the line numbers of the file."""
    no_doc = re.compile(r"^(?! *//[/!])[^\n]*|^ *//[/!] ?", re.M)
    return {name: no_doc.sub("", text) for name, text in texts.items()}


def rated(group, parts):
    """Prints the row of the group. Returns its failures, with the paragraphs to rewrite first."""
    words = sum(len(WORD.findall(text)) for _, text in parts)
    failures, row = [], f"{group:<36}{words:>8,}"
    for kind, pattern, limit in (("vague words", VAGUE, VAGUE_LIMIT), ("words of speech", SPEECH, SPEECH_LIMIT)):
        counts = [(len(pattern.findall(text)), place, text) for place, text in parts]
        rate = 1000 * sum(count for count, _, _ in counts) / max(words, 1)
        row += f"{rate:8.1f}"
        if rate > limit:
            failures.append(f"{group}: {rate:.1f} {kind} per 1,000, over the limit of {limit}. Worst paragraphs:")
            worst = [it for it in sorted(counts, key=lambda it: -it[0])[:WORST] if it[0]]
            failures += [f"  {place}: {count} in “{text.strip()[:60]}…”" for count, place, text in worst]
    print(row)
    return failures


def examples(product):
    count = sum(len(re.findall(r"^\s*//[/!] ?```", text, re.M)) // 2 for text in product.values())
    print(f"\n{count:7} fenced examples in rustdoc")
    return [f"rustdoc has {count} fenced examples, fewer than {EXAMPLES}"] if count < EXAMPLES else []


def log_lines(product):
    """The log lines of the relay without a record's id."""
    calls = {}
    for name, text in product.items():
        if name.startswith("functions/order-relay/"):
            for call in LOG_LINE.finditer(production_part(name, text)):
                calls[f"{name}:{text.count(chr(10), 0, call.start()) + 1}"] = call[0]
    failures = [place for place, call in calls.items() if not RECORD_ID.search(call)]
    print(f"{len(calls) - len(failures):7} of {len(calls)} log lines of the relay with a record's id")
    return [f"{place}: log line without sequence_number and order_id" for place in failures]


def old_names(texts):
    anywhere = re.compile(rf"(?<![A-Za-z])({OLD_NAMES})(?![A-Za-z])", re.X)
    in_rust = re.compile(rf"(?<![A-Za-z])({OLD_NAMES}|{OLD_RUST_NAMES})(?![A-Za-z])", re.X)
    places = defaultdict(list)
    for name, text in texts.items():
        searched = re.search(r"(\.(rs|py|js|md|ya?ml|toml|json)|Makefile)$", name)
        for number, line in enumerate(text.splitlines() if searched and name != "tests/support/language.py" else [], 1):
            code = name.endswith(".rs") and not line.lstrip().startswith("//")
            for found in (in_rust if code else anywhere).finditer(line):
                places[found[0], name].append(str(number))
    print(f"{sum(map(len, places.values())):7} uses of old names")
    return [f"{name}: old name {word} in line {', '.join(numbers)}" for (word, name), numbers in places.items()]


def sizes(texts, product):
    """Prints the lines of the product, of its tests and of the tools around it."""
    code, comments = lines(production_part(name, text) for name, text in product.items())
    unit_tests, _ = lines(text.removeprefix(production_part(name, text)) for name, text in product.items())
    print(f"{comments:7} plain comments, {comments / code:.3f} for each line of product code")
    print(f"{code:7,} lines of product code\n{unit_tests:7,} lines of unit tests beside the product code")
    for folder in ("tests", "shared/testing", "local", "operations"):
        count, _ = lines(texts[name] for name in texts if re.match(rf"{folder}/.*\.(rs|py|js|css)$", name))
        print(f"{count:7,} lines in {folder}/, {count / code:.1f} for each line of product code")


def production_part(name, text):
    """The file up to its unit tests; nothing of a file of tests."""
    return "" if re.search(r"/tests(\.rs|/)", name) else text.partition("#[cfg(test)]")[0]


def lines(texts):
    """The number of lines of code, and of those with a plain comment."""
    stripped = [line.strip() for text in texts for line in text.splitlines()]
    comments = sum(bool(re.search(r"(^|\s)// ", line)) for line in stripped)
    return sum(bool(line) and not line.startswith(("//", "#", '"""')) for line in stripped), comments


if __name__ == "__main__":
    main()
