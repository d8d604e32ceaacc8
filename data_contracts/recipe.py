"""The base class of everything that a profile sets."""

from pydantic import BaseModel, ConfigDict


class Recipe(BaseModel):
    """Values that a profile gives: immutable, unknown keys refused.

    The docstring below a field is its description: in the configuration page, in `q2a config` and
    in the form of a deployment. It gives the unit and, where the type does not, the range.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)
