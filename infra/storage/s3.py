"""Downloads of S3 objects straight from the socket.

s3fs receives through asyncio and aiohttp, which copy every byte several times. So bytes come
through botocore's own client, made with s3fs's settings, and s3fs does all the rest.
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
    """Downloads for an s3fs file system; threads and forked processes may share it."""

    def __init__(self, file_system: Any) -> None:
        self._fs = file_system
        self._clients: dict[int, Any] = {}

    def get(self, path: str, begin: int, end: int | None) -> Answer:
        """Ask for bytes `begin` to `end` (exclusive; None: the object's end), as far as they exist.

        Raises:
            FileNotFoundError: and whatever else s3fs makes of S3's errors.
            OSError: the server answers with other bytes.
        """
        from botocore.exceptions import ClientError
        from s3fs.errors import translate_boto_error

        bucket, key, version = self._fs.split_path(path)
        if not key:
            raise IsADirectoryError(errno.EISDIR, "is a bucket", path)
        client = self._client()
        arguments = self._arguments(client) | ({"VersionId": version} if version else {})
        # For a whole object too: the answer then has its length twice.
        arguments["Range"] = f"bytes={begin}-{'' if end is None else end - 1}"
        try:
            response = client.get_object(Bucket=bucket, Key=key, **arguments)
        except ClientError as error:
            if error.response["ResponseMetadata"]["HTTPStatusCode"] != _NO_SUCH_RANGE:
                raise translate_boto_error(error) from error
            arguments.pop("Range")  # the object ends here, or before: where?
            whole = client.head_object(Bucket=bucket, Key=key, **arguments)
            return Answer(io.BytesIO(), begin, whole["ContentLength"], whole.get("ETag", ""))
        body, version = _Body(response["Body"]), response.get("ETag", "")
        content_range, length = response.get("ContentRange"), response.get("ContentLength")
        match = _CONTENT_RANGE.fullmatch(content_range or "")
        if match and int(match[1]) == begin:
            return Answer(body, int(match[2]) + 1, int(match[3]), version)
        if content_range is None and begin == 0 and length is not None:
            # The whole object, like some servers where it is empty.
            return Answer(body, length if end is None else min(end, length), length, version)
        body.close()
        raise OSError(
            f"the server answered with {content_range or 'the whole'} from byte {begin} on"
        )

    def _client(self) -> Any:
        """Return this process's client: a forked one may not write into its parent's sockets.

        Two threads may make one at once; the last one stays.
        """
        process = os.getpid()
        if process not in self._clients:
            self._clients = {process: self._connect()}
        return self._clients[process]

    def _connect(self) -> Any:
        """Make a botocore client like s3fs makes its own, in `set_session`."""
        from botocore import UNSIGNED
        from botocore.config import Config
        from botocore.session import Session

        fs = self._fs
        config = {
            "connect_timeout": fs.connect_timeout,
            "read_timeout": fs.read_timeout,
            # Ranges have no checksum that could be verified; our digests are.
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
        """Return what the file system adds to each request, as far as GetObject takes it."""
        known = client.meta.service_model.operation_model("GetObject").input_shape.members
        added = {**self._fs.s3_additional_kwargs, **self._fs.req_kw}
        return {name: value for name, value in added.items() if name in known}


class _Body:
    """botocore's body with the `read1` of the urllib3 response inside.

    Its own `read` waits until all that was asked for has come, however slowly.
    """

    def __init__(self, body: Any) -> None:
        self._body = body

    def read1(self, size: int, /) -> bytes:
        data: bytes = self._body._raw_stream.read1(size, decode_content=False)
        return data

    def close(self) -> None:
        self._body.close()
