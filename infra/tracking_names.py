"""Names that MLflow accepts, made of any text.

Suites, corpora, languages and tasks get their names from data and profiles, where "asterisk (2026)"
is a good name. MLflow takes letters, digits and `/ _ . - :` and spaces, up to 250 of them, and no
name that would be another one as a path. A character that it refuses becomes its code point in
hexadecimal, `_x28_` for "(". Two texts never share a name, and a usual name stays what it is.
"""

import hashlib
import re

_MAX_CHARACTERS = 250
"""Of the name of a metric, a tag or a parameter, in MLflow and its database."""
_DIGEST_CHARACTERS = 32
_EMPTY = "_xempty_"
"""No escape, and no text becomes it: its underscore would be escaped."""
_ESCAPED = re.compile(
    r"[^/\w.\- :]"  # what MLflow refuses
    r"|_(?=x[0-9a-f])"  # what reads like an escape
    r"|^/|/(?=/|\Z)"  # a path would lose it
    r"|(?:^|(?<=/))\.(?=[./]|\Z)"  # "." and ".." are places in a path
)
_ESCAPED_IN_MODEL_NAMES = re.compile(rf"{_ESCAPED.pattern}|[/:]|^ | \Z")


def tracking_name(text: str) -> str:
    """Return the name of a metric, a tag or a parameter that is called `text`."""
    return _name(text, _ESCAPED)


def registered_model_name(text: str) -> str:
    """Return the name of a registered model, in which `/` and `:` are refused too."""
    return _name(text, _ESCAPED_IN_MODEL_NAMES)


def storable(text: str) -> str:
    """Return a value that every database takes: UTF-8 without a zero byte.

    Paths that are no UTF-8 have lone surrogates, and come with error messages.
    """
    return text.replace("\0", "\\x00").encode(errors="backslashreplace").decode()


def _name(text: str, escaped: re.Pattern[str]) -> str:
    name = escaped.sub(lambda match: f"_x{ord(match[0]):x}_", text) or _EMPTY
    if len(name) <= _MAX_CHARACTERS:
        return name
    digest = hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()[:_DIGEST_CHARACTERS]
    # No code point has as many digits, so no short name ends like this.
    end = f"_x{digest}_"
    return name[: _MAX_CHARACTERS - len(end)] + end
