"""Changes the rules and the use cases in a copy of the checkout, and lists what no test notices.

cargo-mutants replaces one operator, condition or function body at a time. A change of the domain
meets the domain's own tests first, which takes a second. What survives them, and every change of a
use case, meets all unit tests, the API and the batches in process, and the simulation; the domain's
also the suite of the stores, of which it has the one in memory.

    make mutants
    make mutants MUTANTS="decide"    only those that match
"""

import collections
import json
import os
import shutil
import subprocess
import sys

import checkout
import tools

CONFIG = "tests/mutants/mutants.toml"
SEEDS = os.environ.get("SEEDS") or "2000"
EVERYTHING = [f"--cargo-arg={word}" for word in (
    "--workspace", "--lib", "--test=api", "--test=messages", "--test=simulation",
)]
# Of the suite just the store in memory: the others are no part of what is changed.
STORES = ["--cargo-arg=--test=store_conformance", *(f"--cargo-test-arg={word}" for word in (
    "--", "--skip=at_endpoint", "--skip=in_process", "--skip=faults", "--skip=histories",
))]
RESULTS = {"CaughtMutant": "caught", "Timeout": "never ends", "Unviable": "does not compile", "MissedMutant": "missed"}


def main():
    copy = checkout.Copy("mutants")
    chosen = [f"--re={pattern}" for pattern in sys.argv[1:]]
    domain, use_cases = (copy.target / name for name in ("domain", "use-cases"))
    for folder in (domain, use_cases):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
    results = (
        run(copy, domain, ["--file=shared/domain/src/**/*.rs", "--cargo-arg=--lib", *chosen])
        | run(copy, domain, ["--file=shared/domain/src/**/*.rs", "--iterate", *EVERYTHING, *STORES, *chosen])
        | run(copy, use_cases, ["--file=functions/*/src/lib.rs", *EVERYTHING, *chosen])
    )
    show(results)
    missed = [name for name, (_, result) in results.items() if result == "missed"]
    if missed:
        sys.exit("no test notices:\n" + "\n".join(missed))


def run(copy, folder, arguments):
    """What has become of each mutant: its file and the result."""
    environment = os.environ | {"CARGO_TARGET_DIR": str(copy.target), "ORDERS_SIMULATION_SEEDS": SEEDS}
    subprocess.run([
        tools.cargo_tool("cargo-mutants"), "mutants", "--in-place", f"--config={CONFIG}", f"--output={folder}",
        "--colors=never", "--cargo-arg=--locked", f"--cargo-arg=--target={checkout.host()}", *arguments,
    ], cwd=copy.folder, env=environment, check=False)
    baseline, *mutants = json.loads((folder / "mutants.out/outcomes.json").read_text())["outcomes"] or [None]
    if baseline and baseline["summary"] != "Success":
        sys.exit("The tests fail without any change.")
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
