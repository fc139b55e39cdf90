"""Token issuer for the local stack: an RSA key and RS256 tokens.

Publishes the two documents from which the API's JWT authorizer reads the key: the OpenID Connect
discovery document and the key set (RFC 7517).
"""

import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from jwt.algorithms import RSAAlgorithm

from ports import HOST
from tools import UserError

AUDIENCE = "orders"
TOKEN_SECONDS = 24 * 60 * 60
CLOCK_SKEW_SECONDS = 60
ALGORITHM = "RS256"
KEY_ID = "local"
URL_FILE = "issuer-url"


class Issuer:
    """Signs tokens with the key in a data folder."""

    def __init__(self, folder, url):
        self.url = url
        self._folder = folder
        self._key = _load_or_create_key(folder / "issuer.pem")

    @classmethod
    def of_stack(cls, folder):
        """Returns the issuer of the stack with this data folder."""
        try:
            return cls(folder, (folder / URL_FILE).read_text())
        except FileNotFoundError:
            raise UserError("There is no stack to issue tokens for. To start one: make run") from None

    def token(self, **claims):
        """Returns a token with these claims, valid for a day."""
        now = int(time.time())
        valid_from = now - CLOCK_SKEW_SECONDS
        standard = {"iss": self.url, "aud": AUDIENCE, "iat": valid_from, "nbf": valid_from, "exp": now + TOKEN_SECONDS}
        return jwt.encode({**standard, **claims}, self._key, ALGORITHM, headers={"kid": KEY_ID})

    def token_for(self, buyer):
        """Returns a token for a buyer id, or for a JSON object of claims."""
        if not buyer.startswith("{"):
            return self.token(sub=buyer)
        try:
            return self.token(**json.loads(buyer))
        except ValueError:
            raise UserError(f"The claims are not a JSON object: {buyer}") from None

    def documents(self):
        """Returns the published documents by path."""
        key = RSAAlgorithm.to_jwk(self._key.public_key(), as_dict=True)
        return {
            "/.well-known/openid-configuration": {"issuer": self.url, "jwks_uri": f"{self.url}/.well-known/jwks.json"},
            "/.well-known/jwks.json": {
                "keys": [{"kty": "RSA", "use": "sig", "alg": ALGORITHM, "kid": KEY_ID, "n": key["n"], "e": key["e"]}]
            },
        }

    def serve(self, port):
        """Serves the documents from a thread until the process ends, and records the URL in the data folder."""
        documents = self.documents()

        class Documents(BaseHTTPRequestHandler):
            def do_GET(self):
                document = documents.get(self.path)
                body = json.dumps(document or {"message": "Not Found"}).encode()
                self.send_response(200 if document else 404)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *args):
                pass

        server = ThreadingHTTPServer((HOST, port), Documents)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        (self._folder / URL_FILE).write_text(self.url)
        return server


def _load_or_create_key(path):
    if not path.exists():
        key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        path.touch(mode=0o600)
        path.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
    return serialization.load_pem_private_key(path.read_bytes(), password=None)
