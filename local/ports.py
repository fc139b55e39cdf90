"""TCP ports of a stack."""

import dataclasses
import socket

from tools import UserError

HOST = "127.0.0.1"
SETTINGS = {"emulator": "PORT", "issuer": "ISSUER_PORT", "shop": "SHOP_PORT"}


@dataclasses.dataclass(frozen=True)
class Ports:
    """One port for each server of a stack. `shop` is `None` for a stack without the demo shop."""

    emulator: int
    issuer: int
    shop: int | None = None

    @classmethod
    def choose(cls, *ports):
        """Replaces each 0 by a free port."""
        return cls(*(_free_port() if port == 0 else port for port in ports))

    def check(self):
        """Raises `UserError` if two ports are equal or a port is in use."""
        seen = {}
        for server, setting in SETTINGS.items():
            port = getattr(self, server)
            if port in seen:
                raise UserError(f"{seen[port]} and {setting} are both {port}, but must differ.")
            if port is not None:
                seen[port] = setting
                _check_free(port, setting)

    def url(self, server):
        """Returns the address of a server; `None` if the stack does not have it."""
        port = getattr(self, server)
        return f"http://{HOST}:{port}" if port else None


def _free_port():
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return probe.getsockname()[1]


def _check_free(port, setting):
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except PermissionError:
            raise UserError(
                f"Port {port} is not permitted: ports below 1024 are for root. "
                f"To use another port: make run {setting}={port + 10_000}"
            ) from None
        except OSError:
            raise UserError(
                f"Port {port} is in use. To stop a stack left running: make down. "
                f"To use another port: make run {setting}={port + 10}"
            ) from None
