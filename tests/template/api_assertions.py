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
        orders, others = stage["DefaultRouteSettings"], stage["RouteSettings"]
        routes = {it["Route"] for it in self.mappings["Routes"].values()}
        self.assertEqual(set(others), routes - {"POST /api/orders"})
        for limit, parameter in (("ThrottlingRateLimit", "OrdersPerSecond"), ("ThrottlingBurstLimit", "OrdersBurst")):
            self.assertEqual(orders[limit], {"Ref": parameter})
            for route, usual in others.items():
                self.assertGreater(usual[limit], self.parameters[parameter]["Default"], route)

    def test_free_form_settings_have_no_references(self):
        # A reference is a text there, and API Gateway may refuse it.
        for route, settings in self.one("HttpApiApiGatewayDefaultStage")["RouteSettings"].items():
            for limit, value in settings.items():
                self.assertIsInstance(value, int, f"{route} {limit}")

    def test_a_throttle_has_the_quotas_of_an_account_as_bounds(self):
        for parameter, most in (("OrdersPerSecond", 10_000), ("OrdersBurst", 5_000)):
            it = self.parameters[parameter]
            self.assertEqual((it["Type"], it["MinValue"], it["MaxValue"]), ("Number", 1, most), parameter)

    def test_a_request_is_logged_without_its_caller(self):
        settings = self.one("HttpApiApiGatewayDefaultStage")["AccessLogSettings"]
        self.assertEqual(settings["DestinationArn"], arn("ApiLogs"))
        # Numbers, ids and fixed words. A message or a path may contain a quote, and then the line is not JSON.
        known = {
            "requestTime",
            "requestId",
            "routeKey",
            "status",
            "responseLatency",
            "responseLength",
            "integrationLatency",
            "integrationStatus",
            "error.responseType",
        }
        self.assertEqual(set(re.findall(r"\$context\.([\w.]+)", settings["Format"])), known)
        json.loads(settings["Format"])

    def test_the_access_log_does_not_use_up_the_policy_of_the_account(self):
        name = self.one("ApiLogs")["LogGroupName"]
        self.assertTrue(name["Fn::Sub"].startswith("/aws/vendedlogs/${AWS::StackName}/"), name)

    def test_the_origins_that_may_call_are_named(self):
        condition, cors, otherwise = self.one("HttpApi")["Body"]["x-amazon-apigateway-cors"]["Fn::If"]
        self.assertEqual((condition, otherwise), ("HasCorsOrigins", {"Ref": "AWS::NoValue"}))
        self.assertIn("Fn::Split", cors["allowOrigins"])
        self.assertFalse(cors.get("allowCredentials"))
        self.assertIsNone(re.fullmatch(self.parameters["CorsOrigins"]["AllowedPattern"], "*"))
