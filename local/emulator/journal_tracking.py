"""Tracking of changes: a dictionary that records used keys, and the lock that keeps changes whole."""

import functools
import threading

# Held by each operation outside of the event loop that changes several things, and while storing.
LOCK = threading.RLock()


def locked(function):
    """Runs the function under `LOCK`."""
    @functools.wraps(function)
    def run(*args, **kwargs):
        with LOCK:
            return function(*args, **kwargs)

    return run


class TrackedDict(dict):
    """A dictionary that records the keys read, set or removed: their values may have changed."""

    def __init__(self):
        super().__init__()
        self.touched = set()

    def take_touched(self):
        """Yields and forgets the recorded keys. Other threads may add keys at the same time."""
        while self.touched:
            yield self.touched.pop()


def _tracking(name):
    method = getattr(dict, name)

    def track(self, key, *args):
        self.touched.add(key)
        return method(self, key, *args)

    return track


for _name in ("__getitem__", "__setitem__", "__delitem__", "get", "setdefault", "pop"):
    setattr(TrackedDict, _name, _tracking(_name))
