"""S3 objects, received straight from the socket.

s3fs receives through asyncio and aiohttp, which hand on every byte several times. So it does all
the rest, and bytes come through botocore's own client, made with s3fs's settings.
"""

import errno
import io
import os
import re
from typing import Any

from infra.storage.transfer import Answer

_CONTENT_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+)")
_NO_SUCH_RANGE = 416


class S3Receiver:
    """Receives for an s3fs file system; threads and forked processes may share it."""

    def __init__(self, file_system: Any) -> None:
        self._fs = file_system
        self._clients: dict[int, Any] = {}

    def get(self, path: str, begin: int, end: int | None) -> Answer:
        """Bytes `begin` to `end` (exclusive; None: to the object's end), or what is there of them.

        Raises:
            FileNotFoundError: and what else s3fs makes of S3's errors.
            OSError: the server answers with other bytes.
        """
        from botocore.exceptions import ClientError
        from s3fs.errors import translate_boto_error

        bucket, key, version = self._fs.split_path(path)
        if not key:
            raise IsADirectoryError(errno.EISDIR, "is a bucket", path)
        client = self._client()
        arguments = self._arguments(client) | ({"VersionId": version} if version else {})
        # Also of a whole object: the answer then says twice how long it is.
        arguments["Range"] = f"bytes={begin}-{'' if end is None else end - 1}"
        try:
            found = client.get_object(Bucket=bucket, Key=key, **arguments)
        except ClientError as error:
            if error.response["ResponseMetadata"]["HTTPStatusCode"] != _NO_SUCH_RANGE:
                raise translate_boto_error(error) from error
            arguments.pop("Range")  # the object ends here, or before: where?
            whole = client.head_object(Bucket=bucket, Key=key, **arguments)
            return Answer(io.BytesIO(), begin, whole["ContentLength"], whole.get("ETag", ""))
        body, told = _Body(found["Body"]), found.get("ContentRange")
        place = _CONTENT_RANGE.fullmatch(told or "")
        if place and int(place[1]) == begin:
            return Answer(body, int(place[2]) + 1, int(place[3]), found.get("ETag", ""))
        length = found.get("ContentLength")
        if told is None and begin == 0 and length is not None:  # all, as some do where it is empty
            reached = length if end is None else min(end, length)
            return Answer(body, reached, length, found.get("ETag", ""))
        body.close()
        raise OSError(f"the server answered with {told or 'the whole'} from byte {begin} on")

    def _client(self) -> Any:
        """botocore's client of this process: a forked one may not write into its parent's sockets.

        Two threads may make one at once; the last one stays.
        """
        process = os.getpid()
        if process not in self._clients:
            self._clients = {process: self._connect()}
        return self._clients[process]

    def _connect(self) -> Any:
        """As s3fs makes its own, in `set_session`."""
        from botocore import UNSIGNED
        from botocore.config import Config
        from botocore.session import Session

        fs = self._fs
        config = {
            "connect_timeout": fs.connect_timeout,
            "read_timeout": fs.read_timeout,
            # Ranges have no checksum that could be looked at; digests of ours are.
            "response_checksum_validation": "when_required",
            **fs.config_kwargs,
            **({"signature_version": UNSIGNED} if fs.anon else {}),
        }
        options = {
            "aws_access_key_id": fs.key,
            "aws_secret_access_key": fs.secret,
            "aws_session_token": fs.token,
            "endpoint_url": fs.endpoint_url,
            "use_ssl": fs.use_ssl,
        }
        given = {name: value for name, value in options.items() if value is not None}
        known = {name: config[name] for name in config if name in Config.OPTION_DEFAULTS}
        return Session(**fs.kwargs).create_client(
            "s3", config=Config(**known), **(given | fs.client_kwargs)
        )

    def _arguments(self, client: Any) -> dict[str, Any]:
        """What the file system adds to each request, of it what GetObject takes."""
        known = client.meta.service_model.operation_model("GetObject").input_shape.members
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
