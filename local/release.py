"""Builds the functions for AWS and checks each program: release.py [FOLDER]

The build is `sam build` of the deployment, in .aws-sam/build; with a FOLDER, its programs are only checked. A program
must be what the runtime provided.al2023 on arm64 starts: an executable `bootstrap` for AArch64 that needs no library
and no version of glibc beyond those of Amazon Linux 2023. `samconfig.toml` deploys exactly these files.

https://docs.aws.amazon.com/lambda/latest/dg/lambda-runtimes.html#runtimes-custom-al2023 (the name `bootstrap`)
https://docs.aws.amazon.com/linux/al2023/ug/core-glibc.html (glibc 2.34)
https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html (250 MB unzipped)
"""

import os
import re
import subprocess
import sys
import zlib
from pathlib import Path

import tools
from tools import ROOT, UserError, log

BUILD = ROOT / ".aws-sam/build"
TARGET = "aarch64-unknown-linux-gnu"
HEADER = {"Class": "ELF64", "Machine": "AArch64", "Data": "2's complement, little endian"}
INTERPRETER = "/lib/ld-linux-aarch64.so.1"
LIBRARIES = {"ld-linux-aarch64.so.1", "libc.so.6", "libdl.so.2", "libgcc_s.so.1", "libm.so.6", "libpthread.so.0"}
NEWEST_GLIBC = (2, 34)
# Far above the programs today: a cold start loads all of it.
LARGEST_BYTES = 20_000_000
MEGABYTE = 1_000_000


def build():
    """Runs `sam build` for arm64."""
    # Does nothing if it is installed.
    tools.run(["rustup", "--quiet", "target", "add", TARGET], "The Rust target for arm64 is missing.", cwd=ROOT)
    sam = tools.sam_bin()
    environment = {**os.environ, "PATH": f"{sam}{os.pathsep}{os.environ['PATH']}", "SAM_CLI_TELEMETRY": "0"}
    log("Building the functions for AWS, with link-time optimisation: 15 minutes on two cores ...")
    tools.run([sam / "sam", "build"], "The build failed; see the lines above.", cwd=ROOT, env=environment)


def check(folder):
    """Prints a row for each program. Raises `UserError` if a program is missing or cannot run in AWS."""
    programs = sorted(folder.glob("*/bootstrap"))
    faults = []
    print(f"{'function':<24}{'machine':<10}{'glibc':>7}{'MB':>7}{'MB zipped':>11}")
    for program in programs:
        text = _readelf(program)
        versions = _glibc_versions(text)
        newest = ".".join(map(str, max(versions, default=(0,))))
        size, zipped = program.stat().st_size / MEGABYTE, len(zlib.compress(program.read_bytes())) / MEGABYTE
        print(f"{program.parent.name:<24}{_field(text, 'Machine'):<10}{newest:>7}{size:>7.1f}{zipped:>11.1f}")
        faults += [f"{program}: {fault}" for fault in program_faults(program, text)]
    expected = len(list((ROOT / "functions").iterdir()))
    if len(programs) != expected:
        faults.append(f"{folder} has {len(programs)} programs, not {expected}")
    if faults:
        raise UserError("\n".join(faults))


def program_faults(program, text):
    """Yields the reasons why AWS cannot run a program; `text` is the output of readelf."""
    for name, wanted in HEADER.items():
        if (found := _field(text, name)) != wanted:
            yield f"{name} is {found}, not {wanted}"
    if f"[Requesting program interpreter: {INTERPRETER}]" not in text:
        yield f"the interpreter is not {INTERPRETER}"
    if unknown := set(re.findall(r"Shared library: \[(.+?)\]", text)) - LIBRARIES:
        yield f"needs {', '.join(sorted(unknown))}, which the runtime does not have"
    if newer := {version for version in _glibc_versions(text) if version > NEWEST_GLIBC}:
        yield f"needs glibc {'.'.join(map(str, max(newer)))}; the runtime has {'.'.join(map(str, NEWEST_GLIBC))}"
    if not os.access(program, os.X_OK):
        yield "is not executable"
    if program.stat().st_size > LARGEST_BYTES:
        yield f"is larger than {LARGEST_BYTES / MEGABYTE:.0f} MB"


def _readelf(program):
    """Returns header, segments, libraries and needed versions. readelf comes with the C compiler."""
    command = ["readelf", "--file-header", "--segments", "--dynamic", "--version-info", "--wide", program]
    # Another language would translate the names.
    environment = {**os.environ, "LC_ALL": "C"}
    done = subprocess.run(command, check=False, capture_output=True, text=True, env=environment)
    return done.stdout


def _field(text, name):
    found = re.search(rf"^\s*{name}:\s*(.*?)\s*$", text, re.MULTILINE)
    return found[1] if found else "missing"


def _glibc_versions(text):
    return {tuple(map(int, version.split("."))) for version in re.findall(r"\bGLIBC_([\d.]+\d)\b", text)}


def main(folder=None):
    if folder is None:
        build()
    check(Path(folder or BUILD))


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except UserError as error:
        sys.exit(str(error))
