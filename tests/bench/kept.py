"""The instruction counts that are kept in the tree: a jump fails, and a justified one is accepted."""

import json
import os
from pathlib import Path

FILE = Path(__file__).resolve().parent / "instructions.json"
# The same binary differs by a thousandth from run to run: nonces, addresses, the order of hash maps. On
# another processor, glibc and ring choose other instructions.
TOLERANCE = 0.1


def compare(profile, counts):
    """Prints what has changed; returns how many counts have jumped, once they are not accepted."""
    changed = changes(profile, counts)
    print("\n".join(["", *changed] if changed else ["", f"All {profile} counts are within {TOLERANCE:.0%} of those kept."]))
    if changed and os.environ.get("ACCEPT"):
        FILE.write_text(json.dumps(_all() | {profile: _plain(counts)}, indent=2) + "\n")
        print(f"They are kept now, in {FILE}.")
        return 0
    return len(changed)


def changes(profile, counts):
    """What differs from what is kept, in words."""
    return differences(_all().get(profile, {}), _plain(counts))


def _all():
    return json.loads(FILE.read_text()) if FILE.exists() else {}


def _plain(counts):
    return {
        name: {
            "first poll": count.to_first_poll, "first answer": count.to_first_answer, "warm": count.warm}
        for name, count in counts.items()}


def differences(old, new):
    """One line for each count that is not within the tolerance of what is kept, in either direction: a
    gain that is not kept could be lost again unseen."""
    lines = []
    for name, counts in new.items():
        for what, count in counts.items():
            before = old.get(name, {}).get(what)
            if before is None:
                lines.append(f"{name}, {what}: {count:,} instructions, none kept; ACCEPT=1 keeps them")
            elif abs(count - before) > before * TOLERANCE:
                lines.append(
                    f"{name}, {what}: {before:,} -> {count:,} instructions ({count / before - 1:+.1%}); ACCEPT=1 keeps them")
    return lines
