"""Fix: stream records are delivered with checkpoints, retries, and a failure destination.

On AWS a partial failure moves the checkpoint to the first failed record. A failed batch is retried, in halves
if configured, until its retries or its age are used up, and then goes to the failure destination. In the
emulator a batch only succeeds or fails as a whole, and all streams share one thread with all queues. This
fix delivers each mapping in its own thread, with the behaviour of AWS.
"""

import contextvars
import json
import threading
import time

from ministack.services import dynamodb, lambda_svc

MAX_BACKOFF_SECONDS = 5


def apply():
    mappings = {}

    def poll():
        delivered = False
        for account, region, settings in lambda_svc._iter_all_esms():
            if ":dynamodb:" in settings.get("EventSourceArn", ""):
                mapping = mappings.setdefault(settings["UUID"], Mapping())
                context = contextvars.copy_context()
                context.run(lambda_svc._request_account_id.set, account)
                context.run(lambda_svc._request_region.set, region)
                delivered |= context.run(mapping.deliver, settings)
        return delivered

    lambda_svc._poll_dynamodb_streams = poll


class Mapping:
    """Position and retries of one function in one stream."""

    def __init__(self):
        self.busy = False
        self.retries = 0
        self.max_records = None  # smaller than the batch size while a failed batch is halved

    def deliver(self, settings):
        """Starts the delivery of the next batch unless one is in progress. Returns whether it started."""
        if self.busy or not settings.get("Enabled", True):
            return False
        if lambda_svc._esm_backoff_until.get(settings["UUID"], 0) > time.time():
            return False
        function, _ = lambda_svc._get_func_record_for_qualifier(settings["FunctionName"], settings.get("Qualifier"))
        table = settings["EventSourceArn"].split("/")[1]
        if function is None or table not in dynamodb._tables:
            return False
        position = self._position(settings, table)
        size = min(settings.get("BatchSize", 100), self.max_records or 10_000)
        batch = dynamodb.stream_records_since(table, position, size)
        if not batch:
            return False
        self.busy = True
        work = (self._run, settings, function, position, batch)
        threading.Thread(target=contextvars.copy_context().run, args=work, daemon=True).start()
        return True

    def _run(self, settings, function, position, batch):
        try:
            self._invoke(settings, function, position, batch)
        finally:
            self.busy = False
            lambda_svc._esm_wake.set()

    def _invoke(self, settings, function, position, batch):
        result = lambda_svc._execute_function(function, {"Records": batch})
        crashed = bool(result.get("error"))
        done = 0 if crashed else self._done(settings, result, batch)
        if done:
            self._move_to(settings, position + done)
        if done == len(batch):
            self.max_records = None
            return
        self.retries += 1
        rest = batch[done:]
        if settings.get("BisectBatchOnFunctionError") and crashed and len(rest) > 1:
            self.max_records, self.retries = (len(rest) + 1) // 2, 0
        elif reason := self._exhausted(settings, rest):
            lambda_svc._send_ddb_stream_failure_record(
                settings, function, rest, settings["EventSourceArn"], result, reason
            )
            self._move_to(settings, position + len(batch))
            self.max_records = None
            return
        backoff = min(0.1 * 2 ** min(self.retries, 10), MAX_BACKOFF_SECONDS)
        lambda_svc._esm_backoff_until[settings["UUID"]] = time.time() + backoff

    def _done(self, settings, result, batch):
        """Returns the number of records before the first reported failure."""
        if "ReportBatchItemFailures" not in (settings.get("FunctionResponseTypes") or []):
            return len(batch)
        body = result.get("body")
        response = json.loads(body) if isinstance(body, str) and body else body or {}
        indexes = {record["dynamodb"]["SequenceNumber"]: index for index, record in enumerate(batch)}
        reported = [failure.get("itemIdentifier") for failure in response.get("batchItemFailures") or []]
        # An unknown sequence number counts as a failure of the whole batch.
        return min((indexes.get(number, 0) for number in reported), default=len(batch))

    def _exhausted(self, settings, rest):
        """Returns the reason to give up the batch; `None` if retries remain."""
        retries = settings.get("MaximumRetryAttempts")
        if retries is not None and 0 <= int(retries) < self.retries:
            return "RetryAttemptsExhausted"
        age = settings.get("MaximumRecordAgeInSeconds") or -1
        oldest = float(rest[0]["dynamodb"]["ApproximateCreationDateTime"])
        return "MaxRecordAgeExceeded" if 0 < int(age) < time.time() - oldest else None

    def _position(self, settings, table):
        start, end = dynamodb.stream_start_position(table), dynamodb.stream_end_position(table)
        with lambda_svc._dynamodb_stream_positions_lock:
            first = start if settings.get("StartingPosition") == "TRIM_HORIZON" else end
            return max(start, lambda_svc._dynamodb_stream_positions.setdefault(settings["UUID"], first))

    def _move_to(self, settings, position):
        self.retries = 0
        lambda_svc._esm_backoff_until.pop(settings["UUID"], None)
        with lambda_svc._dynamodb_stream_positions_lock:
            lambda_svc._dynamodb_stream_positions[settings["UUID"]] = position
