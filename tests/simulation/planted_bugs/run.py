"""Plants each bug of `bugs.toml` in a copy of the checkout and prints which test catches it.

A bug breaks one promise of docs/promises.md. The simulation runs first, then the unit tests, the API in
process and the store conformance suite; the first test that fails has caught the bug. A bug in the DynamoDB
store goes directly to the conformance suite, because the simulation runs on the store in memory. A bug of
promise 16 goes to the simulation of two releases first.

    make planted-bugs BUGS="name-of-a-bug ..."
    run.py --check      checks that every edit still applies to the code
"""

import os
import pathlib
import re
import subprocess
import sys
import time

import checkout
import edits

FOLDER = pathlib.Path(__file__).resolve().parent
SEEDS = os.environ.get("SEEDS") or "20000"
SIMULATION = ["--test", "simulation", "--", "every_promise"]
RELEASES = ["--test", "releases"]
PROMISE_OF_RELEASES = 16
STORES = ["--test", "store_conformance", "--no-fail-fast", "--", "--skip", "at_endpoint"]
OTHERS = ["--lib", "--test", "api", "--test", "messages", *STORES]


def main(names):
    bugs = edits.load(FOLDER / "bugs.toml")
    if names == ["--check"]:
        return check(bugs)
    unknown = set(names) - set(bugs)
    if unknown:
        sys.exit("unknown bug: " + ", ".join(sorted(unknown)))
    bugs = {name: bugs[name] for name in names or bugs}
    copy = checkout.Copy("planted-bugs")
    print("| bug | promise | caught by | after seeds | seconds |\n|---|---|---|---|---|", flush=True)
    missed = [name for name, bug in bugs.items() if not plant(bug, copy)]
    print(f"\n{len(bugs) - len(missed)} of {len(bugs)} bugs are caught")
    if missed:
        sys.exit("not caught: " + ", ".join(missed))


def check(bugs):
    """Fails if an edit no longer applies."""
    failed = []
    for name, bug in bugs.items():
        try:
            edited(bug, checkout.ROOT)
        except (edits.EditError, OSError) as error:
            failed.append(f"{name}: {error}")
    if failed:
        sys.exit("\n".join(failed))
    print(f"All {len(bugs)} planted bugs apply.")


def edited(bug, folder):
    """Returns the changed files with their broken text."""
    texts = {}
    for edit in bug["edit"]:
        path = folder / edit["file"]
        texts[path] = edits.apply(edit, texts.get(path) or path.read_text())
    return texts


def plant(bug, copy):
    """Plants a bug and prints its row of the table. Returns whether a test catches the bug."""
    broken = edited(bug, copy.folder)
    originals = {path: path.read_text() for path in broken}
    begun = time.monotonic()
    try:
        for path, text in broken.items():
            path.write_text(text)
        caught, seeds = catch(bug, copy)
    finally:
        for path, text in originals.items():
            path.write_text(text)
    seconds = f"{time.monotonic() - begun:.0f}"
    print(f"| {bug['bug']} | {bug['promise']} | {caught or 'NOTHING'} | {seeds} | {seconds} |", flush=True)
    return caught is not None


def catch(bug, copy):
    """Returns the first failing test, and the number of seeds until it failed."""
    if bug["promise"] == PROMISE_OF_RELEASES:
        broken = failed_seed(test(RELEASES, copy))
        if broken:
            return f"releases: {short(broken[2])}", broken[1]
    if all(edit["file"].startswith("shared/dynamo/") for edit in bug["edit"]):
        return failed_test(STORES, copy), ""
    simulated = test(SIMULATION, copy)
    broken = failed_seed(simulated)
    if broken:
        return f"simulation: {short(broken[2])}", broken[1]
    if simulated.returncode != 0:
        return "simulation: a fault or result never occurs", SEEDS
    return failed_test(OTHERS, copy), f"> {SEEDS}"


def failed_seed(outcome):
    """Number of seeds until a simulation failed, and the violation; `None` if no seed failed."""
    return re.search(r"^seed \d+ \(number (\d+)\) fails: (.*)$", outcome.stdout, re.M)


def failed_test(arguments, copy):
    outcome = test(arguments, copy)
    failed = re.findall(r"^test (\S+) \.\.\. FAILED", outcome.stdout, re.M)
    if not failed:
        return None
    return failed[0] + (f" and {len(failed) - 1} more" if failed[1:] else "")


def test(arguments, copy):
    command = ["cargo", "test", "--locked", "--workspace", "--target", checkout.host(), *arguments]
    settings = {"CARGO_TARGET_DIR": str(copy.target), "ORDERS_SIMULATION_SEEDS": SEEDS, "RUST_BACKTRACE": "0"}
    outcome = subprocess.run(
        command, cwd=copy.folder, env=os.environ | settings, text=True, capture_output=True, check=False
    )
    # The second: an edit of the next release no longer applies.
    if re.search("error: (could not compile|failed to run custom build)", outcome.stderr):
        sys.exit(outcome.stderr)
    return outcome


def short(text):
    text = re.sub(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", "..", text.replace("|", "/"))
    return text if len(text) <= 100 else text[:99] + "…"


if __name__ == "__main__":
    main(sys.argv[1:])
