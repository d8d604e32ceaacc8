"""The reason for which a recording is refused."""

from collections.abc import Callable

import pytest

from tasks.recordings.decode import DecodeError


def reason_of(call: Callable[[], object]) -> str:
    """The reason of the `DecodeError` that a call must end with."""
    with pytest.raises(DecodeError) as caught:
        call()
    return caught.value.reason
