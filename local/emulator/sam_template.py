"""Test support: a SAM template with an HTTP API, and its deployment."""

TEMPLATE = """
Transform: AWS::Serverless-2016-10-31
Parameters:
  Origins: { Type: String, Default: "" }
Conditions:
  HasOrigins: !Not [!Equals [!Ref Origins, ""]]
Resources:
  Api:
    Type: AWS::Serverless::HttpApi
    Properties:
      CorsConfiguration: !If [HasOrigins, { AllowOrigins: !Split [",", !Ref Origins] }, !Ref AWS::NoValue]
      Auth:
        DefaultAuthorizer: Buyer
        Authorizers:
          Buyer:
            IdentitySource: $request.header.Authorization
            JwtConfiguration: { issuer: "http://127.0.0.1:1", audience: [orders] }
  Show:
    Type: AWS::Serverless::Function
    Properties:
      Runtime: python3.12
      Handler: index.handler
      InlineCode: "def handler(event, context): return 'hello'"
      Events:
        Request:
          Type: HttpApi
          Properties: { ApiId: !Ref Api, Method: GET, Path: "/api/orders/{id}" }
        Health:
          Type: HttpApi
          Properties: { ApiId: !Ref Api, Method: GET, Path: /api/hello, Auth: { Authorizer: NONE } }
"""


def deploy(emulator, template=TEMPLATE):
    """Deploys the template. Returns the id of the API."""
    cloudformation = emulator.client("cloudformation")
    cloudformation.create_stack(
        StackName="test",
        TemplateBody=template,
        Capabilities=["CAPABILITY_IAM"],
        Parameters=[{"ParameterKey": "Origins", "ParameterValue": "https://shop.example"}],
    )
    cloudformation.get_waiter("stack_create_complete").wait(StackName="test", WaiterConfig={"Delay": 1})
    return emulator.client("apigatewayv2").get_apis()["Items"][0]["ApiId"]
