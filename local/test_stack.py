"""What `make run`, `make down` and `make clean-state` say and do when something is not as it must be."""

import fcntl
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
import service
from tools import MARKER, UserError

HERE = Path(__file__).resolve().parent


class Commands(unittest.TestCase):
    def setUp(self):
        self.folder = Path(self.enterContext(tempfile.TemporaryDirectory()))
        self.state = self.folder / "state"

    def run_stack(self, command, **settings):
        """The exit status, and the one line that was said."""
        described = {"ORDERS_STATE": str(self.state), "ORDERS_STACK_FILE": str(self.folder / "stack.json")}
        done = subprocess.run(
            [sys.executable, HERE / "stack.py", command], env={**os.environ, **described, **settings},
            check=False, capture_output=True, text=True, timeout=60)
        self.assertEqual(len(done.stderr.splitlines()), 1, done.stderr)
        return done.returncode, done.stderr.strip()

    def test_a_port_that_is_none_is_refused(self):
        for port in ("abc", "70000", "-1"):
            said = f"PORT must be a number from 0 to 65535, not {port}."
            self.assertEqual(self.run_stack("run", ORDERS_PORT=port), (1, said))

    def test_ports_that_are_the_same_are_refused(self):
        status, said = self.run_stack("run", ORDERS_PORT="4901", ORDERS_ISSUER_PORT="4902", ORDERS_SHOP_PORT="4901")
        self.assertEqual((status, said), (1, "PORT and SHOP_PORT are both 4901, but must differ."))

    def test_a_folder_that_cannot_be_written_is_refused(self):
        (self.folder / "file").touch()
        status, said = self.run_stack("run", ORDERS_STATE=str(self.folder / "file/state"))
        self.assertEqual((status, said), (1, f"{self.folder}/file/state cannot be used for the data: Not a directory."))

    def test_a_stack_that_is_being_built_is_not_started_again(self):
        self.state.mkdir()
        with open(self.state / MARKER, "w") as first:
            fcntl.flock(first, fcntl.LOCK_EX)
            processes.remember(self.state, "stack", os.getpid())
            status, said = self.run_stack("run")
        self.assertEqual((status, said), (1, "This stack is up already, or about to be. To end it: make down"))
        self.assertEqual(processes.running(self.state, "stack"), os.getpid())

    def test_only_the_folder_of_a_stack_is_removed(self):
        self.assertEqual(self.run_stack("clean-state"), (0, f"There is no data in {self.state}."))
        self.state.mkdir()
        (self.state / "mine").touch()
        status, _ = self.run_stack("clean-state")
        self.assertEqual((status, (self.state / "mine").exists()), (1, True))
        (self.state / MARKER).touch()
        self.assertEqual(self.run_stack("clean-state"), (0, "The stack's data is gone."))
        self.assertFalse(self.state.exists())

    def test_only_the_stacks_own_description_is_removed(self):
        self.state.mkdir()
        (self.state / MARKER).touch()
        description = self.folder / "stack.json"
        for state, kept in ((self.folder / "other", True), (self.state.resolve(), False)):
            description.write_text(f'{{"stateFolder": "{state}"}}')
            self.run_stack("down")
            self.assertEqual(description.exists(), kept)


class Ends(unittest.TestCase):
    def test_a_build_ends_with_all_that_it_has_started(self):
        script = "import service, signal; signal.signal(signal.SIGTERM, service._stop);" \
            "service._run_to_end(['sh', '-c', 'sleep 60 & echo $!; wait'], 'it failed')"
        with subprocess.Popen(
                [sys.executable, "-c", script], cwd=HERE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as ours:
            deepest = int(ours.stdout.readline())
            ours.terminate()
            self.assertIn("sh -c has been ended.", ours.stderr.read())
        eventually(lambda: not processes.runs(deepest))

    def test_an_emulator_that_a_test_crashes_is_started_again_and_one_that_ends_by_itself_is_told(self):
        stack = service.Stack(Path("/nowhere"), (1, 2), Path("/nowhere/stack.json"))

        def start():
            stack.emulator = subprocess.Popen(["sleep", "60"], start_new_session=True)

        def crash():
            first = stack.emulator
            time.sleep(0.5)
            os.kill(os.getpid(), signal.SIGUSR1)
            eventually(lambda: stack.emulator is not first)
            time.sleep(0.5)
            stack.emulator.kill()

        stack._start_emulator = start
        start()
        signal.signal(signal.SIGUSR1, stack.crash_emulator)
        self.addCleanup(signal.signal, signal.SIGUSR1, signal.SIG_DFL)
        threading.Thread(target=crash).start()
        with self.assertRaisesRegex(UserError, "ended by itself"):
            stack.wait()


def eventually(happens):
    deadline = time.monotonic() + 20
    while not happens():
        if time.monotonic() > deadline:
            raise AssertionError("it did not happen")
        time.sleep(0.05)


if __name__ == "__main__":
    unittest.main()
