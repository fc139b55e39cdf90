"""Builds the release binaries and prints their instructions, CPU time, memory and size.

The baselines are a function without logic (hello) and the same functions in Node. docs/performance.md
explains the figures.
"""

import os
import platform
import subprocess
import sys
import zipfile
from io import BytesIO
from pathlib import Path

import kept
from cases import CASES, CREATE, HELLO, SHOW
from counts import Disturbed, Times, instructions
from harness import Harness

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
NODE = HERE / "node"
FUNCTIONS = sorted(folder.name for folder in (ROOT / "functions").iterdir())
TARGET = f"{platform.machine()}-unknown-linux-gnu"
BINARIES = ROOT / "target" / TARGET / "release"
# Warm answers of an instruction count: enough to include work that is not done in each.
COUNTED = 20
# Runs of each program for its median CPU time.
ROUNDS = 15
# Warm answers of one such run: enough for Node to compile the hot code.
WARM = 300


def main():
    build()
    peers = [(f"{case.name}, Node", ["node", NODE / f"dist/{case.function}.mjs"], case) for case in (CREATE, SHOW)]
    ours = [(case.name, [BINARIES / case.function], case) for case in (*CASES, HELLO)]
    with Harness() as harness:
        counts = instructions(harness, BINARIES, (*CASES, HELLO), COUNTED)
        times = Times(harness, [*ours, *peers], ROUNDS, WARM)
    print_against_node(times)
    print_functions(counts, times)
    print_sizes()
    return kept.compare("release", counts)


def build():
    packages = [f"--package={name}" for name in (*FUNCTIONS, HELLO.function)]
    run(["cargo", "build", "--locked", "--release", "--target", TARGET, *packages], ROOT)
    for name in (*FUNCTIONS, HELLO.function):
        read_again(BINARIES / name)
    run(["npm", "ci", "--silent", "--no-audit", "--no-fund"], NODE)
    run(["npm", "run", "--silent", "build"], NODE)


def read_again(program):
    """Reads a program from the disk: until then, the start of a program that was just linked takes up to twice the
    processor time.
    """
    with program.open("rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        file.read()


def run(command, folder):
    subprocess.run(command, cwd=folder, check=True, stdout=sys.stderr)


def print_against_node(times):
    print(f"\n{'compared with Node, AWS SDK v3':32}{'Node':>12}{'Rust':>12}{'Node / Rust':>12}{'noise':>8}")
    for case in (CREATE, SHOW):
        rust, node = case.name, f"{case.name}, Node"
        for label, figure, unit, scale in (
            ("CPU to first answer", times.cold, "ms", 1e3),
            ("CPU, warm answer", times.warm, "µs", 1e6),
        ):
            (a, noise_a), (b, noise_b) = figure(node), figure(rust)
            print(
                f"{rust + ': ' + label:32}{a * scale:>9.1f} {unit}{b * scale:>9.1f} {unit}{a / b:>12.1f}"
                f"{noise_a + noise_b:>8.0%}"
            )
        a, b = times.peak(node), times.peak(rust)
        print(f"{rust + ': peak memory':32}{a / 2**20:>9.1f} MB{b / 2**20:>9.1f} MB{a / b:>12.1f}")


def print_functions(counts, times):
    print(f"\n{'':20}{'M instructions':>38}{'CPU':>20}{'peak':>10}")
    print(f"{'':20}{'first poll':>12}{'first answer':>14}{'warm':>12}{'first, ms':>10}{'warm, µs':>10}{'MB':>10}")
    for name, count in counts.items():
        print(
            f"{name:20}{count.to_first_poll / 1e6:>12.2f}{count.to_first_answer / 1e6:>14.2f}{count.warm / 1e6:>12.3f}"
            f"{times.cold(name)[0] * 1e3:>10.2f}{times.warm(name)[0] * 1e6:>10.0f}{times.peak(name) / 2**20:>10.1f}"
        )


def print_sizes():
    print(f"\n{'':20}{'binary, MB':>12}{'zip, MB':>12}")
    for name in (*FUNCTIONS, HELLO.function):
        program = BINARIES / name
        packed = BytesIO()
        with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.write(program, "bootstrap")
        print(f"{name:20}{program.stat().st_size / 1e6:>12.2f}{len(packed.getvalue()) / 1e6:>12.2f}")


if __name__ == "__main__":
    try:
        sys.exit(main())
    except Disturbed as error:
        sys.exit(str(error))
