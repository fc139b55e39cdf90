// Requests with a time limit. A request without a response has the status 0 and a message.

export const TIMEOUT_SECONDS = 10;

/** Sends a request. Returns the response, also if there is none. */
export async function send(url, { method = "GET", headers = {}, body } = {}) {
  const signal = AbortSignal.timeout(TIMEOUT_SECONDS * 1000);
  try {
    const response = await fetch(url, {
      method,
      headers: { ...(body && { "Content-Type": "application/json" }), ...headers },
      body: body && JSON.stringify(body),
      cache: "no-store",
      signal,
    });
    return { ok: response.ok, status: response.status, headers: response.headers, body: parse(await response.text()) };
  } catch (error) {
    const isLate = error.name === "TimeoutError";
    return { ok: false, status: 0, isLate, headers: new Headers(), body: { message: noResponse(isLate) } };
  }
}

function noResponse(isLate) {
  if (!navigator.onLine) return "You are offline";
  return isLate ? `No response within ${TIMEOUT_SECONDS} seconds` : "The service does not respond";
}

/** A gateway can respond with a page instead of JSON. */
function parse(text) {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}

/** The message of an error response. */
export const errorMessage = ({ status, body }) => {
  const message = body?.errors?.[0]?.message ?? body?.detail ?? body?.message ?? `The service responds with ${status}`;
  return message.charAt(0).toUpperCase() + message.slice(1);
};
