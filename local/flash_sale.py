"""Many buyers who want one ticket at the same moment. A browser sends only six requests to a host at once,
so that these are sent from here."""

import http.client
import json
import queue
import threading
import time
import urllib.parse

PATIENCE_SECONDS = 60


def run(api_url, ticket_id, tokens):
    """Lets a buyer for each of these tokens (by name) order the ticket, all at once. Yields what each was
    answered, in the sequence of the answers."""
    answers = queue.Queue()
    ready = threading.Barrier(len(tokens))
    for buyer, token in tokens.items():
        order = (api_url, ticket_id, token, ready)
        threading.Thread(target=lambda buyer=buyer, order=order: answers.put({"buyer": buyer, **_order(*order)}),
                         daemon=True).start()
    for _ in tokens:
        yield answers.get()


def _order(api_url, ticket_id, token, ready):
    """The status, the milliseconds it took, and why it was refused and for how long."""
    connection = http.client.HTTPConnection(urllib.parse.urlsplit(api_url).netloc, timeout=PATIENCE_SECONDS)
    try:
        try:
            connection.connect()
        finally:
            # The others would wait for ever.
            ready.wait()
        began = time.monotonic()
        connection.request("POST", "/api/orders", json.dumps({"ticketId": ticket_id}), {
            "Authorization": f"Bearer {token}", "Content-Type": "application/json"})
        answer = connection.getresponse()
        body = json.loads(answer.read())
        took = {"status": answer.status, "ms": round((time.monotonic() - began) * 1000, 1)}
        if answer.status == 201:
            return {**took, "order": body["id"]}
        return {**took, "why": body.get("title") or body.get("message"), "retryAfter": answer.getheader("Retry-After")}
    except (OSError, ValueError, http.client.HTTPException) as error:
        return {"status": 0, "ms": 0, "why": str(error), "retryAfter": None}
    finally:
        connection.close()
