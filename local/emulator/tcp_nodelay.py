"""On AWS a warm function answers within a millisecond of its own time. The emulator's Runtime API
writes an answer's head and body as two small packets, and so waits for the function's delayed
acknowledgement of the first, some 40 ms. This fix sends small packets at once."""

import http.server


def apply():
    http.server.BaseHTTPRequestHandler.disable_nagle_algorithm = True
