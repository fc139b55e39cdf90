"""The processes of a stack, by id, in a file: so that one that is still up can be ended, and nothing
else ever is."""

import os
import signal
import time
from pathlib import Path

PATIENCE_SECONDS = 20


def remember(folder, name, pid):
    """Notes a process, with the moment it started: an id alone may be used again."""
    (folder / f"{name}.pid").write_text(f"{pid} {_started(pid)}")


def forget(folder, name):
    (folder / f"{name}.pid").unlink(missing_ok=True)


def running(folder, name):
    """The id of the process, if it is still the one that was noted."""
    try:
        pid, started = (folder / f"{name}.pid").read_text().split(" ", 1)
    except FileNotFoundError:
        return None
    return int(pid) if started and _started(int(pid)) == started else None


def runs(pid):
    """Whether there is such a process."""
    return bool(_started(pid))


def children(pid):
    """The ids of the processes that this one has started and that still run."""
    parents = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, parent = stat.read_text().rpartition(")")[2].split()[:2]
        except OSError:
            continue
        if state != "Z":
            parents[int(stat.parent.name)] = int(parent)
    return [child for child, parent in parents.items() if parent == pid]


def end(pid, group=False):
    """Asks the process to end, waits, and insists. With `group`, ends what it has started as well."""
    signal_to(pid, signal.SIGTERM)
    deadline = time.monotonic() + PATIENCE_SECONDS
    while runs(pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    if runs(pid):
        signal_to(pid, signal.SIGKILL)
    if group:
        signal_to(-pid, signal.SIGKILL)


def signal_to(pid, number):
    """Sends a signal to a process, or to a group (with a minus), unless it has just ended."""
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        pass


def _started(pid):
    """When the process started; empty if there is none, or only its exit status is left."""
    try:
        # The fields after the name, which may hold anything: the state is the first, the start the
        # twentieth (proc_pid_stat(5)).
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if fields[0] == "Z" else fields[19]
