"""A copy of the checkout in which the code may be broken, for the tests of the tests."""

import pathlib
import re
import shutil
import subprocess

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent


class Copy:
    """Stays where it is between runs, so that only what has changed is built again."""

    def __init__(self, name):
        self.folder = ROOT / "target" / name
        # Not the checkout's: cargo could not tell a build of one from a build of the other.
        self.target = self.folder / "target"
        self._copy_checkout()
        self._copy_dependencies()

    def _copy_checkout(self):
        """Copies what has changed, and removes what is no more."""
        listed = output(["git", "ls-files", "-co", "--exclude-standard", "-z"])
        wanted = {name for name in listed.split("\0") if name and (ROOT / name).is_file()}
        for name in wanted:
            source, target = ROOT / name, self.folder / name
            if not target.is_file() or source.read_bytes() != target.read_bytes():
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(source, target)
        for path in [path for path in self.folder.rglob("*") if path.is_file()]:
            name = path.relative_to(self.folder)
            if name.parts[0] != self.target.name and str(name) not in wanted:
                path.unlink()

    def _copy_dependencies(self):
        """Copies what is built of the dependencies, once. Of the copy itself, all is newer and so is built."""
        for part in ("debug", f"{host()}/debug"):
            for folder in (".fingerprint", "build", "deps"):
                source, target = ROOT / "target" / part / folder, self.target / part / folder
                if source.is_dir() and not target.is_dir():
                    shutil.copytree(source, target, symlinks=True)


def host():
    """What rustc calls this machine."""
    return re.search(r"^host: (.*)$", output(["rustc", "-vV"]), re.M)[1]


def output(command):
    """What a program that must not fail says."""
    return subprocess.run(command, cwd=ROOT, text=True, capture_output=True, check=True).stdout
