"""Tests of fixes inside the emulator's process. Each probe runs in a process of its own, with or without
the fix."""

import asyncio
import http.server
import json
import socket
import subprocess
import sys
import threading
import time
import unittest
import urllib.request

FACTOR = 4


class NoDelayHandler(http.server.BaseHTTPRequestHandler):
    """Responds with the value of TCP_NODELAY."""

    def do_GET(self):
        no_delay = self.connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps(bool(no_delay)).encode())

    def log_message(self, *_):
        pass


def server_has_no_delay(_):
    server = http.server.HTTPServer(("127.0.0.1", 0), NoDelayHandler)
    threading.Thread(target=server.handle_request, daemon=True).start()
    with urllib.request.urlopen(f"http://127.0.0.1:{server.server_port}") as response:
        return json.load(response)


class Gauge:
    """Counts concurrent executions, and records the maximum."""

    def __init__(self):
        self.running = self.maximum = 0
        self._lock = threading.Lock()

    def __enter__(self):
        with self._lock:
            self.running += 1
            self.maximum = max(self.maximum, self.running)

    def __exit__(self, *_):
        with self._lock:
            self.running -= 1


def functions_are_limited(with_fix):
    from ministack.services import lambda_svc

    import concurrency_limits

    gauge = Gauge()

    def run(function, config):
        with gauge:
            time.sleep(0.05)

    lambda_svc._execute_function_dispatch = run
    if with_fix:
        concurrency_limits.apply()
    config = {"FunctionArn": "test"}
    calls = [
        threading.Thread(target=lambda: lambda_svc._execute_function_dispatch({}, config))
        for _ in range(concurrency_limits.MAX_CONCURRENT * FACTOR)
    ]
    for call in calls:
        call.start()
    for call in calls:
        call.join()
    return gauge.maximum <= concurrency_limits.MAX_CONCURRENT


def requests_are_limited(with_fix):
    from ministack import app

    import concurrency_limits

    gauge = Gauge()

    async def serve(scope, receive, send):
        with gauge:
            await asyncio.sleep(0.05)

    async def send_all():
        api = {"type": "http", "path": "/api/orders"}
        requests = [app.app(api, None, None) for _ in range(concurrency_limits.MAX_CONCURRENT * FACTOR)]
        await asyncio.gather(*requests)

    app.app = serve
    if with_fix:
        concurrency_limits.apply()
    asyncio.run(send_all())
    return gauge.maximum <= concurrency_limits.MAX_CONCURRENT


def messages_in_flight_are_limited(with_fix):
    """Sends 4 messages to a queue whose limit is 3. Returns the numbers of messages of three receives: by Lambda, by a
    long poll, and after a message was deleted; and the error of a short poll."""
    from ministack.services import sqs

    import queue_limits

    if with_fix:
        queue_limits.apply()
        queue_limits.MAX_IN_FLIGHT = 3
    url = sqs._act_create_queue({"QueueName": "test"}, "")["QueueUrl"]
    for _ in range(4):
        sqs._act_send_message({"MessageBody": "x"}, url)
    by_lambda = sqs._receive_messages_for_esm(url, 10)
    long_poll = asyncio.run(sqs._act_receive_message({"WaitTimeSeconds": 1}, url))
    try:
        error = asyncio.run(sqs._act_receive_message({}, url)) and "messages"
    except sqs._Err as fault:
        error = fault.code
    sqs._delete_messages_for_esm(url, {by_lambda[0]["receipt_handle"]})
    return [len(by_lambda), len(long_poll.get("Messages", [])), error, len(sqs._receive_messages_for_esm(url, 10))]


class FixesInProcess(unittest.TestCase):
    def probe(self, function, *fix):
        command = [sys.executable, __file__, "probe", function.__name__, *fix]
        return json.loads(subprocess.run(command, check=True, capture_output=True).stdout)

    def test_runtime_api_sends_small_packets_at_once(self):
        self.assertTrue(self.probe(server_has_no_delay, "tcp_nodelay"))
        self.assertFalse(self.probe(server_has_no_delay))

    def test_concurrent_executions_of_a_function_are_limited(self):
        self.assertTrue(self.probe(functions_are_limited, "concurrency_limits"))
        self.assertFalse(self.probe(functions_are_limited))

    def test_concurrent_api_requests_are_limited(self):
        self.assertTrue(self.probe(requests_are_limited, "concurrency_limits"))
        self.assertFalse(self.probe(requests_are_limited))

    def test_messages_in_flight_are_limited(self):
        self.assertEqual(self.probe(messages_in_flight_are_limited, "queue_limits"), [3, 0, "OverLimit", 1])
        self.assertEqual(self.probe(messages_in_flight_are_limited), [4, 0, {}, 0])


if __name__ == "__main__":
    if sys.argv[1:2] == ["probe"]:
        _, _, probe, *fix = sys.argv
        if fix == ["tcp_nodelay"]:
            import tcp_nodelay

            tcp_nodelay.apply()
        print(json.dumps(globals()[probe](bool(fix))))
    else:
        unittest.main()
