"""Counts the instructions of the debug builds and compares them with instructions.json.

`make bench` does the same with the release builds.

    make instructions ACCEPT=1     writes the new counts to instructions.json
"""

import platform
import sys
from pathlib import Path

import kept
from cases import CASES
from counts import Disturbed, instructions
from harness import Harness

ROOT = Path(__file__).resolve().parent.parent.parent
BINARIES = ROOT / "target" / f"{platform.machine()}-unknown-linux-gnu" / "debug"
# Few: each warm answer of a debug build has the same count.
WARM = 3


def main():
    with Harness() as harness:
        counts = instructions(harness, BINARIES, CASES, WARM)
    return kept.compare("debug", counts)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except Disturbed as error:
        sys.exit(str(error))
