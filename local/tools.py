"""Installs what the checkout needs, into the checkout: `.tools/`. Runs on a bare Python."""

import fcntl
import functools
import hashlib
import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TOOLS = ROOT / ".tools"
MARKER = "orders-stack.lock"  # tells a folder with a stack's data from others
CARGO_TOOLS = {"cargo-deny": "0.20.2", "cargo-fuzz": "0.13.2", "cargo-mutants": "27.1.0"}

OLDEST_PYTHON = (3, 11)
BROWSERS = (("chromium", "chromium-browser", "google-chrome"), ("chromedriver",))


class UserError(Exception):
    """Something on this machine is not as it must be; the message says what to do."""


def log(text):
    """Tells the person; on standard error, so that standard output has just what was asked for."""
    print(text, file=sys.stderr, flush=True)


def check_machine():
    """Refuses a machine that lacks what the checkout cannot install itself."""
    if sys.platform != "linux":
        raise UserError("The stack runs the functions as they are deployed, which takes Linux (or WSL on Windows).")
    if sys.version_info < OLDEST_PYTHON:
        raise UserError(f"Python {'.'.join(map(str, OLDEST_PYTHON))} or newer is needed; this is {platform.python_version()}.")
    if not shutil.which("cargo"):
        raise UserError("cargo is not on the PATH. Install Rust with rustup, then try again.")
    try:
        import ensurepip  # noqa: F401
        import venv  # noqa: F401
    except ImportError:
        raise UserError("Python's venv module is missing. On Debian or Ubuntu: apt install python3-venv.") from None


def emulator_python():
    """The Python that has the emulator."""
    return _venv("emulator", ROOT / "local/emulator/requirements.txt") / "python"


def sam_bin():
    """The folder that has sam and cargo-lambda."""
    return _venv("sam", ROOT / "local/sam-requirements.txt")


def checkov():
    """The program that looks for weak settings in the template."""
    return _venv("checkov", ROOT / "tests/template/requirements.txt") / "checkov"


def contracts_python():
    """The Python that has what looks whether the API is as documented."""
    return _venv("contracts", ROOT / "tests/deployed/openapi/requirements.txt") / "python"


def bench_python():
    """The Python that has what plays AWS to a function that is measured."""
    return _venv("bench", ROOT / "tests/bench/requirements.txt") / "python"


def shop_python():
    """The Python that has what drives a browser through the shop."""
    return _venv("shop", ROOT / "tests/deployed/shop/requirements.txt") / "python"


def format_bin():
    """The folder of ruff and deno, which format and lint Python, JavaScript and CSS."""
    return _venv("format", ROOT / "local/format-requirements.txt")


def browser():
    """A Chromium, its driver, and what both need in their environment."""
    programs = [next(filter(None, map(shutil.which, names)), None) for names in BROWSERS]
    if all(programs):
        return *programs, {}
    root = _unpacked("chromium", "chromium-driver", "fonts-liberation")
    libraries = [str(folder) for folder in (*root.glob("lib/*-gnu"), *root.glob("usr/lib/*-gnu"))]
    environment = {"LD_LIBRARY_PATH": os.pathsep.join(libraries)}
    if (root / "etc/fonts").exists():
        environment["FONTCONFIG_SYSROOT"] = str(root)
    return root / "usr/lib/chromium/chromium", root / "usr/bin/chromedriver", environment


def valgrind():
    """What counts instructions, and what it needs in its environment."""
    program = shutil.which("valgrind")
    if program:
        return program, {}
    root = _unpacked("valgrind")
    return root / "usr/bin/valgrind.bin", {"VALGRIND_LIB": str(root / "usr/libexec/valgrind")}


def _unpacked(*packages):
    """The folder with this machine's distribution's packages. They are not installed: that takes no root."""
    name = packages[0]
    complaint = f"{name} is needed. Install it (Debian: apt install {' '.join(packages)})."

    def unpack(home):
        if not shutil.which("apt-get"):
            raise UserError(complaint)
        log(f"Unpacking {name} into .tools (once, about a minute) ...")
        for folder in ("lists/partial", "cache/archives/partial", "root"):
            (home / folder).mkdir(parents=True)
        apt = ["apt-get", "-qq", "-o", "Debug::NoLocking=1", "-o", f"Dir::State::Lists={home}/lists", "-o", f"Dir::Cache={home}/cache"]
        run([*apt, "update"], complaint)
        run([*apt, "--yes", "--download-only", "--no-install-recommends", "install", *packages], complaint, stdout=subprocess.DEVNULL)
        for package in (home / "cache/archives").glob("*.deb"):
            run(["dpkg", "-x", package, home / "root"], complaint)
        shutil.rmtree(home / "cache")

    return installed(name, " ".join(packages), unpack) / "root"


def cargo_tool(name):
    """A program that cargo calls. No optimised build: what takes its time is not the tool itself."""
    version = CARGO_TOOLS[name]

    def build(home):
        log(f"Building {name} (once, about a minute) ...")
        run([
            "cargo", "install", name, "--version", version, "--locked", "--profile", "dev",
            "--root", home, "--target-dir", home / "target", "--quiet",
        ], f"{name} could not be built; the lines above say why.")
        shutil.rmtree(home / "target")

    return installed(name, version, build) / "bin" / name


def run(command, complaint, **kwargs):
    """Runs a program to its end."""
    if subprocess.run([str(word) for word in command], check=False, **kwargs).returncode:
        raise UserError(complaint)


def _venv(name, requirements):
    """A virtual environment with these packages, made anew when their list has changed."""
    def install(home):
        log(f"Installing {name} into .tools (once, about half a minute) ...")
        run([sys.executable, "-m", "venv", home], "A Python environment could not be made in .tools.")
        run([
            home / "bin/python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check",
            "--require-hashes", "--no-deps", "--only-binary", ":all:", "--requirement", requirements,
        ], f"{name} could not be installed; the lines above say why.", env={**os.environ, "PIP_ROOT_USER_ACTION": "ignore"})

    wanted = hashlib.sha256(requirements.read_bytes() + sys.version.encode()).hexdigest()
    return installed(name, wanted, install) / "bin"


def installed(name, wanted, install):
    """The tool's folder in `.tools`, filled by `install` unless it has what is wanted.

    One process at a time does so: make runs targets beside each other that take the same tool.
    """
    home = TOOLS / name
    TOOLS.mkdir(exist_ok=True)
    with open(TOOLS / f"{name}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        stamp = home / "installed"
        if not stamp.exists() or stamp.read_text() != wanted:
            shutil.rmtree(home, ignore_errors=True)
            install(home)
            stamp.write_text(wanted)
    return home


if __name__ == "__main__":
    try:
        check_machine()
        programs = {
            **{name: functools.partial(cargo_tool, name) for name in CARGO_TOOLS},
            "bench-python": bench_python, "checkov": checkov, "contracts-python": contracts_python, "emulator-python": emulator_python,
            "shop-python": shop_python,
            "sam": lambda: sam_bin() / "sam", "sam-python": lambda: sam_bin() / "python",
            "cfn-lint": lambda: sam_bin() / "cfn-lint",
            "deno": lambda: format_bin() / "deno", "ruff": lambda: format_bin() / "ruff",
        }
        tool = programs[sys.argv[1]]()
        run([tool, *sys.argv[2:]], f"{sys.argv[1]} failed.")
    except UserError as error:
        sys.exit(str(error))
