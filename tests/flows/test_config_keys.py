"""The list of keys holds everything that a profile can set, with what is known of it."""

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from typing import Literal

import pytest
from pydantic import Field

from data_contracts.recipe import Recipe
from flows.config import PipelineConfig, load_config
from flows.config_keys import ConfigKey, config_keys, environment_keys, keys_as_markdown
from flows.profile_files import profile_names
from infra.settings import Settings


class Cat(Recipe):
    kind: Literal["cat"] = "cat"
    lives: int = Field(9, ge=1, le=9)
    """How often it falls."""


class Dog(Recipe):
    kind: Literal["dog"] = "dog"
    metres: float = Field(gt=0)
    """Length of the leash | in metres."""


class Owner(Recipe):
    """Whoever pays."""

    name: str
    """Name on the
    invoice."""
    shares: dict[Literal["a", "b"], int] = Field({"a": 1})


class Home(Recipe):
    pet: Cat | Dog = Field(Cat(lives=7), discriminator="kind")
    owners: tuple[Owner, ...] = ()
    """Everybody."""
    guest: Owner | None = None
    host: Owner = Owner(name="me")
    range_db: tuple[float, float] = (0.5, 2)


def test_each_key_has_type_range_default_and_meaning() -> None:
    assert list(config_keys(Home)) == [
        ConfigKey("pet.kind", "one of cat, dog", '"cat"', ""),
        ConfigKey(
            "pet.lives", "integer at least 1 and at most 9", "7", "kind cat: How often it falls."
        ),
        ConfigKey(
            "pet.metres", "number above 0", "required", "kind dog: Length of the leash | in metres."
        ),
        ConfigKey("owners", "list of group", "[]", "Everybody."),
        ConfigKey("owners[].name", "string", "required", "Name on the invoice."),
        ConfigKey("owners[].shares", "mapping of one of a, b to integer", '{"a": 1}', ""),
        ConfigKey("guest", "group or null", "null", ""),
        ConfigKey("guest.name", "string", "required", "Name on the invoice."),
        ConfigKey("guest.shares", "mapping of one of a, b to integer", '{"a": 1}', ""),
        ConfigKey("host.name", "string", '"me"', "Name on the invoice."),
        ConfigKey("host.shares", "mapping of one of a, b to integer", '{"a": 1}', ""),
        ConfigKey("range_db", "list of 2: number, number", "[0.5, 2]", ""),
    ]


def test_the_page_has_a_table_for_each_group_and_one_for_the_environment() -> None:
    page = keys_as_markdown(config_keys(Home), environment_keys(Settings))
    sections = [line for line in page.splitlines() if line.startswith("## ")]
    assert sections == [
        *(f"## {name}" for name in ("pet", "owners", "guest", "host", "range_db")),
        "## Environment variables",
    ]
    meaning = r"kind dog: Length of the leash \| in metres."
    assert f"| `pet.metres` | number above 0 | `required` | {meaning} |" in page
    assert "| `Q2A_STORE` | string |" in page
    assert "| `PREFECT_API_URL` | string |" in page


def leaves(value: object, prefix: str = "") -> Iterator[str]:
    if isinstance(value, Mapping) and value:
        for name, part in value.items():
            yield from leaves(part, f"{prefix}.{name}" if prefix else name)
    elif isinstance(value, list) and value and isinstance(value[0], Mapping):
        for part in value:
            yield from leaves(part, f"{prefix}[]")
    else:
        yield prefix


@pytest.mark.parametrize("profile", profile_names())
def test_every_value_of_a_profile_has_its_key(profile: str) -> None:
    rows = list(config_keys(PipelineConfig))
    names = {row.key for row in rows}
    mappings = tuple(f"{row.key}." for row in rows if row.type.startswith("mapping"))
    missing = [
        leaf
        for leaf in leaves(load_config(profile).model_dump(mode="json"))
        if leaf not in names and not leaf.startswith(mappings)
    ]
    assert missing == []


@pytest.mark.parametrize("group", ["profile", "example", "schedule"])
def test_keys_of_flows_and_estimates_are_documented(group: str) -> None:
    rows = [row for row in config_keys(PipelineConfig) if row.key.split(".")[0] == group]
    assert rows
    assert [row.key for row in rows if len(row.meaning) < 20] == []


def test_another_process_prints_the_same_page() -> None:
    page = keys_as_markdown(config_keys(PipelineConfig), environment_keys(Settings))
    seed = "1" if os.environ.get("PYTHONHASHSEED") != "1" else "2"
    script = "from flows.main import main; main()"
    ended = subprocess.run(
        [sys.executable, "-c", script, "config", "--markdown"],
        check=True,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONHASHSEED": seed},
    )
    assert ended.stdout == page + "\n"
