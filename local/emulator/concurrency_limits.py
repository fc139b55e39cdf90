"""On AWS every running function has a machine of its own, and API Gateway and DynamoDB have theirs. Here
they all share one, and two hundred that start at once would all be too slow, for themselves and for
what they call. This fix lets only a few of each function run at once, and serves only a few requests
to the API at once; the others wait for their turn, before any work is done for them, so that the
calls of the functions that run are answered first."""

import asyncio
import collections
import os
import re
import threading

from ministack import app
from ministack.services import lambda_svc

AT_ONCE = 4 * (os.cpu_count() or 1)
API_PATH = re.compile("/api/|/_aws/execute-api/")


def apply():
    _let_functions_wait()
    _let_requests_wait()


def _let_functions_wait():
    run = lambda_svc._execute_function_dispatch
    turns = collections.defaultdict(lambda: threading.BoundedSemaphore(AT_ONCE))

    def run_in_turn(function, config, *args):
        with turns[config["FunctionArn"]]:
            return run(function, config, *args)

    lambda_svc._execute_function_dispatch = run_in_turn


def _let_requests_wait():
    serve, turns = app.app, asyncio.BoundedSemaphore(AT_ONCE)

    async def serve_in_turn(scope, receive, send):
        if scope["type"] == "http" and API_PATH.match(scope["path"]):
            async with turns:
                await serve(scope, receive, send)
        else:
            await serve(scope, receive, send)

    app.app = serve_in_turn
