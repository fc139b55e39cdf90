"""Fix: the API is served at the root of the host.

On AWS each API has its own host, so a path in a response (`Location`, `Link`) leads back to the API. The
emulator has one host and serves an API below `/_aws/execute-api/<id>/<stage>/`, so the same path leads
to 404. This fix also serves the newest API at the root, for paths that start with `/api/`.
"""

from ministack import app
from ministack.services import apigateway

ROOT = "/api/"


def apply():
    serve = app.app

    async def serve_at_root(scope, receive, send):
        if scope["type"] == "http" and scope["path"].startswith(ROOT):
            scope = _below_newest_api(scope)
        await serve(scope, receive, send)

    app.app = serve_at_root


def _below_newest_api(scope):
    apis = [api for _, api in apigateway._apis.all_items()]
    if not apis:
        return scope
    newest = max(apis, key=lambda api: api["createdDate"])
    prefix = f"/_aws/execute-api/{newest['apiId']}/$default"
    raw_path = prefix.encode() + scope["raw_path"]
    return {**scope, "path": prefix + scope["path"], "raw_path": raw_path}
