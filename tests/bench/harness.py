"""What a Lambda function sees of the world: the Runtime API, which hands it events, and AWS's services,
which answer what they are told to, over TLS.

The function runs as it is deployed, in a process of its own. It gets as many events as asked for; when
it polls for one more it is left waiting, and can be looked at and ended.
"""

import json
import os
import signal
import ssl
import subprocess
import tempfile
import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import trustme

ROOTS = Path(__file__).resolve().parent.parent.parent / "shared/lambda/src/roots.pem"
PATIENCE_SECONDS = 120
NEXT = "/2018-06-01/runtime/invocation/next"


class Ended(Exception):
    """The function has ended, or does not answer."""


class Observed:
    """What one process did until it was ended."""

    def __init__(self, answers, cpu_seconds, peak_bytes):
        self.answers, self.cpu_seconds, self.peak_bytes = answers, cpu_seconds, peak_bytes


class World:
    """A Runtime API and an AWS. Up inside a `with`."""

    def __enter__(self):
        self._folder = tempfile.TemporaryDirectory()
        self._aws = _Server(_Aws)
        self._aws.tls(Path(self._folder.name))
        self._runtime = _Server(_Runtime)
        return self

    def __exit__(self, *_):
        for server in (self._aws, self._runtime):
            server.end()
        self._folder.cleanup()

    @property
    def calls(self):
        """The operations that were asked of AWS in the last run, in order."""
        return self._aws.calls

    def environment(self, settings):
        """What Lambda and the template set."""
        return {
            "PATH": os.environ["PATH"], "HOME": "/tmp", "LANG": "C.UTF-8",
            "AWS_LAMBDA_RUNTIME_API": f"127.0.0.1:{self._runtime.port}",
            "AWS_LAMBDA_FUNCTION_NAME": "bench", "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "256",
            "AWS_LAMBDA_FUNCTION_VERSION": "1", "AWS_LAMBDA_INITIALIZATION_TYPE": "on-demand",
            "AWS_LAMBDA_LOG_GROUP_NAME": "bench", "AWS_LAMBDA_LOG_STREAM_NAME": "bench",
            "AWS_REGION": "us-east-1", "AWS_ACCESS_KEY_ID": "AKIDEXAMPLE",
            "AWS_SECRET_ACCESS_KEY": "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", "AWS_SESSION_TOKEN": "x" * 800,
            "AWS_ENDPOINT_URL": f"https://localhost:{self._aws.port}",
            "AWS_CA_BUNDLE": self._aws.roots, "NODE_EXTRA_CA_CERTS": self._aws.roots, **settings,
        }

    def run(self, command, case, answers, signal_number=signal.SIGKILL, environment={}):
        """Starts a function, has it answer that many events, and ends it when it waits for the next."""
        with self._start(command, case, answers, environment) as process:
            self._runtime.wait_until_idle(process)
            peak = _peak_bytes(process.pid)
            os.kill(process.pid, signal_number)
            _, _, used = os.wait4(process.pid, 0)
            process.returncode = 0
        return Observed(self._runtime.answers, used.ru_utime + used.ru_stime, peak)

    @contextmanager
    def _start(self, command, case, answers, environment):
        self._aws.begin(case.replies)
        self._runtime.begin(case.event, answers)
        process = subprocess.Popen(
            [str(word) for word in command], env=self.environment(case.settings) | environment, stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        try:
            yield process
        finally:
            if process.returncode is None:
                process.kill()
                process.wait()
            process.stderr.close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, handler):
        super().__init__(("127.0.0.1", 0), handler)
        self.port = self.server_address[1]
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def tls(self, folder):
        """Answers as AWS does: an RSA certificate, issued by an authority that a root vouches for."""
        root = trustme.CA(key_type=trustme.KeyType.RSA)
        certificate = root.create_child_ca(key_type=trustme.KeyType.RSA).issue_cert(
            "localhost", key_type=trustme.KeyType.RSA)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        certificate.configure_cert(context)
        self.socket = context.wrap_socket(self.socket, server_side=True, do_handshake_on_connect=False)
        # As many as a function reads in AWS, and the one that vouches here.
        trusted = folder / "roots.pem"
        trusted.write_bytes(ROOTS.read_bytes() + root.cert_pem.bytes())
        self.roots = str(trusted)

    def begin(self, *what):
        """Forgets the last run. Every run has state of its own, so that a straggler of the last one
        cannot touch it."""
        self.idle, self.closing = threading.Event(), threading.Event()
        self.calls, self.answers = [], []
        self.given, self.what = 0, what

    def wait_until_idle(self, process):
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not self.idle.wait(0.02):
            if process.poll() is not None or time.monotonic() > deadline:
                process.kill()
                raise Ended(process.stderr.read().decode()[-2_000:] or f"ended with {process.returncode}")

    def end(self):
        if hasattr(self, "closing"):
            self.closing.set()
        self.shutdown()
        self.server_close()

    def handle_error(self, request, client_address):
        """A function that is ended breaks its connections."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def body(self):
        return self.rfile.read(int(self.headers.get("content-length", 0)))

    def answer(self, status, body, **headers):
        content = body.encode()
        self.send_response(status)
        for name, value in {"content-length": len(content), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        # In one write: no waiting for an acknowledgement in between.
        self.wfile.write(content)

    def log_message(self, *_):
        """Nothing: what counts is in the table."""


class _Runtime(_Handler):
    """The Runtime API (Lambda developer guide, "Using the Lambda runtime API")."""

    wbufsize = -1

    def do_GET(self):
        assert self.path == NEXT, self.path
        server, run = self.server, self.server.idle
        event, wanted = server.what
        if server.given == wanted:
            run.set()
            server.closing.wait()
            return
        server.given += 1
        self.answer(
            200, event, content_type="application/json",
            lambda_runtime_aws_request_id=f"00000000-0000-4000-8000-{server.given:012}",
            lambda_runtime_deadline_ms=int(time.time() * 1_000) + 600_000,
            lambda_runtime_invoked_function_arn="arn:aws:lambda:us-east-1:111122223333:function:bench",
            lambda_runtime_trace_id="Root=1-65554d4a-1b2c3d4e5f60718293a4b5c6;Sampled=0")
        self.wfile.flush()

    def do_POST(self):
        body = self.body().decode()
        assert self.path.endswith("/response"), f"{self.path}: {body}"
        self.server.answers.append(json.loads(body))
        self.answer(202, "", content_type="application/json")
        self.wfile.flush()


class _Aws(_Handler):
    """Any service: the operation is named by a header, or by the path (EventBridge Scheduler)."""

    wbufsize = -1

    def do_POST(self):
        body = self.body().decode()
        operation = self.headers.get("x-amz-target", self.path).rpartition(".")[2]
        self.server.calls.append(operation)
        reply = self.server.what[0](operation, body)
        self.answer(200, json.dumps(reply), content_type="application/x-amz-json-1.0", x_amzn_requestid="request")
        self.wfile.flush()


def _peak_bytes(pid):
    status = Path(f"/proc/{pid}/status").read_text()
    return next(int(line.split()[1]) * 1_024 for line in status.splitlines() if line.startswith("VmHWM"))
