"""Tests of the checks of a release's programs."""

import contextlib
import io
import tempfile
import unittest
from pathlib import Path
from unittest import mock

import release
from tools import ROOT, UserError

# The lines of readelf that count, of a program for AWS.
READELF = """
  Class:                             ELF64
  Data:                              2's complement, little endian
  Machine:                           AArch64
      [Requesting program interpreter: /lib/ld-linux-aarch64.so.1]
 0x0000000000000001 (NEEDED)             Shared library: [libgcc_s.so.1]
 0x0000000000000001 (NEEDED)             Shared library: [libc.so.6]
  0x0010:   Name: GLIBC_2.17  Flags: none  Version: 4
  0x0020:   Name: GLIBC_2.34  Flags: none  Version: 3
  0x0030:   Name: GCC_3.3  Flags: none  Version: 2
"""


class Release(unittest.TestCase):
    def setUp(self):
        self.folder = Path(self.enterContext(tempfile.TemporaryDirectory()))
        self.program = self.add_program("ShowOrderFunction")

    def add_program(self, name):
        program = self.folder / name / "bootstrap"
        program.parent.mkdir()
        program.write_bytes(b"\x7fELF")
        program.chmod(0o755)
        return program

    def faults(self, old="", new=""):
        self.assertIn(old, READELF)
        return list(release.program_faults(self.program, READELF.replace(old, new)))

    def test_program_for_aws_has_no_fault(self):
        self.assertEqual(self.faults(), [])

    def test_each_fault_is_found(self):
        for old, new, fault in (
            ("AArch64", "Advanced Micro Devices X86-64", "Machine is Advanced Micro Devices X86-64, not AArch64"),
            ("ELF64", "ELF32", "Class is ELF32, not ELF64"),
            ("ld-linux-aarch64.so.1]", "ld-musl-aarch64.so.1]", f"the interpreter is not {release.INTERPRETER}"),
            ("libgcc_s.so.1", "libssl.so.3", "needs libssl.so.3, which the runtime does not have"),
            ("GLIBC_2.34", "GLIBC_2.39", "needs glibc 2.39; the runtime has 2.34"),
            ("GLIBC_2.34", "GLIBC_2.34.1", "needs glibc 2.34.1; the runtime has 2.34"),
        ):
            self.assertEqual(self.faults(old, new), [fault])
        with self.program.open("wb") as file:
            file.truncate(release.LARGEST_BYTES + 1)
        self.program.chmod(0o644)
        self.assertEqual(self.faults(), ["is not executable", "is larger than 20 MB"])

    def test_missing_program_is_found(self):
        functions = sorted(path.name for path in (ROOT / "functions").iterdir())
        for name in functions[2:]:
            self.add_program(name)
        with (
            mock.patch.object(release, "_readelf", return_value=READELF),
            contextlib.redirect_stdout(io.StringIO()) as printed,
            self.assertRaisesRegex(UserError, f"has {len(functions) - 1} programs, not {len(functions)}$"),
        ):
            release.check(self.folder)
        self.assertRegex(printed.getvalue(), r"ShowOrderFunction +AArch64 +2\.34 +0\.0")

    def test_program_for_another_system_is_found(self):
        with (
            mock.patch.object(release, "_readelf", return_value="Not an ELF file"),
            contextlib.redirect_stdout(io.StringIO()),
            self.assertRaisesRegex(UserError, "Machine is missing, not AArch64"),
        ):
            release.check(self.folder)


if __name__ == "__main__":
    unittest.main()
