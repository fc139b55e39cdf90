"""What is installed once, whoever asks for it, and how often."""

import tempfile
import threading
import time
import unittest
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from unittest import mock

import tools


class InstalledTests(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.enterContext(mock.patch.object(tools, "TOOLS", Path(folder.name) / "tools"))
        self.installs = []

    def install(self, home):
        self.assertFalse(home.exists(), "installed over what was there")
        home.mkdir()
        time.sleep(0.05)  # long enough for the others to look
        (home / "program").write_text("whole")
        self.installs.append(home.name)

    def test_of_many_who_ask_at_once_one_installs_and_the_others_wait_for_the_whole(self):
        together = threading.Barrier(4)

        def ask(_):
            together.wait()
            return (tools.installed("sam", "1", self.install) / "program").read_text()

        with ThreadPoolExecutor(4) as people:
            self.assertEqual(list(people.map(ask, range(4))), ["whole"] * 4)
        self.assertEqual(self.installs, ["sam"])

    def test_a_tool_is_installed_anew_when_another_is_wanted(self):
        for wanted in ("1", "1", "2"):
            tools.installed("sam", wanted, self.install)
        self.assertEqual(self.installs, ["sam", "sam"])

    def test_an_install_that_broke_off_is_begun_anew(self):
        def broken(home):
            home.mkdir()
            raise tools.UserError("no network")

        with self.assertRaises(tools.UserError):
            tools.installed("sam", "1", broken)
        tools.installed("sam", "1", self.install)
        self.assertEqual(self.installs, ["sam"])


if __name__ == "__main__":
    unittest.main()
