"""Fix: a malformed token gets 401.

AWS responds to an unreadable token with 401. The emulator responds with 500 to some tokens whose parts are
not JSON objects or whose claims have a wrong type. This fix responds with 401 to these as well.
"""

from ministack.services import apigateway


def apply():
    validate = apigateway._validate_jwt_authorizer

    async def validate_or_reject(*args):
        try:
            return await validate(*args)
        except (AttributeError, OverflowError, TypeError, ValueError):
            return None, None, apigateway._jwt_unauthorized()

    apigateway._validate_jwt_authorizer = validate_or_reject
