"""Tests of the token issuer: tokens against the published documents."""

import json
import tempfile
import unittest
import urllib.request
from pathlib import Path

import jwt

from issuer import AUDIENCE, Issuer
from tools import UserError

URL = "http://issuer"


class Tokens(unittest.TestCase):
    def setUp(self):
        self.folder = Path(self.enterContext(tempfile.TemporaryDirectory()))
        self.issuer = Issuer(self.folder, URL)

    def claims(self, token):
        """Returns the verified claims of a token."""
        [key] = self.issuer.documents()["/.well-known/jwks.json"]["keys"]
        self.assertEqual(jwt.get_unverified_header(token)["kid"], key["kid"])
        return jwt.decode(token, jwt.PyJWK(key), audience=AUDIENCE, issuer=URL, algorithms=["RS256"])

    def test_token_is_valid_under_the_published_key(self):
        self.assertEqual(self.claims(self.issuer.token_for("alice"))["sub"], "alice")
        self.assertEqual(self.claims(self.issuer.token_for('{"sub": "bob", "iat": 7}'))["iat"], 7)

    def test_token_of_malformed_claims_is_rejected(self):
        with self.assertRaisesRegex(UserError, "not a JSON object"):
            self.issuer.token_for('{"sub"')

    def test_issuer_of_a_stack_needs_a_stack(self):
        with self.assertRaisesRegex(UserError, "no stack"):
            Issuer.of_stack(self.folder)

    def test_served_documents_name_the_key_set_and_the_issuer_is_found_again(self):
        server = self.issuer.serve(0)
        self.addCleanup(server.server_close)
        self.addCleanup(server.shutdown)
        url = f"http://127.0.0.1:{server.server_port}/.well-known/openid-configuration"
        with urllib.request.urlopen(url, timeout=20) as response:
            self.assertEqual(json.load(response)["jwks_uri"], f"{URL}/.well-known/jwks.json")
        again = Issuer.of_stack(self.folder)
        self.assertEqual(self.claims(again.token_for("alice"))["sub"], "alice")


if __name__ == "__main__":
    unittest.main()
