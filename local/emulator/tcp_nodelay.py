"""Fix: the Lambda Runtime API responds without a delay.

On AWS a warm function adds about a millisecond of overhead. The emulator's Runtime API sends head and body of
a response as two small packets; the second waits about 40 ms for the delayed acknowledgement of the first.
This fix sets `TCP_NODELAY`.
"""

import http.server


def apply():
    http.server.BaseHTTPRequestHandler.disable_nagle_algorithm = True
