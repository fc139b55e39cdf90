"""Fix: limits on concurrent functions and API requests.

On AWS each running function, API Gateway and DynamoDB have machines of their own. Here they share one
machine: 200 functions started at once would slow down each other and the services they call. This fix
limits the number of concurrent executions of each function, and of concurrent requests to the API. All
others wait before any work is done for them, so the calls of running functions are served first.
"""

import asyncio
import collections
import os
import re
import threading

from ministack import app
from ministack.services import lambda_svc

MAX_CONCURRENT = 4 * (os.cpu_count() or 1)
API_PATH = re.compile("/api/|/_aws/execute-api/")


def apply():
    _limit_functions()
    _limit_requests()


def _limit_functions():
    run = lambda_svc._execute_function_dispatch
    slots = collections.defaultdict(lambda: threading.BoundedSemaphore(MAX_CONCURRENT))

    def run_limited(function, config, *args):
        with slots[config["FunctionArn"]]:
            return run(function, config, *args)

    lambda_svc._execute_function_dispatch = run_limited


def _limit_requests():
    serve, slots = app.app, asyncio.BoundedSemaphore(MAX_CONCURRENT)

    async def serve_limited(scope, receive, send):
        if scope["type"] == "http" and API_PATH.match(scope["path"]):
            async with slots:
                await serve(scope, receive, send)
        else:
            await serve(scope, receive, send)

    app.app = serve_limited
