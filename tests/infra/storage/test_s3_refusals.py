"""What a real S3 server refuses, in words that name the store, the reason and the remedy."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from benchmarks.seaweed import BUCKET, KEYS, seaweed
from data_contracts.errors import UsageError
from infra.retry import is_retryable
from infra.server_process import free_port
from infra.storage import file_systems
from infra.storage.file_systems import is_transient
from infra.storage.s3_refusals import StoreAccessError, refusal_code
from infra.storage.store import Store
from infra.storage.transfer import StoreError


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with seaweed(tmp_path_factory.mktemp("s3") / "weed") as endpoint:
        yield endpoint


@pytest.fixture(autouse=True)
def keys(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"):
        monkeypatch.delenv(name, raising=False)
    for name, value in {**KEYS, "AWS_EC2_METADATA_DISABLED": "true"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(file_systems, "FIRST_BACKOFF_SECONDS", 0.01)


ACCESSES: dict[str, Callable[[Store], Any]] = {
    "asking for": lambda store: store.exists("a"),
    "listing": lambda store: store.list_keys(),
    "reading": lambda store: store.read_bytes("a"),
    "writing": lambda store: store.write_bytes("b", b"x"),
}
NO_RIGHT = "or its secret is wrong, or has no right there (403). Correct AWS_ACCESS_KEY_ID"
UNKNOWN_ID = "the server does not know the access key id (InvalidAccessKeyId). Correct AWS_ACCESS_"
WRONG_SECRET = "the secret is not that of the access key id (SignatureDoesNotMatch). Correct AWS_S"


def refused(server: str, access: str, bucket: str, number: int) -> str:
    """The message of an access, by a file system that no other test has."""
    options: dict[str, object] = {"read_timeout": 50 + number}
    store = Store(f"s3://{bucket}/x", {"endpoint_url": server, "config_kwargs": options})
    with pytest.raises(StoreAccessError) as caught:
        ACCESSES[access](store)
    assert isinstance(caught.value, UsageError)
    assert not is_transient(caught.value)
    assert not is_retryable(caught.value)
    message = str(caught.value)
    assert message.startswith(f"{access} {bucket}/x")
    assert f"was refused by S3 at {server}: " in message
    return message


@pytest.mark.parametrize("access", ACCESSES)
def test_a_wrong_key_is_named_as_one(
    server: str, access: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    secret = refused(server, access, BUCKET, 1)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "nobody")
    unknown = refused(server, access, BUCKET, 2)
    # To a question about one file S3 answers without a text.
    assert (NO_RIGHT if access == "asking for" else WRONG_SECRET) in secret
    assert (NO_RIGHT if access == "asking for" else UNKNOWN_ID) in unknown


@pytest.mark.parametrize("access", ACCESSES)
def test_missing_credentials_and_profiles_are_named(
    server: str, access: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in KEYS:
        monkeypatch.delenv(name)
    message = refused(server, access, BUCKET, 3)
    assert "there are no credentials, or only a part" in message
    assert "Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE." in message
    monkeypatch.setenv("AWS_PROFILE", "nobody")
    assert "AWS_PROFILE names a profile that is in no file" in refused(server, access, BUCKET, 4)


@pytest.mark.parametrize("access", ["listing", "reading"])
def test_a_missing_bucket_is_no_missing_file(server: str, access: str) -> None:
    message = refused(server, access, "missing", 5)
    assert "there is no such bucket (NoSuchBucket). Create it, or correct the URL" in message


@pytest.mark.parametrize("access", ACCESSES)
def test_an_address_or_bucket_that_is_none_is_named(server: str, access: str) -> None:
    assert "the name of the bucket or the object is none" in refused(server, access, "No!", 6)
    address = server.removeprefix("http://")
    message = refused(address, access, BUCKET, 7)
    assert "the server's address is no URL (InvalidEndpoint). Q2A_S3_ENDPOINT_URL is" in message


def test_a_server_that_is_away_is_named_with_its_address() -> None:
    endpoint = f"http://127.0.0.1:{free_port()}"
    store = Store(f"s3://{BUCKET}/x", {"endpoint_url": endpoint})
    with pytest.raises(StoreError, match=rf"listing {BUCKET}/x failed 6 times.*{endpoint}"):
        store.list_keys()


@pytest.mark.parametrize(
    ("code", "status"),
    [
        ("PermanentRedirect", 301),
        ("AuthorizationHeaderMalformed", 400),
        ("ExpiredToken", 400),
        ("RequestTimeTooSkewed", 403),
        ("AccessDenied", 403),
    ],
)
def test_what_amazon_refuses_is_known_through_what_s3fs_makes_of_it(code: str, status: int) -> None:
    from botocore.exceptions import ClientError
    from s3fs.errors import translate_boto_error

    answer: Any = {"Error": {"Code": code}, "ResponseMetadata": {"HTTPStatusCode": status}}
    error = translate_boto_error(ClientError(answer, "GetObject"))
    assert refusal_code(error) == code
    assert not is_transient(error)


def test_other_errors_are_no_refusals() -> None:
    from botocore.exceptions import ClientError
    from s3fs.errors import translate_boto_error

    answer: Any = {"Error": {"Code": "SlowDown"}, "ResponseMetadata": {"HTTPStatusCode": 503}}
    busy = translate_boto_error(ClientError(answer, "GetObject"))
    assert is_transient(busy)
    for error in (busy, PermissionError("a"), FileNotFoundError("a"), ValueError("a")):
        assert refusal_code(error) is None
