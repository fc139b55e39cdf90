"""Tracking of changes: a dictionary with a record of its used keys, and a lock around each change."""

import functools
import threading

# Held during each change of several objects outside of the event loop, and while storing.
LOCK = threading.RLock()


def locked(function):
    """Runs the function under `LOCK`."""

    @functools.wraps(function)
    def run(*args, **kwargs):
        with LOCK:
            return function(*args, **kwargs)

    return run


class TrackedDict(dict):
    """A dictionary with a record of the keys read, set or removed: their values may have changed."""

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
