"""AWS gives each API a host of its own, so that a path in an answer (`Location`, `Link`) leads back
to the API. The emulator has one host for everything and serves an API below
`/_aws/execute-api/<id>/<stage>/`, where such a path leads nowhere. This fix serves the newest API
at the root as well, for paths that begin with `/api/`."""

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
