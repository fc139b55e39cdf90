"""Runs a Lambda function as a process, with a fake Runtime API and fake AWS services over TLS.

The Runtime API gives the function a fixed number of events. The next poll gets no response: the harness
inspects the waiting process and ends it.
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
# Between two polls.
TIMEOUT_SECONDS = 300
NEXT = "/2018-06-01/runtime/invocation/next"


class Ended(Exception):
    """The function ended by itself, or did not poll in time."""


class Observed:
    """The answers, calls and resources of a process.

    `calls` are AWS operations in order; `repeated_calls` are the SDK's second and later attempts.
    `connections` are the connections accepted by each server, by its name.
    """

    def __init__(self, aws, runtime, cpu_seconds, peak_bytes):
        self.answers, self.calls, self.repeated_calls = runtime.answers, aws.calls, aws.repeated_calls
        self.connections = {"AWS": aws.connections, "the Runtime API": runtime.connections}
        self.cpu_seconds, self.peak_bytes = cpu_seconds, peak_bytes


class Harness:
    """Makes the certificates; a context manager."""

    def __enter__(self):
        self._folder = tempfile.TemporaryDirectory()
        # An RSA certificate, an intermediate and a root, as AWS has.
        root = trustme.CA(key_type=trustme.KeyType.RSA)
        certificate = root.create_child_ca(key_type=trustme.KeyType.RSA).issue_cert(
            "localhost", key_type=trustme.KeyType.RSA
        )
        self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        certificate.configure_cert(self._tls)
        # The five roots of the functions, and the harness's own.
        self._roots = Path(self._folder.name) / "roots.pem"
        self._roots.write_bytes(ROOTS.read_bytes() + root.cert_pem.bytes())
        return self

    def __exit__(self, *_):
        self._folder.cleanup()

    def run(self, command, case, answers, signal_number=signal.SIGKILL, environment=None, output=subprocess.DEVNULL):
        """Starts a function, ends it at the poll after `answers` events, and returns an `Observed`. `output` is the
        file of its standard output."""
        with _AwsServer(case, self._tls) as aws, _RuntimeServer(case, answers) as runtime:
            environment = self._environment(aws, runtime) | case.settings | (environment or {})
            with _process(command, environment, output) as process:
                runtime.wait_until_idle(process)
                peak = _peak_bytes(process.pid)
                os.kill(process.pid, signal_number)
                _, _, used = os.wait4(process.pid, 0)
                process.returncode = 0
            return Observed(aws, runtime, used.ru_utime + used.ru_stime, peak)

    def _environment(self, aws, runtime):
        """Variables set by Lambda and by the template."""
        return {
            "PATH": os.environ["PATH"],
            "HOME": "/tmp",
            "LANG": "C.UTF-8",
            "AWS_LAMBDA_RUNTIME_API": f"127.0.0.1:{runtime.server_port}",
            "AWS_LAMBDA_FUNCTION_NAME": "bench",
            "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "256",
            "AWS_LAMBDA_FUNCTION_VERSION": "1",
            "AWS_LAMBDA_INITIALIZATION_TYPE": "on-demand",
            "AWS_LAMBDA_LOG_GROUP_NAME": "bench",
            "AWS_LAMBDA_LOG_STREAM_NAME": "bench",
            "AWS_REGION": "us-east-1",
            "AWS_ACCESS_KEY_ID": "AKIDEXAMPLE",
            "AWS_SECRET_ACCESS_KEY": "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY",
            "AWS_SESSION_TOKEN": "x" * 800,
            "AWS_ENDPOINT_URL": f"https://localhost:{aws.server_port}",
            "AWS_CA_BUNDLE": str(self._roots),
            "NODE_EXTRA_CA_CERTS": str(self._roots),
        }


@contextmanager
def _process(command, environment, output):
    process = subprocess.Popen(
        [str(word) for word in command],
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.PIPE,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
            process.wait()
        process.stderr.close()


class _Server(ThreadingHTTPServer):
    """Serves a single run. The next run has new servers, so a late request cannot reach its records."""

    daemon_threads = True

    def __init__(self, handler, case):
        super().__init__(("127.0.0.1", 0), handler)
        self.case, self.connections = case, 0

    def __enter__(self):
        threading.Thread(target=self.serve_forever, args=[0.05], daemon=True).start()
        return self

    def __exit__(self, *_):
        self.shutdown()
        self.server_close()

    def process_request(self, request, client_address):
        self.connections += 1
        super().process_request(request, client_address)

    def handle_error(self, request, client_address):
        """Prints nothing: the end of a function breaks its connections."""


class _RuntimeServer(_Server):
    def __init__(self, case, events):
        super().__init__(_Runtime, case)
        self.remaining, self.answers = events, []
        self.idle, self.closing = threading.Event(), threading.Event()
        self.extend_deadline()

    def __exit__(self, *error):
        self.closing.set()
        super().__exit__(*error)

    def extend_deadline(self):
        self.deadline = time.monotonic() + TIMEOUT_SECONDS

    def wait_until_idle(self, process):
        while not self.idle.wait(0.02):
            if process.poll() is not None:
                raise Ended(f"ended with {process.returncode}: {process.stderr.read().decode()[-2_000:]}")
            if time.monotonic() > self.deadline:
                raise Ended(f"no poll within {TIMEOUT_SECONDS} s")


class _AwsServer(_Server):
    def __init__(self, case, tls):
        super().__init__(_Aws, case)
        self.socket = tls.wrap_socket(self.socket, server_side=True, do_handshake_on_connect=False)
        self.calls, self.repeated_calls = [], []


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    # Buffered: an answer leaves in a single write.
    wbufsize = -1

    def body(self):
        return self.rfile.read(int(self.headers.get("content-length", 0)))

    def answer(self, status, body, **headers):
        content = body.encode()
        self.send_response(status)
        for name, value in {"content-length": len(content), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(content)
        self.wfile.flush()

    def log_message(self, *_):
        """Prints nothing."""


class _Runtime(_Handler):
    """Runtime API (Lambda developer guide, "Using the Lambda runtime API")."""

    def do_GET(self):
        assert self.path == NEXT, self.path
        server = self.server
        if not server.remaining:
            server.idle.set()
            server.closing.wait()
            return
        server.remaining -= 1
        server.extend_deadline()
        self.answer(
            200,
            server.case.event,
            content_type="application/json",
            lambda_runtime_aws_request_id=f"00000000-0000-4000-8000-{server.remaining:012}",
            lambda_runtime_deadline_ms=int(time.time() * 1_000) + 600_000,
            lambda_runtime_invoked_function_arn="arn:aws:lambda:us-east-1:111122223333:function:bench",
            lambda_runtime_trace_id="Root=1-65554d4a-1b2c3d4e5f60718293a4b5c6;Sampled=0",
        )

    def do_POST(self):
        body = self.body().decode()
        assert self.path.endswith("/response"), f"{self.path}: {body}"
        self.server.answers.append(json.loads(body))
        self.answer(202, "", content_type="application/json")


class _Aws(_Handler):
    """Any AWS service. A header names the operation, or the path does (EventBridge Scheduler)."""

    def do_POST(self):
        body = self.body().decode()
        operation = self.headers.get("x-amz-target", self.path).rpartition(".")[2]
        self.server.calls.append(operation)
        # "attempt=2; max=3" in the SDKs' second request for a call.
        if not self.headers.get("amz-sdk-request", "attempt=1;").startswith("attempt=1;"):
            self.server.repeated_calls.append(operation)
        reply = self.server.case.replies(operation, body)
        self.answer(200, json.dumps(reply), content_type="application/x-amz-json-1.0", x_amzn_requestid="request")


def _peak_bytes(pid):
    status = Path(f"/proc/{pid}/status").read_text()
    return next(int(line.split()[1]) * 1_024 for line in status.splitlines() if line.startswith("VmHWM"))
