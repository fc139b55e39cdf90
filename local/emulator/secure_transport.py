"""Fix: policies on `aws:SecureTransport` are satisfied.

Clients reach AWS by TLS, and a queue policy may deny requests without TLS (`aws:SecureTransport`). Clients
reach the emulator without TLS, from this machine only. This fix treats every request as a TLS request.
"""

from ministack import app


def apply():
    pin = app.pin_request_origin
    app.pin_request_origin = lambda address, _: pin(address, True)
