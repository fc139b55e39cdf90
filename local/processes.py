"""Processes of a stack, recorded as `NAME.pid` files in its data folder.

A file holds the process id and the start time. The start time distinguishes a recorded process from
a later process with the same id, so that only processes of the stack are ever stopped.
"""

import contextlib
import os
import signal
import subprocess
import threading
import time
from pathlib import Path

import psutil

from tools import UserError, log

STOP_TIMEOUT_SECONDS = 20
INTERRUPTS = signal.SIGINT, signal.SIGTERM
# Start times are computed from the boot time, which the kernel reports in whole seconds.
START_TOLERANCE_SECONDS = 2


def record(folder, name, pid):
    """Writes the pid file of a process."""
    (folder / f"{name}.pid").write_text(f"{pid} {_start_time(pid)}")


def forget(folder, name):
    """Removes a pid file."""
    (folder / f"{name}.pid").unlink(missing_ok=True)


def running(folder, name):
    """Returns the recorded process id; `None` if the recorded process has ended."""
    try:
        pid, started = (folder / f"{name}.pid").read_text().split()
        now = _start_time(int(pid))
        return int(pid) if abs(now - float(started)) <= START_TOLERANCE_SECONDS else None
    except (FileNotFoundError, ValueError, psutil.NoSuchProcess):
        return None


def is_running(pid):
    """Returns whether a process exists and is not a zombie."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def children(pid):
    """Returns the running child processes of a process."""
    return [child for child in psutil.Process(pid).children() if is_running(child.pid)]


def stop(pid, group=False):
    """Sends SIGTERM, then SIGKILL after a timeout. With `group`, kills the whole process group."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGTERM)
        deadline = time.monotonic() + STOP_TIMEOUT_SECONDS
        while is_running(pid) and time.monotonic() < deadline:
            time.sleep(0.05)
        if is_running(pid):
            os.kill(pid, signal.SIGKILL)
    if group:
        kill_group(pid)


def kill_group(pid):
    """Kills the process group of a leader, if any process of the group is left."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)


def run(command, failure, **kwargs):
    """Runs a program in its own process group. An interrupt stops the whole group."""
    with contextlib.ExitStack() as start:
        # An interrupt inside Popen would leave the program running without its process id.
        start.enter_context(deferred_signals())
        program = subprocess.Popen([str(word) for word in command], process_group=0, **kwargs)
        try:
            start.close()
            status = program.wait()
        except BaseException:
            stop(program.pid, group=True)
            log(f"Stopped {Path(command[0]).name} {command[1]}.")
            raise
    if status:
        raise UserError(failure)


@contextlib.contextmanager
def deferred_signals():
    """Defers SIGINT and SIGTERM to the end of the block. Other threads than the main thread get no signals."""
    received = []
    numbers = INTERRUPTS if threading.current_thread() is threading.main_thread() else ()
    handlers = {number: signal.signal(number, lambda number, _: received.append(number)) for number in numbers}
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        for number in received:
            signal.raise_signal(number)


def _start_time(pid):
    """Returns the start time in seconds after boot, independent of changes of the system clock."""
    process = psutil.Process(pid)
    if process.status() == psutil.STATUS_ZOMBIE:
        raise psutil.ZombieProcess(pid)
    return process.create_time() - psutil.boot_time()
