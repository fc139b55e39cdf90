"""Tests of tool installation: locking, upgrade, recovery."""

import tempfile
import threading
import time
import unittest
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from unittest import mock

import tools


class Installation(unittest.TestCase):
    def setUp(self):
        folder = self.enterContext(tempfile.TemporaryDirectory())
        self.enterContext(mock.patch.object(tools, "TOOLS", Path(folder) / "tools"))
        self.installs = []

    def install(self, home):
        self.assertFalse(home.exists(), "the earlier installation is still there")
        home.mkdir()
        time.sleep(0.05)  # lets concurrent callers find the incomplete folder
        (home / "program").write_text("complete")
        self.installs.append(home.name)

    def test_concurrent_callers_install_a_tool_once(self):
        start = threading.Barrier(4)

        def call(_):
            start.wait()
            return (tools.installed("sam", "1", self.install) / "program").read_text()

        with ThreadPoolExecutor(4) as pool:
            self.assertEqual(list(pool.map(call, range(4))), ["complete"] * 4)
        self.assertEqual(self.installs, ["sam"])

    def test_another_version_is_installed_anew(self):
        for version in ("1", "1", "2"):
            tools.installed("sam", version, self.install)
        self.assertEqual(self.installs, ["sam", "sam"])

    def test_failed_installation_is_repeated(self):
        def fail(home):
            home.mkdir()
            raise tools.UserError("no network")

        with self.assertRaises(tools.UserError):
            tools.installed("sam", "1", fail)
        tools.installed("sam", "1", self.install)
        self.assertEqual(self.installs, ["sam"])


if __name__ == "__main__":
    unittest.main()
