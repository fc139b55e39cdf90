"""Access to the emulated AWS: region, credentials, clients."""

import boto3

REGION = "us-east-1"
ACCESS_KEY = "test"


def client(service, endpoint):
    """Returns a boto3 client for the emulator."""
    return boto3.client(
        service,
        endpoint_url=endpoint,
        region_name=REGION,
        aws_access_key_id=ACCESS_KEY,
        aws_secret_access_key=ACCESS_KEY,
    )


def environment(endpoint):
    """Returns the environment variables of an AWS SDK for the emulator."""
    return {
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_ACCESS_KEY_ID": ACCESS_KEY,
        "AWS_SECRET_ACCESS_KEY": ACCESS_KEY,
        "AWS_DEFAULT_REGION": REGION,
        "AWS_REGION": REGION,
    }
