"""AWS answers a token that it cannot read with 401. The emulator fails on some that are no JSON objects,
or hold claims of the wrong type, with 500. This fix answers those with 401 as well."""

from ministack.services import apigateway


def apply():
    validate = apigateway._validate_jwt_authorizer

    async def validate_or_refuse(*args):
        try:
            return await validate(*args)
        except (AttributeError, OverflowError, TypeError, ValueError):
            return None, None, apigateway._jwt_unauthorized()

    apigateway._validate_jwt_authorizer = validate_or_refuse
