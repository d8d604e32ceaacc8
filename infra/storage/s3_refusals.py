"""What an S3 server refuses: why, in words, and what to correct."""

from typing import Any, NamedTuple

from data_contracts.errors import UsageError


class StoreAccessError(UsageError, PermissionError):
    """An S3 server refuses a request; another attempt would end alike."""


class Refusal(NamedTuple):
    """Reason of a refusal, and what ends it."""

    reason: str
    remedy: str


_WRONG_REGION = Refusal(
    "the bucket lies in another region than the one that is asked",
    "Set AWS_DEFAULT_REGION to the bucket's.",
)
_NO_TOKEN = Refusal(
    "the temporary credentials are no longer valid",
    "Get new ones: AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN.",
)
_NO_RIGHT = Refusal(
    "the access key id or its secret is wrong, or has no right there",
    "Correct AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or let that key list the bucket and "
    "read, write and delete its objects.",
)
_NO_CREDENTIALS = Refusal(
    "there are no credentials, or only a part of them",
    "Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE.",
)
_REFUSALS = {
    "InvalidAccessKeyId": Refusal(
        "the server does not know the access key id",
        "Correct AWS_ACCESS_KEY_ID, or the profile that AWS_PROFILE names.",
    ),
    "SignatureDoesNotMatch": Refusal(
        "the secret is not that of the access key id", "Correct AWS_SECRET_ACCESS_KEY."
    ),
    "AccessDenied": _NO_RIGHT,
    "403": _NO_RIGHT,  # an answer without a text, to a question without one
    "401": _NO_RIGHT,
    "ExpiredToken": _NO_TOKEN,
    "InvalidToken": _NO_TOKEN,
    "TokenRefreshRequired": _NO_TOKEN,
    "NoSuchBucket": Refusal(
        "there is no such bucket",
        "Create it, or correct the URL (the store's is Q2A_STORE) and the server's address.",
    ),
    "301": _WRONG_REGION,
    "PermanentRedirect": _WRONG_REGION,
    "AuthorizationHeaderMalformed": _WRONG_REGION,
    "RequestTimeTooSkewed": Refusal(
        "this machine's clock differs from the server's by too much", "Set the clock."
    ),
    "NoCredentialsError": _NO_CREDENTIALS,
    "PartialCredentialsError": _NO_CREDENTIALS,
    "ProfileNotFound": Refusal(
        "AWS_PROFILE names a profile that is in no file of credentials",
        "Correct AWS_PROFILE, or ~/.aws/config.",
    ),
    "ParamValidationError": Refusal(
        "the name of the bucket or the object is none", "Correct the URL; the store's is Q2A_STORE."
    ),
    "InvalidEndpoint": Refusal(
        "the server's address is no URL", "Q2A_S3_ENDPOINT_URL is one like http://127.0.0.1:8333."
    ),
}
"""By S3's error code, or else by the type of botocore's error."""


def refusal_code(error: BaseException | None) -> str | None:
    """Return the key in the table of an error of s3fs or botocore, None for any other error."""
    while error is not None:
        if type(error).__module__.startswith(("botocore", "aiobotocore")):
            response = getattr(error, "response", None) or {}  # botocore has errors with a None
            code = response.get("Error", {}).get("Code", type(error).__name__)
            return code if code in _REFUSALS else None
        if isinstance(error, ValueError) and str(error).startswith("Invalid endpoint"):
            return "InvalidEndpoint"
        error = error.__cause__
    return None


def access_error(file_system: Any, name: str, code: str) -> StoreAccessError:
    """Return the error for a refused access.

    Args:
        name: of the access, such as "reading bucket/key".
    """
    refusal = _REFUSALS[code]
    return StoreAccessError(
        f"{name} was refused by S3 at {_endpoint(file_system)}: {refusal.reason} ({code}). "
        f"{refusal.remedy}"
    )


def _endpoint(file_system: Any) -> str:
    """Return the address of the server, Amazon's where no other is set."""
    if file_system.endpoint_url:
        return str(file_system.endpoint_url)
    client = getattr(file_system, "_s3", None)  # there is none before the first request
    return str(client.meta.endpoint_url) if client else "Amazon's address"
