"""S3 objects, received straight from the socket.

s3fs receives through asyncio and aiohttp, which hand on every byte several times: at 2 GB/s that
takes more of a core than the network does. So it does all the rest, and bytes come through
botocore's own client, made with s3fs's settings.
"""

import io
import re
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

from botocore import UNSIGNED
from botocore.client import Config
from botocore.exceptions import ClientError
from botocore.session import Session
from s3fs.errors import translate_boto_error

_CONTENT_RANGE = re.compile(r"bytes \d+-(\d+)/(\d+)")


class TruncatedError(OSError):
    """Fewer bytes came, or are there, than there must be."""


class Bytes(Protocol):
    """What an answer brings."""

    def read1(self, size: int, /) -> bytes:
        """Some of the next bytes, at most `size`; none at the end."""

    def close(self) -> None:
        """Leave the rest."""


@dataclass(frozen=True)
class Answer:
    """Bytes of a file that are on their way."""

    body: Bytes
    end: int
    """Byte of the file before which they end."""
    size: int
    """Of the whole file."""


class S3Receiver:
    """Receives for an s3fs file system. Threads may share it, forked processes may not."""

    def __init__(self, file_system: Any) -> None:
        self._fs = file_system

    def get(self, path: str, begin: int, end: int | None) -> Answer:
        """Bytes `begin` to `end` (exclusive; None: to the object's end), or what is there of them.

        Raises:
            FileNotFoundError: and what else s3fs makes of S3's errors.
            TruncatedError: the object has not more than `begin` bytes.
        """
        bucket, key, version = self._fs.split_path(path)
        wanted = {"VersionId": version} if version else {}
        # Also of a whole object: the answer then says twice how long it is.
        wanted["Range"] = f"bytes={begin}-{'' if end is None else end - 1}"
        try:
            found = self._client.get_object(Bucket=bucket, Key=key, **self._arguments, **wanted)
        except ClientError as error:
            if error.response["Error"].get("Code") != "InvalidRange":
                raise translate_boto_error(error) from error
            if begin:
                raise TruncatedError(f"there is no byte {begin}") from error
            return Answer(io.BytesIO(), 0, 0)
        told = _CONTENT_RANGE.fullmatch(found.get("ContentRange", ""))
        if told is None:  # an empty object of a server that then answers with all of it
            return Answer(_Body(found["Body"]), found["ContentLength"], found["ContentLength"])
        return Answer(_Body(found["Body"]), int(told[1]) + 1, int(told[2]))

    @cached_property
    def _client(self) -> Any:
        """As s3fs makes its own, in `set_session`."""
        fs = self._fs
        timeouts = {"connect_timeout": fs.connect_timeout, "read_timeout": fs.read_timeout}
        # Range requests have no checksum; whole objects have digests of ours.
        config = timeouts | {"response_checksum_validation": "when_required"} | fs.config_kwargs
        options = {
            "aws_access_key_id": fs.key,
            "aws_secret_access_key": fs.secret,
            "aws_session_token": fs.token,
            "endpoint_url": fs.endpoint_url,
            "use_ssl": fs.use_ssl,
        }
        if fs.anon:
            config["signature_version"] = UNSIGNED
        given = {name: value for name, value in options.items() if value is not None}
        session = Session(**fs.kwargs)
        return session.create_client("s3", config=Config(**config), **(given | fs.client_kwargs))

    @cached_property
    def _arguments(self) -> dict[str, Any]:
        """What the file system adds to each request, of it what GetObject takes."""
        known = self._client.meta.service_model.operation_model("GetObject").input_shape.members
        added = {**self._fs.s3_additional_kwargs, **self._fs.req_kw}
        return {name: value for name, value in added.items() if name in known}


class _Body:
    """botocore's body, with the `read1` of the urllib3 answer inside: its own `read` waits until
    all that was asked for has come, however slowly.
    """

    def __init__(self, body: Any) -> None:
        self._body = body

    def read1(self, size: int, /) -> bytes:
        data: bytes = self._body._raw_stream.read1(size, decode_content=False)
        return data

    def close(self) -> None:
        self._body.close()
