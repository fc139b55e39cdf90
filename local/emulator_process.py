"""The process of the AWS emulator: start, health check, crash, stop."""

import contextlib
import os
import subprocess
import time
import urllib.error
import urllib.request

import psutil

import aws
import data_folder
import ports
import processes
import tools
from tools import ROOT, UserError, log

START_TIMEOUT_SECONDS = 60
POLL_SECONDS = 0.1


class Emulator:
    """Emulator of one stack. Its state is kept in the stack's data folder."""

    def __init__(self, folder, port):
        self.folder = folder
        self.port = port
        self.endpoint = f"http://{ports.HOST}:{port}"
        self.log = folder / "emulator.log"
        self.process = None

    def start(self):
        """Starts the process and waits until it is healthy."""
        self._move_queue_urls()
        with open(self.log, "ab") as log_file:
            # A separate session: Ctrl-C reaches only the stack, which then stops the emulator.
            self.process = subprocess.Popen(
                [tools.emulator_python(), ROOT / "local/emulator/launch.py"],
                env=self._environment(),
                stdin=subprocess.DEVNULL,
                stdout=log_file,
                stderr=log_file,
                start_new_session=True,
            )
        processes.record(self.folder, "emulator", self.process.pid)
        deadline = time.monotonic() + START_TIMEOUT_SECONDS
        while not _is_healthy(self.endpoint):
            if self.process.poll() is not None:
                raise UserError(f"The emulator did not start; see {self.log}")
            if time.monotonic() > deadline:
                raise UserError(f"The emulator does not respond; see {self.log}")
            time.sleep(POLL_SECONDS)

    def stop(self):
        """Stops the process and all functions."""
        if self.process:
            if processes.is_running(self.process.pid):
                log("Stopping the emulator ...")
            processes.stop(self.process.pid, group=True)
            self.process.wait()

    def wait(self):
        """Blocks while the emulator runs, across restarts by `crash`. Raises `UserError` when it ends."""
        process = self.process
        # No `process.wait()`: `crash` runs in a signal handler, inside this loop, and waits for the
        # same process; two waits would block each other.
        while processes.is_running(process.pid) or process is not self.process:
            process = self.process
            time.sleep(POLL_SECONDS)
        raise UserError(
            f"The emulator ended unexpectedly (status {process.wait()}); see {self.log}. "
            "The data is kept; make run continues from there."
        )

    def crash(self, *_):
        """Kills the emulator with all functions and starts it again. A signal handler."""
        processes.kill_group(self.process.pid)
        self.process.wait()
        self.start()

    def crash_functions(self, *_):
        """Kills all running functions. A signal handler."""
        for function in processes.children(self.process.pid):
            with contextlib.suppress(psutil.NoSuchProcess):
                function.kill()

    def _move_queue_urls(self):
        """Rewrites the queue URLs in the emulator's journal after a change of the port."""
        mark, journal = self.folder / "endpoint", self.folder / "emulator/journal"
        previous = mark.read_text() if mark.exists() else self.endpoint
        if previous != self.endpoint and journal.exists():
            data_folder.write_atomically(journal, journal.read_text().replace(f"{previous}/", f"{self.endpoint}/"))
        mark.write_text(self.endpoint)

    def _environment(self):
        return {
            **os.environ,
            "GATEWAY_PORT": str(self.port),
            "BIND_HOST": ports.HOST,
            "MINISTACK_HOST": ports.HOST,
            "SFTP_ENABLED": "0",
            "IOT_MTLS_ENABLED": "0",
            "LOG_LEVEL": "INFO",
            "TMPDIR": str(data_folder.subfolder(self.folder, "tmp")),
            "PERSIST_STATE": "1",
            "STATE_DIR": str(self.folder / "emulator"),
            "S3_PERSIST": "1",
            "S3_DATA_DIR": str(self.folder / "s3"),
            # The functions inherit these.
            **aws.environment(self.endpoint),
        }


def _is_healthy(endpoint):
    try:
        with urllib.request.urlopen(f"{endpoint}/_ministack/health", timeout=2) as response:
            return response.status == 200
    except (urllib.error.URLError, OSError):
        return False
