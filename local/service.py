"""One stack: the emulator, the token issuer, and the service deployed into the emulator."""

import fcntl
import hashlib
import json
import os
import platform
import shlex
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path

import boto3

import processes
import shop
import tools
from bus import Bus
from issuer import AUDIENCE, Issuer
from tools import MARKER, ROOT, UserError, log

REGION = "us-east-1"
STACK_NAME = "orders-local"
ARCHITECTURE = "arm64" if platform.machine() == "aarch64" else "x86_64"
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
BUILD_LOG_HINT = "The build failed; the lines above say why."

SAMPLE_TICKETS = [
    {"id": "concert-1", "title": "Concert in the park", "price": 25.5, "version": 0},
    {"id": "opera-1", "title": "An evening at the opera", "price": 120, "version": 0},
    {"id": "match-1", "title": "The cup final", "price": 49.99, "version": 0},
]


class Stack:
    """Up inside a `with`; down, without a process left, after it."""

    def __init__(self, state, ports, stack_file, shop_port=None):
        self.state = state
        self.stack_file = stack_file
        self.port, self.issuer_port = (port or _free_port() for port in ports)
        self.endpoint = f"http://127.0.0.1:{self.port}"
        self.issuer_url = f"http://127.0.0.1:{self.issuer_port}"
        # None: there is no shop.
        self.shop_port = _free_port() if shop_port == 0 else shop_port
        self.shop_url = f"http://127.0.0.1:{self.shop_port}" if self.shop_port else None
        self.emulator = None
        self.description = None

    def __enter__(self):
        for signal_number in SIGNALS:
            signal.signal(signal_number, _stop)
        self._take_state()
        processes.remember(self.state, "stack", os.getpid())
        try:
            self._check_ports()
            sam = tools.sam_bin()
            fingerprint = build(sam)
            # Building takes its time.
            self._check_ports()
            self.issuer = Issuer(self.state / "issuer.pem", self.issuer_url)
            self.issuer.serve(self.issuer_port)
            (self.state / "issuer-url").write_text(self.issuer_url)
            self._move_state_here()
            self._start_emulator()
            self._deploy(sam, fingerprint)
            # For tests: what a crash must not lose.
            signal.signal(signal.SIGUSR1, self.crash_emulator)
            signal.signal(signal.SIGUSR2, self.crash_functions)
            self._describe()
            self._open_shop()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        # A second Ctrl-C must not leave anything behind.
        for signal_number in (*SIGNALS, signal.SIGUSR1, signal.SIGUSR2):
            signal.signal(signal_number, signal.SIG_IGN)
        if self.stack_file.exists() and self.stack_file.read_text() == self.description:
            self.stack_file.unlink()
        if self.emulator:
            if processes.runs(self.emulator.pid):
                log("Ending the emulator ...")
            processes.end(self.emulator.pid, group=True)
            self.emulator.wait()
        for name in ("emulator", "stack"):
            processes.forget(self.state, name)

    def _take_state(self):
        """Makes the folder ours for as long as this process lives."""
        try:
            self.state.mkdir(parents=True, exist_ok=True)
            self._lock = open(self.state / MARKER, "w")
        except OSError as error:
            raise UserError(f"{self.state} cannot be used for the data: {error.strerror}.") from None
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError("This stack is up already, or about to be. To end it: make down") from None
        if processes.running(self.state, "emulator"):
            raise UserError("An emulator has been left over. To end it: make down")

    def _check_ports(self):
        settings = {}
        ports = (("PORT", self.port), ("ISSUER_PORT", self.issuer_port), ("SHOP_PORT", self.shop_port))
        for setting, port in ports:
            if port in settings:
                raise UserError(f"{settings[port]} and {setting} are both {port}, but must differ.")
            if port:
                settings[port] = setting
                _check_free(port, setting)

    def crash_emulator(self, *_):
        """Ends the emulator as a crash would, with the functions in it, and starts it again."""
        processes.signal_to(-self.emulator.pid, signal.SIGKILL)
        self.emulator.wait()
        self._start_emulator()

    def crash_functions(self, *_):
        """Ends every function that runs, as a crash would."""
        for pid in processes.children(self.emulator.pid):
            processes.signal_to(pid, signal.SIGKILL)

    def wait(self):
        """Until Ctrl-C."""
        emulator = self.emulator
        # Not `emulator.wait()`: `crash_emulator` interrupts this, and two that wait would wait for each other.
        while processes.runs(emulator.pid) or emulator is not self.emulator:
            emulator = self.emulator
            time.sleep(0.2)
        raise UserError(
            f"The emulator has ended by itself ({emulator.wait()}); see {self.state}/emulator.log. "
            "The data is kept: make run goes on from there.")

    def client(self, service):
        return boto3.client(
            service, endpoint_url=self.endpoint, region_name=REGION,
            aws_access_key_id="test", aws_secret_access_key="test")

    def put_sample_tickets(self):
        """Puts their events on the bus and waits until they can be ordered."""
        entries = [
            {"EventBusName": self.outputs["EventBusName"], "Source": "tickets",
             "DetailType": "TicketCreated", "Detail": json.dumps(ticket)}
            for ticket in SAMPLE_TICKETS]
        self.client("events").put_events(Entries=entries)
        table, last = self.outputs["TicketsTableName"], {"id": {"S": SAMPLE_TICKETS[-1]["id"]}}
        for _ in range(100):
            if "Item" in self.client("dynamodb").get_item(TableName=table, Key=last):
                return
            time.sleep(0.2)
        raise UserError(f"The sample tickets did not arrive; see {self.state}/emulator.log")

    def _open_shop(self):
        if self.shop_url:
            window = shop.Shop(self.endpoint, self.issuer, Bus(json.loads(self.description)), self.state / "shop.jsonl")
            window.listen()
            shop.serve(window, self.shop_port)

    def welcome(self):
        """What a newcomer can do now."""
        ticket = SAMPLE_TICKETS[0]["id"]
        order = shlex.quote(json.dumps({"ticketId": ticket}))
        post = f"curl -i $API/api/orders -H 'Content-Type: application/json' -d {order}"
        later = json.dumps({**SAMPLE_TICKETS[0], "id": "circus-1"})
        entry = json.dumps([{
            "EventBusName": self.outputs["EventBusName"], "Source": "tickets",
            "DetailType": "TicketCreated", "Detail": later}])
        return "\n".join([
            "", "The shop is at", "", f"  {self.shop_url}", "", "and its API at", "", f"  {self.endpoint}/api/orders", "",
            "Paste this into another terminal first:", "",
            f"API={self.endpoint}",
            f"ALICE={self.issuer.token(sub='alice')}",
            f"BOB={self.issuer.token(sub='bob')}", "",
            "Alice orders a ticket, and holds it for 30 seconds; Bob is told when to try again:", "",
            f'{post} -H "Authorization: Bearer $ALICE"',
            f'{post} -H "Authorization: Bearer $BOB"', "",
            "Alice lists her orders, looks at one and cancels it:", "",
            'curl -i $API/api/orders -H "Authorization: Bearer $ALICE"',
            'ORDER=$(curl -s "$API/api/orders?sort=-createdAt&limit=1" -H "Authorization: Bearer $ALICE"'
            """ | sed 's/.*"id":"\\([^"]*\\)","userId".*/\\1/')""",
            'curl -i $API/api/orders/$ORDER -H "Authorization: Bearer $ALICE"',
            'curl -i -X DELETE $API/api/orders/$ORDER -H "Authorization: Bearer $ALICE"', "",
            "A new ticket comes on sale:", "",
            f"curl -s {self.endpoint} --aws-sigv4 aws:amz:{REGION}:events --user test:test "
            f"-H 'X-Amz-Target: AWSEvents.PutEvents' -H 'Content-Type: application/x-amz-json-1.1' "
            f"-d {shlex.quote(json.dumps({'Entries': json.loads(entry)}))}", "",
            "Ctrl-C ends it all. The data stays until make clean-state.", ""])

    def _move_state_here(self):
        """The emulator knows its queues by their URLs, and those name the port that it had."""
        noted = self.state / "endpoint"
        journal = self.state / "emulator/journal"
        if noted.exists() and noted.read_text() != self.endpoint and journal.exists():
            _write_whole(journal, journal.read_text().replace(f"{noted.read_text()}/", f"{self.endpoint}/"))
        noted.write_text(self.endpoint)

    def _start_emulator(self):
        log_file = open(self.state / "emulator.log", "ab")
        environment = {
            "GATEWAY_PORT": str(self.port), "BIND_HOST": "127.0.0.1", "MINISTACK_HOST": "127.0.0.1",
            "SFTP_ENABLED": "0", "IOT_MTLS_ENABLED": "0", "LOG_LEVEL": "INFO",
            "TMPDIR": str(self._folder("tmp")), "PERSIST_STATE": "1", "STATE_DIR": str(self.state / "emulator"),
            "S3_PERSIST": "1", "S3_DATA_DIR": str(self.state / "s3"),
            # For the functions, which inherit it.
            **self._aws_environment(),
        }
        # In a session of its own, so that Ctrl-C reaches only us and we end it in good order.
        self.emulator = subprocess.Popen(
            [tools.emulator_python(), ROOT / "local/emulator/launch.py"], env={**os.environ, **environment},
            stdin=subprocess.DEVNULL, stdout=log_file, stderr=log_file, start_new_session=True)
        processes.remember(self.state, "emulator", self.emulator.pid)
        for _ in range(300):
            if self.emulator.poll() is not None or _answers(f"{self.endpoint}/_ministack/health"):
                break
            time.sleep(0.1)
        else:
            raise UserError(f"The emulator does not answer; see {self.state}/emulator.log")
        if self.emulator.poll() is not None:
            raise UserError(f"The emulator did not start; see {self.state}/emulator.log")

    def _aws_environment(self):
        return {
            "AWS_ENDPOINT_URL": self.endpoint, "AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_DEFAULT_REGION": REGION, "AWS_REGION": REGION,
        }

    def _deploy(self, sam, fingerprint):
        deployed = self.state / "deployed"
        wanted = f"{fingerprint} {self.endpoint} {self.issuer_url} {self.shop_url}"
        # A browser may call the API for the shop's pages.
        origins = [f"CorsOrigins={self.shop_url},http://localhost:{self.shop_port}"] if self.shop_url else []
        if not deployed.exists() or deployed.read_text() != wanted or self._outputs() is None:
            log("Deploying ...")
            log_file = open(self.state / "deploy.log", "wb")
            _run_to_end([
                sam / "sam", "deploy", "--config-env", "local", "--stack-name", STACK_NAME,
                "--parameter-overrides", f"Architecture={ARCHITECTURE}",
                f"JwtIssuer={self.issuer_url}", f"JwtAudience={AUDIENCE}", *origins,
            ], f"The deployment failed; see {log_file.name}", cwd=ROOT, stdout=log_file, stderr=log_file,
                env={**_sam_environment(sam), **self._aws_environment()})
            deployed.write_text(wanted)
        self.outputs = self._outputs()

    def _folder(self, name):
        folder = self.state / name
        folder.mkdir(exist_ok=True)
        return folder

    def _outputs(self):
        """The deployed stack's outputs; none if it is not deployed."""
        cloudformation = self.client("cloudformation")
        try:
            stack = cloudformation.describe_stacks(StackName=STACK_NAME)["Stacks"][0]
        except cloudformation.exceptions.ClientError:
            return None
        return {output["OutputKey"]: output["OutputValue"] for output in stack.get("Outputs", [])}

    def _describe(self):
        description = {
            "apiUrl": self.endpoint, "shopUrl": self.shop_url, "endpointUrl": self.endpoint, "region": REGION, "stackName": STACK_NAME,
            "busName": self.outputs["EventBusName"], "stateFolder": str(self.state.resolve()),
            "tokens": {name: self.issuer.token(sub=name) for name in ("alice", "bob")},
            "outputs": self.outputs,
        }
        self.description = json.dumps(description, indent=2) + "\n"
        _write_whole(self.stack_file, self.description)


def build(sam):
    """Builds what is to be deployed, unless nothing has changed. Returns what tells one build from
    another."""
    folder = ROOT / ".aws-sam"
    folder.mkdir(exist_ok=True)
    with open(folder / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        stamp, fingerprint = folder / "fingerprint", _fingerprint()
        if not stamp.exists() or stamp.read_text() != fingerprint:
            stamp.unlink(missing_ok=True)
            log("Building the functions (the first time takes some minutes) ...")
            target = f"{platform.machine()}-unknown-linux-gnu"
            # sam hides cargo's progress, so cargo goes first and leaves nothing for it to do.
            _run_to_end(["cargo", "build", "--locked", "--target", target], BUILD_LOG_HINT, cwd=ROOT)
            log("Packing them ...")
            _run_to_end([
                sam / "sam", "build", "--config-env", "local", "--parameter-overrides",
                f"Architecture={ARCHITECTURE} JwtIssuer=http://localhost JwtAudience={AUDIENCE}",
            ], BUILD_LOG_HINT, cwd=ROOT, stdout=subprocess.DEVNULL, env={
                **_sam_environment(sam), "SAM_BUILD_MODE": "debug", "CARGO_LAMBDA_COMPILER": "cargo"})
            stamp.write_text(fingerprint)
        return fingerprint


def token(state, sub):
    """A token of the issuer that this state belongs to, for a buyer or with the claims of a JSON
    object."""
    try:
        url = (state / "issuer-url").read_text()
    except FileNotFoundError:
        raise UserError("There is no stack to have tokens for. Start one: make run") from None
    issuer = Issuer(state / "issuer.pem", url)
    if not sub.startswith("{"):
        return issuer.token(sub=sub)
    try:
        return issuer.token(**json.loads(sub))
    except ValueError:
        raise UserError(f"These claims are no JSON object: {sub}") from None


def _run_to_end(command, complaint, **kwargs):
    """Runs a program to its end; if ours comes first, it ends with all that it has started."""
    program = subprocess.Popen([str(word) for word in command], process_group=0, **kwargs)
    try:
        status = program.wait()
    except BaseException:
        processes.end(program.pid, group=True)
        log(f"{Path(command[0]).name} {command[1]} has been ended.")
        raise
    if status:
        raise UserError(complaint)


def _fingerprint():
    sources = [path for folder in ("functions", "shared") for path in (ROOT / folder).rglob("*") if path.is_file()]
    sources += [ROOT / name for name in ("Cargo.toml", "Cargo.lock", "rust-toolchain.toml", "template.yaml", "samconfig.toml")]
    digest = hashlib.sha256()
    for path in sorted(sources):
        digest.update(str(path.relative_to(ROOT)).encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()


def _sam_environment(sam):
    return {**os.environ, "PATH": f"{sam}{os.pathsep}{os.environ['PATH']}", "SAM_CLI_TELEMETRY": "0"}


def _write_whole(path, text):
    """Nobody finds half of it, whatever happens."""
    half = path.with_suffix(".tmp")
    half.write_text(text)
    half.replace(path)


def _free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _check_free(port, setting):
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            raise UserError(
                f"Port {port} is in use. If an earlier stack is still up: make down. "
                f"To use another port: make run {setting}={port + 10}") from None


def _answers(url):
    try:
        with urllib.request.urlopen(url, timeout=2) as answer:
            return answer.status == 200
    except (urllib.error.URLError, OSError):
        return False


def _stop(*_):
    raise KeyboardInterrupt
