"""Plants each bug of this folder in a copy of the checkout and shows which test catches it.

Each `*.patch` breaks one promise of the service. The simulation is tried first, then the unit tests,
the API in process and the suite of the stores; the first that fails has caught the bug. A bug in the
store on DynamoDB, which the simulation does not run, goes to its suite at once.

    make planted-bugs BUGS="name-of-a-bug ..."
"""

import os
import pathlib
import re
import subprocess
import sys
import time

import checkout

FOLDER = pathlib.Path(__file__).resolve().parent
COPY = checkout.Copy("planted-bugs")
SEEDS = os.environ.get("SEEDS") or "20000"
ENVIRONMENT = os.environ | {
    "CARGO_TARGET_DIR": str(COPY.target),
    "ORDERS_SIMULATION_SEEDS": SEEDS,
    "RUST_BACKTRACE": "0",
}
SIMULATION = ["--test", "simulation", "--", "every_promise"]
STORES = ["--test", "store_conformance", "--no-fail-fast", "--", "--skip", "at_endpoint"]
OTHERS = ["--lib", "--test", "api", "--test", "messages", *STORES]


def main():
    names = sys.argv[1:]
    bugs = sorted(FOLDER.glob("*.patch"))
    bugs = [bug for bug in bugs if not names or bug.stem in names]
    print("| bug | promise | caught by | after seeds | seconds |\n|---|---|---|---|---|", flush=True)
    missed = [bug.stem for bug in bugs if not plant(bug)]
    print(f"\n{len(bugs) - len(missed)} of {len(bugs)} bugs are caught")
    if missed:
        sys.exit("not caught: " + ", ".join(missed))


def plant(bug):
    """Says whether the bug is caught; prints its row."""
    text = bug.read_text()
    what, promise = (re.search(rf"^{word}: (.*)$", text, re.M)[1] for word in ("Bug", "Promise"))
    touched = re.findall(r"^\+\+\+ b/(.*)$", text, re.M)
    begun = time.monotonic()
    run(["patch", "--strip=1", "--fuzz=0", "--silent", "--input", str(bug)], check=True)
    try:
        caught, seeds = catch(touched)
    finally:
        run(["patch", "--strip=1", "--fuzz=0", "--silent", "--reverse", "--input", str(bug)], check=True)
    seconds = f"{time.monotonic() - begun:.0f}"
    print(f"| {what} | {promise} | {caught or 'NOTHING'} | {seeds} | {seconds} |", flush=True)
    return caught is not None


def catch(touched):
    """The test that catches what is planted, and after how many seeds."""
    if all(path.startswith("shared/dynamo/") for path in touched):
        return failed_test(STORES), ""
    simulated = test(SIMULATION)
    broken = re.search(r"^seed \d+ \(the (\d+)th\) breaks it: (.*)$", simulated.stdout, re.M)
    if broken:
        return f"simulation: {short(broken[2])}", broken[1]
    if simulated.returncode != 0:
        return "simulation: it does not cover what it should", SEEDS
    return failed_test(OTHERS), f"> {SEEDS}"


def failed_test(arguments):
    outcome = test(arguments)
    failed = re.findall(r"^test (\S+) \.\.\. FAILED", outcome.stdout, re.M)
    if not failed:
        return None
    return failed[0] + (f" and {len(failed) - 1} more" if failed[1:] else "")


def test(arguments):
    command = ["cargo", "test", "--locked", "--workspace", "--target", checkout.host()]
    outcome = run([*command, *arguments])
    if "error: could not compile" in outcome.stderr:
        sys.exit(outcome.stderr)
    return outcome


def short(text):
    text = re.sub(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", "..", text.replace("|", "/"))
    return text if len(text) <= 100 else text[:99] + "…"


def run(command, check=False):
    return subprocess.run(
        command, cwd=COPY.folder, env=ENVIRONMENT, text=True, capture_output=True, check=check
    )


if __name__ == "__main__":
    main()
