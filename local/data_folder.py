"""Data folder of a stack: lock, atomic writes, removal. Runs on a bare Python."""

import fcntl
import shutil

from tools import UserError

# The lock file also marks a folder as the data of a stack; no other folder is ever removed.
LOCK = "orders-stack.lock"


def lock(folder):
    """Creates the folder and locks it until this process ends or the returned file is closed."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = open(folder / LOCK, "w")
    except OSError as error:
        raise UserError(f"{folder} cannot be used as the data folder: {error.strerror}.") from None
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise UserError("This stack is already running or starting. To stop it: make down") from None
    return file


def check_removable(folder):
    """Raises `UserError` if the folder is not the data folder of a stack."""
    if not (folder / LOCK).exists():
        raise UserError(f"{folder} is not the data folder of a stack; nothing was removed.")


def remove(folder):
    """Deletes the folder."""
    try:
        shutil.rmtree(folder)
    except OSError as error:
        raise UserError(f"{error.filename} cannot be removed: {error.strerror}.") from None


def subfolder(folder, name):
    """Returns a folder inside the data folder, created if missing."""
    path = folder / name
    path.mkdir(exist_ok=True)
    return path


def write_atomically(path, text):
    """Replaces a file; no reader ever sees a part of the text."""
    part = path.with_suffix(".tmp")
    part.write_text(text)
    part.replace(path)
