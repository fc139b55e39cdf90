"""Measures a function: instructions by callgrind; CPU time and memory by the operating system."""

import re
import signal
import subprocess
import tempfile
from pathlib import Path
from statistics import median

import tools

SLOW_CLOCK = Path(__file__).resolve().parent / "slow_clock.c"
MAX_RUNS = 5


class Disturbed(Exception):
    """Every run of a measurement was disturbed, so there is no count."""


class Instructions:
    """Instruction counts of a case: up to the first poll, up to the first answer, per warm answer."""

    def __init__(self, harness, program, case, warm, environment):
        to_poll, to_answer, to_last = (
            _count(harness, program, case, answers, environment) for answers in (0, 1, 1 + warm)
        )
        self.to_first_poll, self.to_first_answer = to_poll, to_answer
        self.warm = (to_last - to_answer) // warm


def instructions(harness, binaries, cases, warm):
    """Returns the counts of each case by its name."""
    with tempfile.TemporaryDirectory() as folder:
        environment = slow_clock(folder)
        return {case.name: Instructions(harness, binaries / case.function, case, warm, environment) for case in cases}


def slow_clock(folder):
    """Builds slow_clock.c; returns the environment to load the library."""
    library = Path(folder) / "slow_clock.so"
    # Without the C library's start code: the loader has less to do, and callgrind less to count.
    subprocess.run(["cc", "-O2", "-shared", "-fPIC", "-nostdlib", "-o", library, SLOW_CLOCK], check=True)
    return {"LD_PRELOAD": str(library)}


def _count(harness, program, case, answers, environment):
    valgrind, valgrind_environment = tools.valgrind()

    def count():
        with tempfile.NamedTemporaryFile() as profile:
            command = [valgrind, "--quiet", "--tool=callgrind", f"--callgrind-out-file={profile.name}", program]
            observed = harness.run(command, case, answers, signal.SIGTERM, valgrind_environment | environment)
            total = re.search(r"^(?:summary|totals): (\d+)", Path(profile.name).read_text(), re.MULTILINE)
            return observed, int(total[1])

    return undisturbed(f"{case.name} (answers: {answers})", case, count)


def undisturbed(name, case, measure):
    """Calls `measure` until a run is not disturbed, and returns its figure.

    `measure` returns an `Observed` and a figure.
    """
    for _ in range(MAX_RUNS):
        observed, figure = measure()
        found = disturbance(observed)
        if not found:
            check(case, observed)
            return figure
        tools.log(f"{name}: run disturbed ({found}), repeated")
    raise Disturbed(
        f"{name}: disturbed in each of {MAX_RUNS} runs, last by {found}. If a quiet machine gives the same, the "
        "function itself repeats calls or opens more connections."
    )


def disturbance(observed):
    """Describes the extra work of a function after a slow call, such as a second TLS handshake.
    `None` if there was no such work.

    A function needs a single connection to each server: all AWS services of the harness have the same
    address, and in these cases calls are made in sequence.
    """
    if observed.repeated_calls:
        return f"repeated calls: {', '.join(observed.repeated_calls)}"
    for server, connections in observed.connections.items():
        if connections > 1:
            return f"{connections} connections to {server}"
    return None


class Times:
    """CPU seconds and peak bytes of programs. They run in turns and so meet the same noise."""

    def __init__(self, harness, programs, rounds, warm):
        self._cold = {name: [] for name, _, _ in programs}
        self._warm = {name: [] for name, _, _ in programs}
        self._peak = {name: [] for name, _, _ in programs}
        for _ in range(rounds):
            for name, command, case in programs:
                few, many = (harness.run(command, case, answers) for answers in (1, 1 + warm))
                for observed in (few, many):
                    check(case, observed)
                self._cold[name].append(few.cpu_seconds)
                self._warm[name].append((many.cpu_seconds - few.cpu_seconds) / warm)
                self._peak[name].append(many.peak_bytes)

    def cold(self, name):
        """From the start of the process to the first answer: the median and the spread."""
        return median(self._cold[name]), spread(self._cold[name])

    def warm(self, name):
        """Per answer after the first: the median and the spread."""
        return median(self._warm[name]), spread(self._warm[name])

    def peak(self, name):
        """The peak memory: the median."""
        return median(self._peak[name])


def spread(figures):
    """Half of the distance between the quartiles, as a fraction of the median."""
    ordered = sorted(figures)
    quarter = len(ordered) // 4
    return (ordered[-1 - quarter] - ordered[quarter]) / 2 / median(ordered)


def check(case, observed):
    """Fails if the function gave a wrong answer or made other calls."""
    for answer in observed.answers:
        if case.status:
            assert answer["statusCode"] == case.status, answer
        else:
            assert not answer["batchItemFailures"], answer
    expected = list(case.calls) * len(observed.answers)
    # Calls before these are the warm-up.
    calls = observed.calls[len(observed.calls) - len(expected) :]
    assert sorted(calls) == sorted(expected), observed.calls
