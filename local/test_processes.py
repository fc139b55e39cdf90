"""Tests of pid files, process groups, and the restart of a crashed emulator."""

import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
import unittest
from pathlib import Path

import processes
from emulator_process import Emulator
from tools import UserError

HERE = Path(__file__).resolve().parent
INTERRUPTED_RUN = """
import processes, signal, stack
signal.signal(signal.SIGTERM, stack.interrupt)
processes.run(["sh", "-c", "sleep 60 & echo $!; wait"], "failed")
"""


class PidFiles(unittest.TestCase):
    def setUp(self):
        self.folder = Path(self.enterContext(tempfile.TemporaryDirectory()))

    def test_recorded_process_is_running_until_it_ends(self):
        self.assertIsNone(processes.running(self.folder, "emulator"))
        with subprocess.Popen(["sleep", "60"]) as process:
            processes.record(self.folder, "emulator", process.pid)
            self.assertEqual(processes.running(self.folder, "emulator"), process.pid)
            process.kill()
            # A zombie counts as ended.
            eventually(lambda: processes.running(self.folder, "emulator") is None)
        self.assertIsNone(processes.running(self.folder, "emulator"))

    def test_later_process_with_the_recorded_id_is_not_running(self):
        processes.record(self.folder, "emulator", os.getpid())
        file = self.folder / "emulator.pid"
        pid, started = file.read_text().split()
        file.write_text(f"{pid} {float(started) - 10}")
        self.assertIsNone(processes.running(self.folder, "emulator"))


class ProcessGroups(unittest.TestCase):
    def test_interrupted_run_stops_all_descendants(self):
        with subprocess.Popen(
            [sys.executable, "-c", INTERRUPTED_RUN], cwd=HERE, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        ) as program:
            descendant = int(program.stdout.readline())
            program.terminate()
            self.assertIn("Stopped sh -c.", program.stderr.read())
        eventually(lambda: not processes.is_running(descendant))

    def test_run_interrupted_while_it_starts_stops_its_program(self):
        # The signal arrives after the start of the program and before the end of Popen.
        interrupted_start = f"""
import os, signal, subprocess
popen = subprocess.Popen
def start(*args, **kwargs):
    program = popen(*args, **kwargs)
    os.kill(os.getpid(), signal.SIGTERM)
    return program
subprocess.Popen = start
{INTERRUPTED_RUN}
"""
        finished = subprocess.run(
            [sys.executable, "-c", interrupted_start], cwd=HERE, text=True, capture_output=True, timeout=60
        )
        self.assertIn("Stopped sh -c.", finished.stderr)


class EmulatorProcess(unittest.TestCase):
    def setUp(self):
        self.emulator = Emulator(Path("/nowhere"), 1)
        self.emulator.start = self.start
        self.start()
        signal.signal(signal.SIGUSR1, self.emulator.crash)
        self.addCleanup(signal.signal, signal.SIGUSR1, signal.SIG_DFL)

    def start(self):
        self.emulator.process = subprocess.Popen(["sleep", "60"], start_new_session=True)

    def crash_then_end(self):
        first = self.emulator.process
        time.sleep(0.5)
        os.kill(os.getpid(), signal.SIGUSR1)
        eventually(lambda: self.emulator.process is not first)
        time.sleep(0.5)
        self.emulator.process.kill()

    def test_wait_survives_a_requested_crash_and_reports_an_unexpected_end(self):
        threading.Thread(target=self.crash_then_end).start()
        with self.assertRaisesRegex(UserError, "ended unexpectedly"):
            self.emulator.wait()


def eventually(condition):
    deadline = time.monotonic() + 20
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError("the condition stayed false")
        time.sleep(0.05)


if __name__ == "__main__":
    unittest.main()
