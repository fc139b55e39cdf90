"""Builds what is deployed, and prints what it takes: instructions, CPU time, memory and bytes; beside it
the least that a function can take, and the same work done in Node. docs/performance.md reads it."""

import platform
import subprocess
import sys
import zipfile
from io import BytesIO
from pathlib import Path

import kept
from cases import CASES, CREATE, HELLO, SHOW
from counts import Times, instructions
from harness import World

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
NODE = HERE / "node"
FUNCTIONS = sorted(folder.name for folder in (ROOT / "functions").iterdir())
TARGET = f"{platform.machine()}-unknown-linux-gnu"
BINARIES = ROOT / "target" / TARGET / "release"
# Answers whose instructions are counted: enough that what happens once in a while happens.
COUNTED = 20
# Answers whose time is taken.
ROUNDS = 15
# So many that the peer's compiler has warmed up.
WARM = 300


def main():
    build()
    peers = [(f"{case.name}, Node", ["node", NODE / f"dist/{case.function}.mjs"], case) for case in (CREATE, SHOW)]
    ours = [(case.name, [BINARIES / case.function], case) for case in (*CASES, HELLO)]
    with World() as world:
        counts = instructions(world, BINARIES, (*CASES, HELLO), COUNTED, "release")
        times = Times(world, [*ours, *peers], ROUNDS, WARM)
    print_against_node(times)
    print_functions(counts, times)
    print_sizes()
    return kept.compare("release", counts)


def build():
    packages = [f"--package={name}" for name in (*FUNCTIONS, HELLO.function)]
    run(["cargo", "build", "--locked", "--release", "--target", TARGET, *packages], ROOT)
    run(["npm", "ci", "--silent", "--no-audit", "--no-fund"], NODE)
    run(["npm", "run", "--silent", "build"], NODE)


def run(command, folder):
    subprocess.run(command, cwd=folder, check=True, stdout=sys.stderr)


def print_against_node(times):
    print(f"\n{'compared with Node, AWS SDK v3':32}{'Node':>12}{'Rust':>12}{'Node / Rust':>12}{'noise':>8}")
    for case in (CREATE, SHOW):
        here, node = case.name, f"{case.name}, Node"
        for what, figure, unit, scale in (
            ("CPU to first response", times.cold, "ms", 1e3), ("CPU, warm response", times.warm, "µs", 1e6)):
            (a, noise_a), (b, noise_b) = figure(node), figure(here)
            print(f"{here + ': ' + what:32}{a * scale:>9.1f} {unit}{b * scale:>9.1f} {unit}{a / b:>12.1f}"
                  f"{noise_a + noise_b:>8.0%}")
        a, b = times.peak(node), times.peak(here)
        print(f"{here + ': peak memory':32}{a / 2**20:>9.1f} MB{b / 2**20:>9.1f} MB{a / b:>12.1f}")


def print_functions(counts, times):
    print(f"\n{'':20}{'M instructions':>40}{'CPU':>20}{'peak memory':>13}")
    print(f"{'':20}{'first poll':>12}{'first response':>16}{'warm':>12}{'first, ms':>10}{'warm, µs':>10}{'MB':>13}")
    for name, count in counts.items():
        print(f"{name:20}{count.to_first_poll / 1e6:>12.2f}{count.to_first_answer / 1e6:>16.2f}"
              f"{count.warm / 1e6:>12.3f}"
              f"{times.cold(name)[0] * 1e3:>10.2f}{times.warm(name)[0] * 1e6:>10.0f}{times.peak(name) / 2**20:>13.1f}")


def print_sizes():
    print(f"\n{'':20}{'binary, MB':>12}{'zip, MB':>12}")
    for name in (*FUNCTIONS, HELLO.function):
        program = BINARIES / name
        packed = BytesIO()
        with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.write(program, "bootstrap")
        print(f"{name:20}{program.stat().st_size / 1e6:>12.2f}{len(packed.getvalue()) / 1e6:>12.2f}")


if __name__ == "__main__":
    sys.exit(main())
