"""Installs pinned tools into `.tools/` of the checkout. Runs on a bare Python.

tools.py TOOL [ARGUMENT...]   installs the tool if missing or outdated, then runs it
"""

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
CARGO_TOOLS = {"cargo-deny": "0.20.2", "cargo-fuzz": "0.13.2", "cargo-mutants": "27.1.0"}

OLDEST_PYTHON = (3, 11)
BROWSERS = (("chromium", "chromium-browser", "google-chrome"), ("chromedriver",))


class UserError(Exception):
    """A problem the user can solve; the message names the solution."""


def log(text):
    """Prints a message to standard error; standard output is reserved for results."""
    print(text, file=sys.stderr, flush=True)


def check_machine():
    """Raises `UserError` if a prerequisite is missing: Linux, Python with venv, a C compiler, cargo."""
    if sys.platform != "linux":
        raise UserError("The functions are built for Linux: use the container of .devcontainer, or WSL on Windows.")
    if sys.version_info < OLDEST_PYTHON:
        oldest = ".".join(map(str, OLDEST_PYTHON))
        raise UserError(f"Python {oldest} or newer is required; this is {platform.python_version()}.")
    if not shutil.which("cargo"):
        raise UserError("cargo is not on the PATH. Install Rust with rustup, then open a new terminal.")
    if not shutil.which("cc"):
        raise UserError("A C compiler is missing. On Debian or Ubuntu: apt install build-essential.")
    try:
        import ensurepip  # noqa: F401
        import venv  # noqa: F401
    except ImportError:
        raise UserError("Python's venv module is missing. On Debian or Ubuntu: apt install python3-venv.") from None


def emulator_python():
    """Returns the Python interpreter with the emulator and the libraries of `local/`."""
    return _venv("emulator", ROOT / "local/emulator/requirements.txt") / "python"


def sam_bin():
    """Returns the folder with the programs sam and cargo-lambda."""
    return _venv("sam", ROOT / "local/sam-requirements.txt")


def checkov():
    """Returns checkov, the security scanner for templates."""
    return _venv("checkov", ROOT / "tests/template/requirements.txt") / "checkov"


def contracts_python():
    """Returns the Python interpreter with the validators for OpenAPI and AsyncAPI."""
    return _venv("contracts", ROOT / "tests/deployed/openapi/requirements.txt") / "python"


def bench_python():
    """Returns the Python interpreter with the libraries of the benchmark."""
    return _venv("bench", ROOT / "tests/bench/requirements.txt") / "python"


def shop_python():
    """Returns the Python interpreter with Selenium."""
    return _venv("shop", ROOT / "tests/deployed/shop/requirements.txt") / "python"


def aws_bin():
    """Returns the folder with the AWS CLI."""
    return _venv("aws", ROOT / "tests/deployed/pages/requirements.txt")


def format_bin():
    """Returns the folder with ruff and deno: formatters and linters for Python, JavaScript and CSS."""
    return _venv("format", ROOT / "local/format-requirements.txt")


def browser():
    """Returns Chromium, its driver, and the environment variables for both."""
    programs = [next(filter(None, map(shutil.which, names)), None) for names in BROWSERS]
    if all(programs):
        return *programs, {}
    root = _unpacked("chromium", "chromium-driver", "fonts-liberation")
    # libpulse loads libpulsecommon from a folder of its own, by an absolute path outside of `root`.
    folders = ("lib/*-gnu", "usr/lib/*-gnu", "usr/lib/*-gnu/pulseaudio")
    libraries = [str(folder) for pattern in folders for folder in root.glob(pattern)]
    environment = {"LD_LIBRARY_PATH": os.pathsep.join(libraries)}
    if (root / "etc/fonts").exists():
        environment["FONTCONFIG_SYSROOT"] = str(root)
    return root / "usr/lib/chromium/chromium", root / "usr/bin/chromedriver", environment


def zsh():
    """Returns zsh."""
    return shutil.which("zsh") or _unpacked("zsh", "zsh-common") / "bin/zsh"


def valgrind():
    """Returns valgrind and its environment variables."""
    program = shutil.which("valgrind")
    if program:
        return program, {}
    root = _unpacked("valgrind")
    return root / "usr/bin/valgrind.bin", {"VALGRIND_LIB": str(root / "usr/libexec/valgrind")}


def _unpacked(*packages):
    """Returns a folder with unpacked Debian packages: unlike an installation, that needs no root."""
    name = packages[0]
    failure = f"{name} is missing. Install it (Debian: apt install {' '.join(packages)})."

    def unpack(home):
        if not shutil.which("apt-get"):
            raise UserError(failure)
        log(f"Unpacking {name} into .tools (once, about a minute) ...")
        for folder in ("lists/partial", "cache/archives/partial", "root"):
            (home / folder).mkdir(parents=True)
        apt = [
            "apt-get",
            "-qq",
            "-o",
            "Debug::NoLocking=1",
            "-o",
            f"Dir::State::Lists={home}/lists",
            "-o",
            f"Dir::Cache={home}/cache",
        ]
        run([*apt, "update"], failure)
        download = [*apt, "--yes", "--download-only", "--no-install-recommends", "install", *packages]
        run(download, failure, stdout=subprocess.DEVNULL)
        for package in (home / "cache/archives").glob("*.deb"):
            run(["dpkg", "-x", package, home / "root"], failure)
        shutil.rmtree(home / "cache")

    return installed(name, " ".join(packages), unpack) / "root"


def cargo_tool(name):
    """Returns a cargo subcommand, built without optimisation, because most of the time is spent elsewhere."""
    version = CARGO_TOOLS[name]

    def build(home):
        log(f"Building {name} (once, about a minute) ...")
        run(
            [
                "cargo",
                "install",
                name,
                "--version",
                version,
                "--locked",
                "--profile",
                "dev",
                "--root",
                home,
                "--target-dir",
                home / "target",
                "--quiet",
            ],
            f"The build of {name} failed; see the lines above.",
        )
        shutil.rmtree(home / "target")

    return installed(name, version, build) / "bin" / name


def run(command, failure, **kwargs):
    """Runs a program; raises `UserError` with the text `failure` if it fails."""
    if subprocess.run([str(word) for word in command], check=False, **kwargs).returncode:
        raise UserError(failure)


def _venv(name, requirements):
    """Returns the `bin` folder of a virtual environment, rebuilt if the requirements have changed."""

    def install(home):
        log(f"Installing {name} into .tools (once, about half a minute) ...")
        run([sys.executable, "-m", "venv", home], "The creation of a virtual environment in .tools failed.")
        run(
            [
                home / "bin/python",
                "-m",
                "pip",
                "install",
                "--quiet",
                "--disable-pip-version-check",
                "--require-hashes",
                "--no-deps",
                "--only-binary",
                ":all:",
                "--requirement",
                requirements,
            ],
            f"The installation of {name} failed; see the lines above.",
            env={**os.environ, "PIP_ROOT_USER_ACTION": "ignore"},
        )

    wanted = hashlib.sha256(requirements.read_bytes() + sys.version.encode()).hexdigest()
    return installed(name, wanted, install) / "bin"


def installed(name, wanted, install):
    """Returns the tool's folder in `.tools`; runs `install` unless the wanted version is there.

    A lock serialises installations: make runs targets in parallel that need the same tool.
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


def main(name, *arguments):
    programs = {
        **{tool: functools.partial(cargo_tool, tool) for tool in CARGO_TOOLS},
        "bench-python": bench_python,
        "checkov": checkov,
        "contracts-python": contracts_python,
        "emulator-python": emulator_python,
        "shop-python": shop_python,
        "sam": lambda: sam_bin() / "sam",
        "sam-python": lambda: sam_bin() / "python",
        "cfn-lint": lambda: sam_bin() / "cfn-lint",
        "deno": lambda: format_bin() / "deno",
        "ruff": lambda: format_bin() / "ruff",
    }
    check_machine()
    sys.exit(subprocess.run([programs[name](), *arguments], check=False).returncode)


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except UserError as error:
        sys.exit(str(error))
