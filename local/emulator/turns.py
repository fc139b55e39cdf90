"""On AWS every running function has a machine of its own. Here they share one, and two hundred that
start at once would all be too slow. This fix lets only a few of each function run at once; the
others wait for their turn."""

import collections
import os
import threading

from ministack.services import lambda_svc

AT_ONCE = 4 * (os.cpu_count() or 1)


def apply():
    run = lambda_svc._execute_function_dispatch
    turns = collections.defaultdict(lambda: threading.BoundedSemaphore(AT_ONCE))

    def run_in_turn(function, config, *args):
        with turns[config["FunctionArn"]]:
            return run(function, config, *args)

    lambda_svc._execute_function_dispatch = run_in_turn
