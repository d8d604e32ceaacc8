"""A deployment is triggered with a few values; a typing error is refused wherever it is made."""

import json
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from prefect.exceptions import ParameterTypeError
from prefect.utilities.callables import parameter_schema

from flows.pipeline import STAGES
from flows.prefect_runner import q2a
from flows.run_request import RunRequest
from infra.server_process import free_port
from infra.tracking import Tracking
from tests.support.drill_tools import (
    Q2A,
    environment_of,
    options,
    settings_of,
    start_prefect_server,
    wait_until,
)
from tests.support.tiny_run import Driver


def test_the_form_has_few_fields_and_lets_people_choose_among_the_stages() -> None:
    schema = parameter_schema(q2a.fn).model_dump()
    names = [stage.name for stage in STAGES]
    assert set(schema["properties"]) == set(RunRequest.__dataclass_fields__)
    assert not schema.get("required")
    assert schema["properties"]["until"]["anyOf"][0]["enum"] == names
    assert schema["properties"]["stages"]["items"]["enum"] == names


def test_the_flow_refuses_a_stage_that_there_is_not() -> None:
    with pytest.raises(ParameterTypeError, match=r"until: Input should be 'ingest', 'start'"):
        q2a.validate_parameters({"profile": "tiny", "until": "sfft"})


def post(address: str, path: str, body: dict[str, Any]) -> dict[str, Any]:
    request = urllib.request.Request(
        f"{address}/{path}", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=30) as answer:
        found: dict[str, Any] = json.load(answer)
    return found


@pytest.mark.drill
def test_a_deployment_is_triggered_with_profile_and_overrides_alone(
    tmp_path: Path, drive: Callable[..., Driver], small_manifest: Path
) -> None:
    home, port = tmp_path / "home", free_port()
    _, address = start_prefect_server(tmp_path / "server", port, drive)
    environment = environment_of(home) | {"PREFECT_API_URL": address}
    served = options((f"data.manifest={small_manifest}", "schedule.cron=0 0 1 1 *"))
    serve = drive([Q2A, "serve", *served], environment)

    def deployment() -> str:
        with urllib.request.urlopen(f"{address}/deployments/name/q2a/tiny", timeout=10) as answer:
            return str(json.load(answer)["id"])

    def is_there() -> bool:
        try:
            return bool(deployment())
        except urllib.error.HTTPError:
            return False

    wait_until(is_there, 300, "the deployment is registered")
    trigger = f"deployments/{deployment()}/create_flow_run"
    with pytest.raises(urllib.error.HTTPError) as refusal:
        post(address, trigger, {"parameters": {"until": "sfft"}})
    assert refusal.value.code in (409, 422)
    values = {
        "profile": "tiny",
        "data": [str(small_manifest)],
        "overrides": ["pretrain.optimizer.steps=4"],
        "until": "pretrain",
    }
    run = post(address, trigger, {"parameters": values})

    def state() -> str:
        assert serve.process.poll() is None, serve.log.read_text()
        with urllib.request.urlopen(f"{address}/flow_runs/{run['id']}", timeout=10) as answer:
            return str(json.load(answer)["state_name"])

    wait_until(lambda: state() in ("Completed", "Failed", "Crashed"), 600, "the run ends")
    assert state() == "Completed", serve.log.read_text()
    settings = settings_of(home)
    tracking = Tracking(settings.resolved_tracking_uri, settings.home / "mlartifacts")
    (pipeline,) = tracking.pipelines()
    _, config = tracking.reopen_pipeline(pipeline.info.run_id)
    assert isinstance(config["pretrain"], dict)
    assert config["pretrain"]["optimizer"]["steps"] == 4
