"""Fix: an HTTP API has the routes of its OpenAPI document.

AWS creates the routes of an HTTP API from the OpenAPI document in its `Body`; SAM writes `HttpApi` events
there. The emulator ignores `Body`, so the API would have no routes. This fix converts the document into
separate resources, which the emulator supports.
"""

import re

import samtranslator.translator.transform as sam


def apply():
    transform = sam.transform
    sam.transform = lambda *args, **kwargs: with_routes(transform(*args, **kwargs))


def with_routes(template):
    """Returns the template with the routes of each HTTP API as separate resources."""
    resources = template["Resources"]
    apis = [name for name, resource in resources.items() if resource["Type"] == "AWS::ApiGatewayV2::Api"]
    for api in apis:
        properties = resources[api]["Properties"]
        body = properties.pop("Body", None)
        if body:
            properties.update(Name=api, ProtocolType="HTTP", **_cors(body))
            resources.update(_resources(api, body))
    return template


def _resources(api, body):
    schemes = body.get("components", {}).get("securitySchemes", {})
    made = {f"{api}{name}": _authorizer(api, name, scheme) for name, scheme in schemes.items()}
    for path, operations in body["paths"].items():
        for method, operation in operations.items():
            integration = operation.get("x-amazon-apigateway-integration")
            if integration:
                route = re.sub(r"\W", "", f"{api}{method}{path}")
                made[f"{route}Integration"] = _integration(api, integration)
                made[f"{route}Route"] = _route(api, route, path, method, operation, schemes)
    return made


def _authorizer(api, name, scheme):
    authorizer = scheme["x-amazon-apigateway-authorizer"]
    source = authorizer["identitySource"]
    jwt = authorizer["jwtConfiguration"]
    return _resource(
        "Authorizer",
        api,
        AuthorizerType="JWT",
        Name=name,
        IdentitySource=source if isinstance(source, list) else [source],
        JwtConfiguration={"Issuer": jwt["issuer"], "Audience": jwt["audience"]},
    )


def _integration(api, integration):
    return _resource(
        "Integration",
        api,
        IntegrationType="AWS_PROXY",
        IntegrationUri=_function_arn(integration["uri"]),
        PayloadFormatVersion=integration["payloadFormatVersion"],
    )


def _route(api, route, path, method, operation, schemes):
    verb = "ANY" if method == "x-amazon-apigateway-any-method" else method.upper()
    properties = {
        "RouteKey": "$default" if path == "/$default" else f"{verb} {path}",
        "Target": {"Fn::Join": ["/", ["integrations", {"Ref": f"{route}Integration"}]]},
    }
    for requirement in operation.get("security", []):
        # For a route without an authorizer, SAM writes the requirement "NONE".
        for name in requirement.keys() & schemes.keys():
            properties.update(AuthorizationType="JWT", AuthorizerId={"Ref": f"{api}{name}"})
            if requirement[name]:
                properties["AuthorizationScopes"] = requirement[name]
    return _resource("Route", api, **properties)


def _resource(kind, api, **properties):
    return {"Type": f"AWS::ApiGatewayV2::{kind}", "Properties": {"ApiId": {"Ref": api}, **properties}}


def _function_arn(uri):
    """Returns the function reference inside `...functions/${Name.Arn}/invocations`."""
    name, attribute = re.search(r"functions/\$\{(\w+)(\.Arn)?\}", uri["Fn::Sub"]).groups()
    return {"Fn::GetAtt": [name, "Arn"]} if attribute else {"Ref": name}


def _cors(body):
    """Returns the CORS settings under the names from `Body`, because the emulator reads these."""
    cors = body.get("x-amazon-apigateway-cors")
    return {"CorsConfiguration": cors} if cors else {}
