"""A token issuer for this machine: a real RSA key, real tokens, and the two documents by which the
API's JWT authorizer finds the key (OpenID Connect Discovery 1.0, RFC 7517)."""

import base64
import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

AUDIENCE = "orders"
TOKEN_SECONDS = 24 * 60 * 60
_KEY_ID = "local"


class Issuer:
    """Signs tokens with a key kept in a file."""

    def __init__(self, key_file, url):
        self.url = url
        self._key = _load_or_make_key(key_file)

    def token(self, **claims):
        """A token with these claims, good for a day; from a minute ago, whatever the clocks say."""
        now = int(time.time())
        return self.sign({
            "iss": self.url, "aud": AUDIENCE, "iat": now - 60, "nbf": now - 60,
            "exp": now + TOKEN_SECONDS, **claims,
        })

    def sign(self, claims):
        """The claims as a signed token (RFC 7515, RS256)."""
        head = {"alg": "RS256", "typ": "JWT", "kid": _KEY_ID}
        text = f"{_base64url(json.dumps(head).encode())}.{_base64url(json.dumps(claims).encode())}"
        signature = self._key.sign(text.encode(), padding.PKCS1v15(), hashes.SHA256())
        return f"{text}.{_base64url(signature)}"

    def documents(self):
        """What the issuer publishes, by path."""
        numbers = self._key.public_key().public_numbers()
        key = {
            "kty": "RSA", "use": "sig", "alg": "RS256", "kid": _KEY_ID,
            "n": _base64url_number(numbers.n), "e": _base64url_number(numbers.e),
        }
        return {
            "/.well-known/openid-configuration": {
                "issuer": self.url, "jwks_uri": f"{self.url}/.well-known/jwks.json"},
            "/.well-known/jwks.json": {"keys": [key]},
        }

    def serve(self, port):
        """Publishes the documents, from a thread of its own, until the process ends."""
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

        server = ThreadingHTTPServer(("127.0.0.1", port), Documents)
        threading.Thread(target=server.serve_forever, daemon=True).start()


def _load_or_make_key(path):
    if not path.exists():
        key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        path.touch(mode=0o600)
        path.write_bytes(key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))
    return serialization.load_pem_private_key(path.read_bytes(), password=None)


def _base64url(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _base64url_number(number):
    return _base64url(number.to_bytes((number.bit_length() + 7) // 8, "big"))
