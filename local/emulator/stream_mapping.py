"""AWS delivers a table's stream to a function with care: a partial failure moves the checkpoint to the
first record that is not done, a failed batch is tried again (in halves, if so set) until its retries
or its age are used up, and then goes to the failure destination. The emulator knows only whole
batches that succeed or fail, and delivers them on the thread that serves all queues as well. This fix
delivers each mapping on a thread of its own, with all of that."""

import contextvars
import json
import threading
import time

from ministack.services import dynamodb, lambda_svc

LONGEST_PAUSE_SECONDS = 5


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
    """One function's way through one stream."""

    def __init__(self):
        self.busy = False
        self.retries = 0
        self.most = None  # records at once, while a failed batch is halved

    def deliver(self, settings):
        """Starts to deliver the next batch, if there is one and none is under way."""
        if self.busy or not settings.get("Enabled", True):
            return False
        if lambda_svc._esm_backoff_until.get(settings["UUID"], 0) > time.time():
            return False
        function, _ = lambda_svc._get_func_record_for_qualifier(
            settings["FunctionName"], settings.get("Qualifier"))
        table = settings["EventSourceArn"].split("/")[1]
        if function is None or table not in dynamodb._tables:
            return False
        position = self._position(settings, table)
        size = min(settings.get("BatchSize", 100), self.most or 10_000)
        batch = dynamodb.stream_records_since(table, position, size)
        if not batch:
            return False
        self.busy = True
        work = (self._work, settings, function, position, batch)
        threading.Thread(target=contextvars.copy_context().run, args=work, daemon=True).start()
        return True

    def _work(self, settings, function, position, batch):
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
            self.most = None
            return
        self.retries += 1
        rest = batch[done:]
        if settings.get("BisectBatchOnFunctionError") and crashed and len(rest) > 1:
            self.most, self.retries = (len(rest) + 1) // 2, 0
        elif reason := self._given_up(settings, rest):
            lambda_svc._send_ddb_stream_failure_record(
                settings, function, rest, settings["EventSourceArn"], result, reason)
            self._move_to(settings, position + len(batch))
            self.most = None
            return
        pause = min(0.1 * 2 ** min(self.retries, 10), LONGEST_PAUSE_SECONDS)
        lambda_svc._esm_backoff_until[settings["UUID"]] = time.time() + pause

    def _done(self, settings, result, batch):
        """How many records are done: those before the first that was reported."""
        if "ReportBatchItemFailures" not in (settings.get("FunctionResponseTypes") or []):
            return len(batch)
        body = result.get("body")
        answer = json.loads(body) if isinstance(body, str) and body else body or {}
        places = {record["dynamodb"]["SequenceNumber"]: place for place, record in enumerate(batch)}
        reported = [failure.get("itemIdentifier") for failure in answer.get("batchItemFailures") or []]
        # One that is not of this batch means that nothing is done.
        return min((places.get(number, 0) for number in reported), default=len(batch))

    def _given_up(self, settings, rest):
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
