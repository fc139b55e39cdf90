"""Lifecycle of a local stack: token issuer, emulator, deployed service, demo shop."""

import os
import signal

import aws
import data_folder
import deployment
import description
import processes
import shop_server
import tools
import welcome
from bus import Bus
from emulator_process import Emulator
from issuer import Issuer
from shop import Shop
from tools import UserError

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
# Signals by which tests crash a part of the stack.
CRASH_EMULATOR, CRASH_FUNCTIONS = signal.SIGUSR1, signal.SIGUSR2
SAMPLE_BUYERS = ("alice", "bob")


class Stack:
    """A stack that runs inside a `with` block and leaves no process behind."""

    def __init__(self, folder, ports, stack_file):
        self.folder = folder
        self.ports = ports
        self.stack_file = stack_file
        self.endpoint = ports.url("emulator")
        self.issuer = None
        self.outputs = None
        self.emulator = Emulator(folder, ports.emulator)

    def __enter__(self):
        for number in STOP_SIGNALS:
            signal.signal(number, interrupt)
        self._lock = data_folder.lock(self.folder)
        if processes.running(self.folder, "emulator"):
            raise UserError("The emulator of an earlier stack is still running. To stop it: make down")
        processes.record(self.folder, "stack", os.getpid())
        try:
            self._start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        # A second Ctrl-C must not interrupt the cleanup.
        for number in (*STOP_SIGNALS, CRASH_EMULATOR, CRASH_FUNCTIONS):
            signal.signal(number, signal.SIG_IGN)
        description.remove(self.stack_file, self.folder)
        self.emulator.stop()
        for name in ("emulator", "stack"):
            processes.forget(self.folder, name)

    def bus(self):
        """Returns the event bus of the stack."""
        return Bus(self.endpoint, self.outputs["EventBusName"])

    def describe(self):
        """Returns the description of the stack for tools."""
        return {
            "apiUrl": self.endpoint,
            "shopUrl": self.ports.url("shop"),
            "endpointUrl": self.endpoint,
            "region": aws.REGION,
            "stackName": deployment.STACK_NAME,
            "busName": self.outputs["EventBusName"],
            "stateFolder": str(self.folder.resolve()),
            "tokens": {name: self.issuer.token(sub=name) for name in SAMPLE_BUYERS},
            "outputs": self.outputs,
        }

    def _start(self):
        self.ports.check()
        sam = tools.sam_bin()
        fingerprint = deployment.build(sam)
        # A build can take minutes: the ports may be in use by now.
        self.ports.check()
        self.issuer = Issuer(self.folder, self.ports.url("issuer"))
        self.issuer.serve(self.ports.issuer)
        self.emulator.start()
        self.outputs = deployment.deploy(sam, fingerprint, self.folder, self.ports)
        signal.signal(CRASH_EMULATOR, self.emulator.crash)
        signal.signal(CRASH_FUNCTIONS, self.emulator.crash_functions)
        description.write(self.stack_file, self.describe())
        if self.ports.shop:
            self._open_shop()

    def _open_shop(self):
        samples = [ticket["id"] for ticket in reversed(welcome.SAMPLE_TICKETS) if ticket not in welcome.SEATS]
        shop = Shop(self.endpoint, self.issuer, self.bus(), self.folder / "shop.jsonl", samples)
        shop.subscribe()
        shop_server.serve(shop, self.ports.shop)


def interrupt(*_):
    """Ends the program like Ctrl-C. A signal handler."""
    raise KeyboardInterrupt
