"""Assertions about the HTTP API: tokens, throttles, access log and origins."""

import json
import re

from template_case import Template, arn


class Api(Template):
    def test_every_route_needs_a_token(self):
        body = self.one("HttpApi")["Body"]
        self.assertEqual(
            body["components"]["securitySchemes"]["Buyer"]["x-amazon-apigateway-authorizer"]["type"], "jwt"
        )
        for path, operations in body["paths"].items():
            for method, operation in operations.items():
                self.assertEqual(operation["security"], [{"Buyer": []}], f"{method} {path}")

    def test_requests_are_throttled_and_orders_more_so(self):
        stage = self.one("HttpApiApiGatewayDefaultStage")
        usual, orders = stage["DefaultRouteSettings"], stage["RouteSettings"]["POST /api/orders"]
        for limit in ("ThrottlingRateLimit", "ThrottlingBurstLimit"):
            self.assertLess(self.number(orders[limit]), self.number(usual[limit]))

    def test_a_request_is_logged_without_its_caller(self):
        settings = self.one("HttpApiApiGatewayDefaultStage")["AccessLogSettings"]
        self.assertEqual(settings["DestinationArn"], arn("ApiLogs"))
        known = {
            "requestTime",
            "requestId",
            "routeKey",
            "status",
            "responseLatency",
            "responseLength",
            "integrationLatency",
            "integrationErrorMessage",
            "authorizer.error",
        }
        self.assertEqual(set(re.findall(r"\$context\.([\w.]+)", settings["Format"])), known)
        json.loads(settings["Format"])

    def test_the_origins_that_may_call_are_named(self):
        condition, cors, otherwise = self.one("HttpApi")["Body"]["x-amazon-apigateway-cors"]["Fn::If"]
        self.assertEqual((condition, otherwise), ("HasCorsOrigins", {"Ref": "AWS::NoValue"}))
        self.assertIn("Fn::Split", cors["allowOrigins"])
        self.assertFalse(cors.get("allowCredentials"))
        self.assertIsNone(re.fullmatch(self.parameters["CorsOrigins"]["AllowedPattern"], "*"))
