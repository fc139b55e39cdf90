"""Accepted instruction counts, in instructions.json. A jump fails the check until it is accepted."""

import json
import os
from pathlib import Path

FILE = Path(__file__).resolve().parent / "instructions.json"
# Runs of the same binary differ by a thousandth: nonces, addresses, the order of hash maps. glibc and
# ring choose other instructions on another processor.
TOLERANCE = 0.1


def compare(profile, counts):
    """Prints the changed counts and returns their number; writes them and returns 0 with ACCEPT=1."""
    accepted = json.loads(FILE.read_text()) if FILE.exists() else {}
    counts = _plain(counts)
    changed = differences(accepted.get(profile, {}), counts)
    print(
        "\n".join(
            ["", *changed]
            if changed
            else ["", f"All {profile} counts are within {TOLERANCE:.0%} of instructions.json."]
        )
    )
    if changed and os.environ.get("ACCEPT"):
        FILE.write_text(json.dumps(accepted | {profile: counts}, indent=2) + "\n")
        print(f"Written to {FILE}.")
        return 0
    return len(changed)


def _plain(counts):
    return {
        name: {"first poll": count.to_first_poll, "first answer": count.to_first_answer, "warm": count.warm}
        for name, count in counts.items()
    }


def differences(accepted, counts):
    """One line for each count outside the tolerance, in either direction: a gain that is not accepted
    could be lost again unnoticed."""
    lines = []
    for name, figures in counts.items():
        for figure, count in figures.items():
            before = accepted.get(name, {}).get(figure)
            if before is None:
                lines.append(f"{name}, {figure}: {count:,} instructions, none accepted; ACCEPT=1 accepts them")
            elif abs(count - before) > before * TOLERANCE:
                change = f"{before:,} -> {count:,} instructions ({count / before - 1:+.1%})"
                lines.append(f"{name}, {figure}: {change}; ACCEPT=1 accepts them")
    return lines
