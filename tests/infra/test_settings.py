"""The environment decides where things are kept, and never overrules what is already set."""

import os
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from infra.settings import Settings, read_settings


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("Q2A_")]:
        monkeypatch.delenv(name)


def test_everything_local_lies_below_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("Q2A_HOME", str(tmp_path))
    settings = Settings()
    assert settings.store_url == str(tmp_path / "store")
    assert settings.resolved_tracking_uri == f"sqlite:///{tmp_path}/mlflow.db"
    assert settings.storage_options == {}


def test_a_relative_home_means_the_same_folder_in_every_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("Q2A_HOME", "here")
    settings = Settings()
    monkeypatch.chdir("/")
    assert settings.home == tmp_path / "here"
    assert settings.store_url == str(tmp_path / "here" / "store")


def test_the_default_home_is_absolute_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert Settings().home == tmp_path / "runs"


def test_variables_replace_the_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("Q2A_STORE", "s3://bucket/prefix")
    monkeypatch.setenv("Q2A_S3_ENDPOINT_URL", "http://127.0.0.1:8333")
    monkeypatch.setenv("Q2A_TRACKING_URI", "http://127.0.0.1:5000")
    settings = Settings()
    assert settings.store_url == "s3://bucket/prefix"
    assert settings.storage_options == {"endpoint_url": "http://127.0.0.1:8333"}
    assert settings.resolved_tracking_uri == "http://127.0.0.1:5000"


def test_variables_of_libraries_are_settings_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    assert (Settings().prefect_api_url, Settings().omp_num_threads) == ("", "1")
    monkeypatch.setenv("PREFECT_API_URL", "http://127.0.0.1:4200/api")
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    settings = Settings()
    assert settings.prefect_api_url == "http://127.0.0.1:4200/api"
    assert settings.omp_num_threads == "3"


def test_libraries_get_defaults_but_variables_that_are_set_win(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("Q2A_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("PREFECT_HOME", raising=False)
    monkeypatch.delenv("DO_NOT_TRACK", raising=False)
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    read_settings()
    assert (tmp_path / "home").is_dir()
    assert os.environ["PREFECT_HOME"] == str(tmp_path / "home" / "prefect")
    assert os.environ["DO_NOT_TRACK"] == "true"
    assert os.environ["OMP_NUM_THREADS"] == "7"


OWN_RAY = ("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "RAY_AUTH_MODE", "RAY_AUTH_TOKEN")


def own_ray_variables(monkeypatch: pytest.MonkeyPatch, home: Path) -> list[str | None]:
    monkeypatch.setenv("Q2A_HOME", str(home))
    for name in OWN_RAY:
        # Set first, so that it is put back after the test.
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    read_settings()
    return [os.environ.get(name) for name in OWN_RAY]


def test_a_ray_of_our_own_is_on_loopback_and_demands_a_token_that_nobody_can_guess(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("Q2A_RAY_ADDRESS", "")
    *modes, first = own_ray_variables(monkeypatch, tmp_path)
    assert modes == ["0", "token"]
    second = own_ray_variables(monkeypatch, tmp_path)[-1]
    assert first is not None
    assert len(bytes.fromhex(first)) == 32
    assert first != second


def test_a_ray_that_is_joined_has_its_own_rules(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("Q2A_RAY_ADDRESS", "10.0.0.1:6379")
    assert own_ray_variables(monkeypatch, tmp_path) == [None, None, None]


@pytest.mark.parametrize(
    ("given", "direct"),
    [
        ({}, "localhost,127.0.0.1,::1"),
        ({"NO_PROXY": "corp.example, 127.0.0.1"}, "corp.example,127.0.0.1,localhost,::1"),
        ({"no_proxy": "a", "NO_PROXY": "b"}, "a,localhost,127.0.0.1,::1"),
        ({"no_proxy": "*"}, "*"),
    ],
)
def test_no_proxy_stands_before_servers_of_this_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: dict[str, str], direct: str
) -> None:
    monkeypatch.setenv("Q2A_HOME", str(tmp_path))
    for name in ("no_proxy", "NO_PROXY"):
        # Set first, so that it is put back after the test.
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("http_proxy", "http://proxy.example:3128")
    read_settings()
    assert (os.environ["no_proxy"], os.environ["NO_PROXY"]) == (direct, direct)
    for address in ("127.0.0.1:4200", "localhost"):
        assert urllib.request.proxy_bypass(address)


def test_importing_the_project_changes_nothing(tmp_path: Path) -> None:
    script = (
        "import os; before = dict(os.environ)\n"
        "import flows.main, flows.pipeline, flows.prefect_runner\n"
        "added = {k for k in os.environ if k.startswith(('Q2A', 'PREFECT', 'RAY', 'OMP'))}\n"
        "assert not added - before.keys(), added - before.keys()\n"
    )
    # Matplotlib's caches go to the user's home, whoever imports it.
    home, here = tmp_path / "home", tmp_path / "here"
    here.mkdir()
    environment = {"PATH": os.environ["PATH"], "HOME": str(home)}
    subprocess.run([sys.executable, "-c", script], check=True, cwd=here, env=environment)
    assert list(here.iterdir()) == []
