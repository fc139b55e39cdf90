"""Many buyers ordering one ticket at the same moment.

The requests are sent by the shop's server, because a browser opens at most six connections to a host.
"""

import http.client
import json
import queue
import threading
import time
import urllib.parse

BUYERS = tuple(f"fan-{number:03}" for number in range(1, 101))
TIMEOUT_SECONDS = 60


def run(api_url, ticket_id, tokens):
    """Orders the ticket once for each token, all at once. Yields a result for each, in order of arrival.

    `tokens` maps buyer ids to tokens.
    """
    results = queue.Queue()
    start = threading.Barrier(len(tokens))

    def buy(buyer, token):
        results.put({"buyer": buyer, **_order(api_url, ticket_id, token, start)})

    for buyer in tokens.items():
        threading.Thread(target=buy, args=buyer, daemon=True).start()
    for _ in tokens:
        yield results.get()


def _order(api_url, ticket_id, token, start):
    """Returns status, duration, and the order id or the reason of the refusal."""
    connection = http.client.HTTPConnection(urllib.parse.urlsplit(api_url).netloc, timeout=TIMEOUT_SECONDS)
    try:
        try:
            connection.connect()
        finally:
            # Also after a failure: the other buyers wait for this thread.
            start.wait()
        began = time.monotonic()
        connection.request(
            "POST",
            "/api/orders",
            json.dumps({"ticketId": ticket_id}),
            {"Authorization": f"Bearer {token}", "Content-Type": "application/json"},
        )
        response = connection.getresponse()
        body = json.loads(response.read())
        result = {"status": response.status, "ms": round((time.monotonic() - began) * 1000, 1)}
        if response.status == 201:
            return {**result, "order": body["id"]}
        reason = body.get("title") or body.get("message")
        return {**result, "reason": reason, "retryAfter": response.getheader("Retry-After")}
    except (OSError, ValueError, http.client.HTTPException) as error:
        return {"status": 0, "ms": 0, "reason": str(error), "retryAfter": None}
    finally:
        connection.close()
