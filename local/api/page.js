// The API page: docs/openapi.yaml in Swagger UI. Beside the demo shop, its requests go to the local stack, as Alice.

// The example of the document. A key names one order: with a fixed key, every later request would get that order.
const EXAMPLE_KEY = "checkout-42";

async function localStack() {
  const response = await fetch("/config").catch(() => null);
  return response?.ok ? response.json() : null;
}

const stack = await localStack();
// The document lists the servers; requests from this page go to one.
document.body.classList.toggle("local", Boolean(stack));
const ui = globalThis.SwaggerUIBundle({
  url: "openapi.yaml",
  dom_id: "#api",
  deepLinking: true,
  defaultModelsExpandDepth: 0,
  docExpansion: "list",
  tryItOutEnabled: Boolean(stack),
  // The document names the default port; the local stack may have another.
  requestInterceptor(request) {
    if (stack && !request.loadSpec) {
      const { pathname, search } = new URL(request.url);
      request.url = stack.apiUrl + pathname + search;
    }
    if (request.headers["Idempotency-Key"] === EXAMPLE_KEY) {
      request.headers["Idempotency-Key"] = `try-${Date.now()}`;
    }
    return request;
  },
  onComplete() {
    if (stack) {
      ui.preauthorizeApiKey("buyer", stack.buyers.alice);
    }
  },
});
