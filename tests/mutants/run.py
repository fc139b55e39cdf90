"""Changes the rules and the use cases in a copy of the checkout, and lists what no test notices.

cargo-mutants replaces one operator, condition or function body at a time, and runs tests:

- of the rules, the domain's own, which takes a second;
- of the store in memory, the suite of the stores;
- of the use cases, all unit tests, the API and the batches in process, and the simulation.

    make mutants MUTANTS="decide"    changes only what matches
"""

import collections
import json
import os
import shutil
import subprocess
import sys

import checkout
import tools

STORE = "shared/domain/src/memory.rs"
SEEDS = os.environ.get("SEEDS") or "2000"
# What is changed, and the arguments of `cargo test`.
PARTS = {
    "rules": (["--package=orders-domain", f"--exclude={STORE}"], ["--lib"]),
    "store": (
        ["--package=orders-domain", f"--file={STORE}"],
        ["--workspace", "--test=store_conformance", "--", "in_memory"],
    ),
    "use-cases": (
        ["--workspace", "--file=functions/*/src/lib.rs"],
        ["--workspace", "--lib", "--test=api", "--test=messages", "--test=simulation"],
    ),
}
LOOKED_AT_ALL = (0, 2, 3)  # cargo-mutants ends with: all are caught, some are missed, some never end
RESULTS = {"CaughtMutant": "caught", "Timeout": "never ends", "Unviable": "does not compile", "MissedMutant": "missed"}


def main():
    copy = checkout.Copy("mutants")
    chosen = [f"--re={pattern}" for pattern in sys.argv[1:]]
    results = {}
    for part, (changed, tests) in PARTS.items():
        found = run(copy, part, [*changed, *chosen], tests)
        if not found and not chosen:
            sys.exit(f"Of the {part} there is nothing to change: have their files moved?")
        results |= found
    show(results)
    missed = [name for name, (_, result) in results.items() if result == "missed"]
    if missed:
        sys.exit("no test notices:\n" + "\n".join(missed))


def run(copy, part, changed, tests):
    """What has become of each mutant: its file and the result."""
    folder = copy.target / part
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    targets, filters = (tests[:tests.index("--")], tests[tests.index("--"):]) if "--" in tests else (tests, [])
    ended = subprocess.run([
        tools.cargo_tool("cargo-mutants"), "mutants", "--in-place", "--no-config", f"--output={folder}",
        "--colors=never", *changed, "--cargo-arg=--locked", f"--cargo-arg=--target={checkout.host()}",
        *(f"--cargo-arg={word}" for word in targets), *(f"--cargo-test-arg={word}" for word in filters),
    ], cwd=copy.folder, env=os.environ | {
        "CARGO_TARGET_DIR": str(copy.target), "ORDERS_SIMULATION_SEEDS": SEEDS,
    }, check=False)
    if ended.returncode not in LOOKED_AT_ALL:
        sys.exit("cargo-mutants did not come to its end; the lines above say why.")
    outcomes = folder / "mutants.out/outcomes.json"  # is not there if there was nothing to do
    _, *mutants = json.loads(outcomes.read_text())["outcomes"] if outcomes.exists() else [None]
    mutants = [(mutant["scenario"]["Mutant"], mutant["summary"]) for mutant in mutants]
    return {mutant["name"]: (mutant["file"], RESULTS[summary]) for mutant, summary in mutants}


def show(results):
    """Prints a row for each file."""
    counts = collections.Counter(results.values())
    columns = list(RESULTS.values())
    print(f"\n| file | mutants | {' | '.join(columns)} |\n|---|{'---|' * (len(columns) + 1)}")
    files = sorted({file for file, _ in results.values()})
    for title, of in [*[(f"`{file}`", [file]) for file in files], ("all", files)]:
        row = [sum(counts[file, column] for file in of) for column in columns]
        print(f"| {title} | {' | '.join(map(str, [sum(row), *row]))} |")


if __name__ == "__main__":
    main()
