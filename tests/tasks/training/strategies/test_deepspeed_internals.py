"""The names that only DeepSpeed itself should use are those of the release that was checked."""

from importlib.metadata import version

from tasks.training.strategies.deepspeed_internals import CHECKED_VERSION


def test_the_installed_deepspeed_is_the_one_whose_internals_were_checked() -> None:
    assert version("deepspeed") == CHECKED_VERSION, (
        "deepspeed_internals.py uses names without a promise: look them up in the new release, run "
        "`pytest tests/tasks/training/strategies -k zero`, then raise CHECKED_VERSION"
    )
