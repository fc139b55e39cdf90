"""A copy of the checkout for tests that break the code on purpose."""

import pathlib
import re
import shutil
import subprocess

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent


class Copy:
    """A copy that is kept between runs, so that only changes are rebuilt."""

    def __init__(self, name):
        self.folder = ROOT / "target" / name
        # A target folder of its own: cargo would mix the builds of checkout and copy.
        self.target = self.folder / "target"
        self._copy_checkout()
        self._copy_dependencies()

    def _copy_checkout(self):
        """Copies changed files and removes deleted files."""
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
        """Copies the built dependencies once. The sources of the copy are newer, so they are rebuilt."""
        for part in ("debug", f"{host()}/debug"):
            for folder in (".fingerprint", "build", "deps"):
                source, target = ROOT / "target" / part / folder, self.target / part / folder
                if source.is_dir() and not target.is_dir():
                    shutil.copytree(source, target, symlinks=True)


def host():
    """The target triple of this machine."""
    return re.search(r"^host: (.*)$", output(["rustc", "-vV"]), re.M)[1]


def output(command):
    """Standard output of a command that must succeed."""
    return subprocess.run(command, cwd=ROOT, text=True, capture_output=True, check=True).stdout
