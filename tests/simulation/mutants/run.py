"""Mutates the rules and the use cases in a copy of the checkout, and lists the mutants that no test catches.

cargo-mutants replaces one operator, condition or function body at a time, and runs these tests:

- domain and price parser: their own unit tests, which take a second;
- in-memory store: the store conformance suite;
- use cases and commands: all unit tests, the API, the batches and the log lines in process, and the simulation.

    make mutants MUTANTS="decide"    selects mutants by name
"""

import collections
import json
import os
import shutil
import subprocess
import sys

import checkout
import tools

STORE = "shared/testing/src/memory.rs"
SEEDS = os.environ.get("SEEDS") or "2000"
# Mutated code; arguments of `cargo test` for its tests; filter of these tests.
PARTS = {
    "rules": (["--package=orders-domain"], ["--lib"], []),
    "price": (["--package=orders-contracts", "--file=shared/contracts/src/price.rs"], ["--lib"], []),
    "store": (
        ["--package=orders-testing", f"--file={STORE}"],
        ["--workspace", "--test=store_conformance"],
        ["--", "in_memory"],
    ),
    "use-cases": (
        ["--workspace", "--file=functions/*/src/lib.rs", "--file=shared/lambda/src/command.rs"],
        ["--workspace", "--lib", "--test=api", "--test=messages", "--test=log_lines", "--test=simulation"],
        [],
    ),
}
COMPLETED = (0, 2, 3)  # exit codes of cargo-mutants: all caught, some missed, some timed out
RESULTS = {"CaughtMutant": "caught", "Timeout": "never ends", "Unviable": "does not compile", "MissedMutant": "missed"}


def main():
    copy = checkout.Copy("mutants")
    pattern = sys.argv[1] if sys.argv[1:] else ""
    results = {}
    for part in PARTS:
        found = run(copy, part, pattern)
        if not found and not pattern:
            sys.exit(f"no mutant of {part}: have the files moved?")
        results |= found
    show(results)
    uncaught = [name for name, (_, result) in results.items() if result in ("never ends", "missed")]
    if uncaught:
        sys.exit("not caught:\n" + "\n".join(uncaught))


def run(copy, part, pattern):
    """Returns the file and the result of each mutant."""
    changed, built, chosen = PARTS[part]
    folder = copy.target / part
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    ended = subprocess.run(
        [
            tools.cargo_tool("cargo-mutants"),
            "mutants",
            "--in-place",
            "--no-config",
            f"--output={folder}",
            "--colors=never",
            f"--re={pattern}",
            *changed,
            *(f"--cargo-arg={word}" for word in ["--locked", f"--target={checkout.host()}", *built]),
            *(f"--cargo-test-arg={word}" for word in chosen),
        ],
        cwd=copy.folder,
        env=os.environ
        | {
            "CARGO_TARGET_DIR": str(copy.target),
            "ORDERS_SIMULATION_SEEDS": SEEDS,
        },
        check=False,
    )
    if ended.returncode not in COMPLETED:
        sys.exit("cargo-mutants failed, see above")
    outcomes = folder / "mutants.out/outcomes.json"  # missing if there was no mutant
    _, *mutants = json.loads(outcomes.read_text())["outcomes"] if outcomes.exists() else [None]
    mutants = [(mutant["scenario"]["Mutant"], mutant["summary"]) for mutant in mutants]
    return {mutant["name"]: (mutant["file"], RESULTS[summary]) for mutant, summary in mutants}


def show(results):
    """Prints a row per file."""
    counts = collections.Counter(results.values())
    columns = list(RESULTS.values())
    print(f"\n| file | mutants | {' | '.join(columns)} |\n|---|{'---|' * (len(columns) + 1)}")
    files = sorted({file for file, _ in results.values()})
    for title, of in [*[(f"`{file}`", [file]) for file in files], ("all", files)]:
        row = [sum(counts[file, column] for file in of) for column in columns]
        print(f"| {title} | {' | '.join(map(str, [sum(row), *row]))} |")


if __name__ == "__main__":
    main()
