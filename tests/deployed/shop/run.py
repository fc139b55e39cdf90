"""Tests of the demo shop in browsers, against the stack described by ORDERS_STACK_FILE.

run.py [CLASS[.test] ...]   runs all tests, or those with these beginnings. Screenshots are saved in target/shop.
"""

import io
import sys
import unittest
from concurrent.futures import ThreadPoolExecutor

from api_page import ApiPage
from buying import Orders
from failures import Failures
from log import Log
from screens import Screens
from tabs import Tabs

# Two rows run at a time, each class with a browser of its own. The log loses rows while `Tabs` sends many events.
ROWS = ((Orders, ApiPage), (Screens, Failures, Log, Tabs))


def main(names):
    wanted = dict(name.partition(".")[::2] for name in names)
    with ThreadPoolExecutor(len(ROWS)) as pool:
        succeeded = pool.map(lambda row: [run(case, wanted) for case in row], ROWS)
    return 0 if all(map(all, succeeded)) else 1


def run(case, wanted):
    """Runs the wanted tests of a class and prints their results. Returns whether they succeeded."""
    if wanted and case.__name__ not in wanted:
        return True
    # In the order of their definition: the first of `Orders` starts a hold that expires until the last.
    names = [name for name in vars(case) if name.startswith(wanted.get(case.__name__) or "test_")]
    results = io.StringIO()
    result = unittest.TextTestRunner(results, verbosity=2).run(unittest.TestSuite(map(case, names)))
    print(results.getvalue(), file=sys.stderr, flush=True)
    return result.wasSuccessful()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
