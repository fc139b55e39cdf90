"""Counts the instructions of the functions as the tests build them, and compares them with those kept:
quick enough for every change. `make bench` does so with what is deployed.

    make instructions ACCEPT=1     keeps the new counts, once you know why they differ
"""

import platform
import sys
from pathlib import Path

import kept
from cases import CASES
from counts import instructions
from harness import World

ROOT = Path(__file__).resolve().parent.parent.parent
BINARIES = ROOT / "target" / f"{platform.machine()}-unknown-linux-gnu" / "debug"
# Unoptimised code is slow to count, and the same every time.
WARM = 3


def main():
    with World() as world:
        counts = instructions(world, BINARIES, CASES, WARM, "debug")
    return kept.compare("debug", counts)


if __name__ == "__main__":
    sys.exit(main())
