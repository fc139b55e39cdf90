"""Counts of what a function does: instructions, by callgrind, which counts the same whatever else the
machine does; CPU time and memory, by the operating system."""

import re
import signal
import tempfile
from pathlib import Path
from statistics import median

import kept
import tools


class Instructions:
    """Of one function and one event: up to its first poll, up to its first answer, for each one after."""

    def __init__(self, world, program, case, warm):
        to_poll, to_answer, to_last = (_count(world, program, case, answers) for answers in (0, 1, 1 + warm))
        self.to_first_poll, self.to_first_answer = to_poll, to_answer
        self.warm = (to_last - to_answer) // warm


def instructions(world, binaries, cases, warm, profile):
    """Of each case. What differs from what is kept is counted again: on a machine so busy that a connection
    breaks, it would for that."""
    def count(case):
        return Instructions(world, binaries / case.function, case, warm)

    counts = {case.name: count(case) for case in cases}
    changed = [case for case in cases if kept.changes(profile, {case.name: counts[case.name]})]
    return counts | {case.name: count(case) for case in changed}


def _count(world, program, case, answers):
    valgrind, environment = tools.valgrind()
    with tempfile.NamedTemporaryFile() as profile:
        command = [valgrind, "--quiet", "--tool=callgrind", f"--callgrind-out-file={profile.name}", program]
        check(case, world, world.run(command, case, answers, signal.SIGTERM, environment))
        return int(re.search(r"^(?:summary|totals): (\d+)", Path(profile.name).read_text(), re.MULTILINE)[1])


class Times:
    """CPU seconds and peak bytes of functions that take turns, so that each meets the same noise."""

    def __init__(self, world, programs, rounds, warm):
        self._cold = {name: [] for name, _, _ in programs}
        self._warm = {name: [] for name, _, _ in programs}
        self._peak = {name: [] for name, _, _ in programs}
        for _ in range(rounds):
            for name, command, case in programs:
                few, many = (world.run(command, case, answers) for answers in (1, 1 + warm))
                for observed in (few, many):
                    check(case, world, observed)
                self._cold[name].append(few.cpu_seconds)
                self._warm[name].append((many.cpu_seconds - few.cpu_seconds) / warm)
                self._peak[name].append(many.peak_bytes)

    def cold(self, name):
        """From the spawn to the first answer: the median, and how far the middle half is spread."""
        return median(self._cold[name]), spread(self._cold[name])

    def warm(self, name):
        """For each answer after it."""
        return median(self._warm[name]), spread(self._warm[name])

    def peak(self, name):
        """The most memory in use."""
        return median(self._peak[name])


def spread(figures):
    """Half of the distance between the quartiles, as a part of the median."""
    ordered = sorted(figures)
    quarter = len(ordered) // 4
    return (ordered[-1 - quarter] - ordered[quarter]) / 2 / median(ordered)


def check(case, world, observed):
    """A function that answers something else than it should has not done the work."""
    for answer in observed.answers:
        if case.status:
            assert answer["statusCode"] == case.status, answer
        else:
            assert not answer["batchItemFailures"], answer
    asked = world.calls[len(world.calls) - len(case.calls) * len(observed.answers):]
    assert sorted(asked) == sorted(list(case.calls) * len(observed.answers)), world.calls
