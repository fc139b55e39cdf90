"""Tests of the fixes for templates and the HTTP API."""

import io
import unittest
import zipfile

from botocore.exceptions import ClientError

from emulator_testing import Emulator, EmulatorTest
from sam_template import TEMPLATE, deploy

CANARY = "{ AutoPublishAlias: live, DeploymentPreference: { Type: Canary10Percent5Minutes } }"


class HttpApi(EmulatorTest):
    def test_http_api_events_become_routes(self):
        def probe(emulator):
            api = f"/_aws/execute-api/{deploy(emulator)}/$default/api"
            return [emulator.get(f"{api}/{path}")[0] for path in ("hello", "orders/1")]

        self.check(probe, {"": [200, 401], "http_api_routes": [404, 404]})

    def test_cors_allows_the_configured_origin(self):
        def probe(emulator):
            path = f"/_aws/execute-api/{deploy(emulator)}/$default/api/hello"
            return emulator.preflight(path, "https://shop.example")

        self.check(probe, {"": 204, "http_api_routes": 403, "sam_parameters": 403})

    def test_api_is_served_at_the_root(self):
        def probe(emulator):
            deploy(emulator)
            status, body = emulator.get("/api/hello")
            return status, body if status == 200 else None

        self.check(probe, {"": (200, "hello"), "api_at_root": (404, None)})

    def test_malformed_token_is_unauthorized(self):
        def probe(emulator):
            deploy(emulator)
            return emulator.get("/api/orders/1", "Bearer W10.e30.AAAA")[0]

        self.check(probe, {"": 401, "bad_tokens": 500})


class Deployments(EmulatorTest):
    template = f"{TEMPLATE}Globals: {{ Function: {CANARY} }}\n"

    def test_template_with_canary_deploys_and_code_changes_take_effect(self):
        with Emulator(self.folder()) as emulator:
            deploy(emulator, self.template)
            change_code(emulator.client("lambda"), result="changed")
            self.assertEqual(emulator.get("/api/hello"), (200, "changed"))

    def test_template_with_canary_is_rejected_without_the_fix(self):
        rejected = self.assertRaisesRegex(ClientError, "AWS::CodeDeploy")
        with Emulator(self.folder(), "deployments") as emulator, rejected:
            deploy(emulator, self.template)


def change_code(functions, result):
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as files:
        files.writestr("index.py", f"def handler(event, context): return '{result}'")
    name = functions.list_functions()["Functions"][0]["FunctionName"]
    functions.update_function_code(FunctionName=name, ZipFile=archive.getvalue())


if __name__ == "__main__":
    unittest.main()
