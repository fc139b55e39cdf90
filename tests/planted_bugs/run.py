"""Plants each bug of this folder in a copy of the checkout and shows which test catches it.

Each `*.patch` breaks one promise of the service. The simulation is tried first, then the unit tests,
the API in process and the suite of the stores; the first that fails has caught the bug. A bug in the
store on DynamoDB, which the simulation does not run, goes to its suite at once.

    python3 tests/planted_bugs/run.py [name of a bug ...]
"""

import os
import pathlib
import re
import shutil
import subprocess
import sys
import time

FOLDER = pathlib.Path(__file__).resolve().parent
ROOT = FOLDER.parent.parent
COPY = ROOT / "target" / "planted-bugs"
TARGET = COPY / "target"
SEEDS = os.environ.get("SEEDS") or "20000"
ENVIRONMENT = os.environ | {
    # Not the checkout's: cargo could not tell a build of one from a build of the other.
    "CARGO_TARGET_DIR": str(TARGET),
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
    copy_checkout()
    copy_dependencies()
    print("| bug | promise | caught by | after seeds | seconds |\n|---|---|---|---|---|", flush=True)
    missed = [bug.stem for bug in bugs if not plant(bug)]
    print(f"\n{len(bugs) - len(missed)} of {len(bugs)} bugs are caught")
    if missed:
        sys.exit("not caught: " + ", ".join(missed))


def copy_checkout():
    """Copies what has changed, so that the rest need not be built again."""
    listed = run(["git", "ls-files", "-co", "--exclude-standard", "-z"], ROOT).stdout
    wanted = {name for name in listed.split("\0") if name and (ROOT / name).is_file()}
    for name in wanted:
        source, target = ROOT / name, COPY / name
        if not target.is_file() or source.read_bytes() != target.read_bytes():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, target)
    for path in [path for path in COPY.rglob("*") if path.is_file()]:
        name = path.relative_to(COPY)
        if name.parts[0] != TARGET.name and str(name) not in wanted:
            path.unlink()


def copy_dependencies():
    """Copies what is built of the dependencies, once. Of the copy itself, all is newer and so is built."""
    for part in ("debug", f"{host()}/debug"):
        for folder in (".fingerprint", "build", "deps"):
            source, target = ROOT / "target" / part / folder, TARGET / part / folder
            if source.is_dir() and not target.is_dir():
                shutil.copytree(source, target, symlinks=True)


def plant(bug):
    """Says whether the bug is caught; prints its row."""
    text = bug.read_text()
    what, promise = (re.search(rf"^{word}: (.*)$", text, re.M)[1] for word in ("Bug", "Promise"))
    touched = re.findall(r"^\+\+\+ b/(.*)$", text, re.M)
    begun = time.monotonic()
    run(["patch", "--strip=1", "--silent", "--input", str(bug)], COPY, check=True)
    try:
        caught, seeds = catch(touched)
    finally:
        run(["patch", "--strip=1", "--silent", "--reverse", "--input", str(bug)], COPY, check=True)
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
    command = ["cargo", "test", "--locked", "--workspace", "--target", host()]
    outcome = run([*command, *arguments], COPY)
    if "error: could not compile" in outcome.stderr:
        sys.exit(outcome.stderr)
    return outcome


def host():
    return re.search(r"^host: (.*)$", run(["rustc", "-vV"], ROOT).stdout, re.M)[1]


def short(text):
    text = re.sub(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", "..", text.replace("|", "/"))
    return text if len(text) <= 100 else text[:99] + "…"


def run(command, folder, check=False):
    return subprocess.run(
        command, cwd=folder, env=ENVIRONMENT, text=True, capture_output=True, check=check
    )


if __name__ == "__main__":
    main()
