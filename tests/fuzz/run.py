"""Runs the fuzz targets that `make fuzz` has built, two at a time on two cores, and prints one table.

An input that breaks a target ends its run, and is named with the end of its log. New inputs that
cover more go to `target/fuzz/found`, not into the tree.

    python3 tests/fuzz/run.py [executions of each target [target ...]]
"""

import concurrent.futures
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

FOLDER = Path(__file__).resolve().parent
BUILT = FOLDER.parent.parent / "target" / "fuzz"
COLUMNS = ["target", "executions", "seconds", "executions/s", "kept inputs", "found", "edges", "peak RSS, MB"]


def main():
    executions = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000_000
    targets = sys.argv[2:] or sorted(path.stem for path in (FOLDER / "targets").glob("*.rs"))
    print(row(COLUMNS) + row(["---"] + ["--:"] * (len(COLUMNS) - 1)), end="", flush=True)
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        runs = {pool.submit(fuzz, target, executions): target for target in targets}
        for run in concurrent.futures.as_completed(runs):
            print(row(describe(runs[run])), end="", flush=True)
    broken = [target for run, target in runs.items() if run.result() != 0]
    for target in broken:
        inputs = " ".join(map(str, (BUILT / "broken" / target).iterdir()))
        print(f"\n{target} is broken by {inputs}:\n{log_of(target)[-3_000:]}")
    if broken:
        sys.exit(f"{len(broken)} of {len(targets)} targets are broken")


def fuzz(target, executions):
    """Runs one target. Returns what its process returns."""
    found, broken, logs = BUILT / "found" / target, BUILT / "broken" / target, BUILT / "logs"
    shutil.rmtree(broken, ignore_errors=True)
    for folder in (found, broken, logs):
        folder.mkdir(parents=True, exist_ok=True)
    with (logs / target).open("w") as log:
        return subprocess.run(
            [
                next(BUILT.glob(f"*/release/{target}")),
                found,
                FOLDER / "corpus" / target,
                f"-runs={executions}",
                f"-dict={FOLDER / 'words.dict'}",
                f"-artifact_prefix={broken}/",
                "-max_len=2048",
                "-timeout=60",
                "-print_final_stats=1",
            ],
            stdout=log,
            stderr=log,
            check=False,
        ).returncode


def describe(target):
    """The results of a finished run, from its log."""
    log = log_of(target)
    stat = dict(re.findall(r"^stat::(\w+):\s+(\d+)", log, re.MULTILINE))
    seconds = re.findall(r"^Done \d+ runs in (\d+) second", log, re.MULTILINE)
    edges = re.findall(r"cov: (\d+)", log)
    return [
        target,
        stat.get("number_of_executed_units", "?"),
        *(seconds[-1:] or ["broken"]),
        stat.get("average_exec_per_sec", "?"),
        count(FOLDER / "corpus" / target),
        count(BUILT / "found" / target),
        *(edges[-1:] or ["?"]),
        stat.get("peak_rss_mb", "?"),
    ]


def log_of(target):
    return (BUILT / "logs" / target).read_text(errors="replace")


def count(folder):
    return len(list(folder.iterdir()))


def row(cells):
    return "| " + " | ".join(map(str, cells)) + " |\n"


if __name__ == "__main__":
    main()
