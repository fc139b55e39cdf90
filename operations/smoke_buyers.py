"""Buyers of the smoke test, and their tokens: given ones, those of the local issuer, or users of the stack's pool."""

import base64
import json
import os
import secrets
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

from smoke_site import Buyer
from stack import ROOT, UserError

COUNT = 50
# Calls of Cognito at once: its quotas start at 25 a second.
CONCURRENCY = 5
AUDIENCE = "orders"


def of_tokens(text):
    """Returns the buyers of tokens that are separated by blanks."""
    return [Buyer({"given": token}) for token in text.split()]


def of_issuer(description, names):
    """Returns buyers with tokens of the local issuer, in the form of the id and access tokens of Cognito."""
    claims = []
    for name in names:
        claims += [name, json.dumps({"sub": name, "aud": None, "client_id": AUDIENCE})]
    done = subprocess.run(
        [sys.executable, ROOT / "local/cli.py", "token", *claims],
        env={**os.environ, "ORDERS_STATE": description["stateFolder"]},
        check=False,
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise UserError(done.stderr.strip())
    tokens = done.stdout.split()
    return [Buyer({"id": id, "access": access}) for id, access in zip(tokens[::2], tokens[1::2], strict=True)]


class UserPool:
    """Users of the stack's own user pool."""

    def __init__(self, stack, prefix):
        self._cognito, self._prefix = stack.client("cognito-idp"), prefix
        self._pool, self._app = stack.output("UserPoolId"), stack.output("UserPoolClientId")

    def create(self, undo):
        """Creates the users. Returns them as buyers."""
        with ThreadPoolExecutor(CONCURRENCY) as pool:
            return list(pool.map(lambda number: self._create(number, undo), range(COUNT)))

    def _create(self, number, undo):
        user = {"UserPoolId": self._pool, "Username": f"{self._prefix}{number}@example.com"}
        # The rules for passwords: upper and lower case, digits, special characters.
        password = f"{secrets.token_urlsafe(24)}aA1!"
        self._cognito.admin_create_user(**user, MessageAction="SUPPRESS")
        undo(f"user {user['Username']}", self._cognito.admin_delete_user, **user)
        self._cognito.admin_set_user_password(**user, Password=password, Permanent=True)
        tokens = self._cognito.admin_initiate_auth(
            UserPoolId=self._pool,
            ClientId=self._app,
            AuthFlow="ADMIN_USER_PASSWORD_AUTH",
            AuthParameters={"USERNAME": user["Username"], "PASSWORD": password},
        )["AuthenticationResult"]
        return Buyer({"id": tokens["IdToken"], "access": tokens["AccessToken"]})


def broken(token):
    """Returns invalid forms of a token, by name."""
    header, claims, signature = token.split(".")
    middle = len(signature) // 2
    other = "A" if signature[middle] != "A" else "B"
    stranger = _encoded({**_decoded(claims), "sub": "another-buyer"})
    return {
        "no token": None,
        "no JWT": "token",
        "no signature": f"{header}.{claims}.",
        "another signature": f"{header}.{claims}.{signature[:middle]}{other}{signature[middle + 1 :]}",
        "another buyer": f"{header}.{stranger}.{signature}",
        "no algorithm": f"{_encoded({**_decoded(header), 'alg': 'none'})}.{claims}.",
    }


def _decoded(part):
    return json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))


def _encoded(value):
    return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")
