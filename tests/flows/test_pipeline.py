"""The whole pipeline, small: what one run leaves in the store and in MLflow, and what a second
one makes of it.
"""

import json
import re
import shutil
from pathlib import Path

import pytest
import torch
from mlflow.entities import Run
from transformers import Qwen2AudioForConditionalGeneration, Qwen2AudioProcessor

from data_contracts.answer_records import EvaluationItem
from data_contracts.jsonl import from_jsonl
from data_contracts.records import Conversation
from flows.pipeline import STAGES
from flows.runners import artifact_folder, open_ledger, open_tracking
from infra.adoption import adopt
from infra.settings import Settings
from model.generate import GenerationSettings
from tasks.evaluate import ITEMS, read_report
from tasks.evaluation.answerer import Answerer
from tests.support.tiny_run import TinyRun, run_tiny

NAMES = [stage.name for stage in STAGES]
TRAINED = ["pretrain", "sft", "dpo"]


def test_every_stage_ran_once_in_order_and_finished(tiny_run: TinyRun) -> None:
    assert list(tiny_run.states.items()) == [(name, "run") for name in NAMES]
    children = tiny_run.tracking.children_of(tiny_run.run_id)
    assert [(run.info.run_name, run.info.status) for run in children] == [
        (name, "FINISHED") for name in NAMES
    ]
    assert tiny_run.client.get_run(tiny_run.run_id).info.status == "FINISHED"


def test_every_artifact_verifies(tiny_run: TinyRun) -> None:
    for outcome in tiny_run.outcomes:
        assert outcome.record.files
        assert tiny_run.ledger.verify(outcome.record) == []


def test_every_record_is_counted_in_and_out(tiny_run: TinyRun) -> None:
    for outcome in tiny_run.outcomes:
        assert outcome.record.counts["records_in"] > 0
        assert outcome.record.counts["records_out"] > 0


def test_the_parent_run_holds_the_configuration(tiny_run: TinyRun) -> None:
    _, values = tiny_run.tracking.reopen_pipeline(tiny_run.run_id)
    tiny_run.client.set_terminated(tiny_run.run_id, "FINISHED")
    assert values == tiny_run.config.model_dump(mode="json")


@pytest.mark.parametrize("stage", TRAINED)
def test_training_shows_its_metrics_over_steps(tiny_run: TinyRun, stage: str) -> None:
    run_id = producer(tiny_run, stage).info.run_id
    steps = getattr(tiny_run.config, stage).optimizer.steps
    expected = sorted({*range(3, steps + 1, 3), steps})
    for name in (
        "loss", "learning_rate", "gradient_norm", "tokens_per_second",
        "audio_seconds_per_second", "padding_waste", "teraflops_per_second", "share_of_peak",
        "data_wait_share",
    ):  # fmt: skip
        history = tiny_run.client.get_metric_history(run_id, name)
        assert [entry.step for entry in history] == expected, name
        assert all(entry.value >= 0 for entry in history), name


def test_pretraining_learns_something(tiny_run: TinyRun) -> None:
    run_id = producer(tiny_run, "pretrain").info.run_id
    losses = [entry.value for entry in tiny_run.client.get_metric_history(run_id, "loss")]
    assert losses[-1] < losses[0] - 0.5


def test_every_child_shows_its_inputs_by_digest(tiny_run: TinyRun) -> None:
    for outcome in tiny_run.outcomes:
        run = tiny_run.client.get_run(outcome.record.tracking_run)
        shown = {
            found.dataset.name: json.loads(found.dataset.profile)["sha256"]
            for found in run.inputs.dataset_inputs
        }
        assert shown == outcome.record.inputs, outcome.stage


def test_every_child_keeps_its_contracts_and_evaluation_its_report(tiny_run: TinyRun) -> None:
    for outcome in tiny_run.outcomes:
        files = {f.path for f in tiny_run.client.list_artifacts(outcome.record.tracking_run)}
        assert {"contracts_in.html", "contracts_out.html", "record.json"} <= files
        assert ({"report.html", "report.json"} <= files) == (outcome.stage == "evaluate")


def test_lineage_leads_from_the_report_to_the_corpus_and_back(tiny_run: TinyRun) -> None:
    tracking = tiny_run.tracking
    source = tiny_run.outcomes[0].record.inputs["source"]
    seen, pending = set(), [producer(tiny_run, "evaluate")]
    ends = set()
    while pending:
        run = pending.pop()
        seen.add(run.data.tags["q2a.stage"])
        for tag, fingerprint in run.data.tags.items():
            if tag == "q2a.input.source":
                ends.add(fingerprint)
            elif tag.startswith("q2a.input."):
                above = tracking.producer_of(fingerprint)
                assert above is not None
                pending.append(above)
    assert seen == set(NAMES)
    assert ends == {source}

    names = sorted({name for stage in STAGES for name in stage.inputs} | {"source"})
    reached, below = set(), [source]
    while below:
        for run in tracking.consumers_of(below.pop(), names):
            if run.data.tags["q2a.stage"] not in reached:
                reached.add(run.data.tags["q2a.stage"])
                below.append(run.data.tags["q2a.fingerprint"])
    assert reached == set(NAMES)


def test_the_report_names_the_artifacts_it_is_about(tiny_run: TinyRun) -> None:
    report = read_report(tiny_run.artifact("evaluate"))
    assert report.checkpoints == ("pretrain", "sft", "dpo")
    assert report.provenance == tiny_run.outcomes[-1].record.inputs


@pytest.mark.parametrize("alias", TRAINED)
def test_each_checkpoint_is_a_registered_version_in_the_store(
    tiny_run: TinyRun, alias: str
) -> None:
    version = tiny_run.client.get_model_version_by_alias("qwen2-audio-tiny", alias)
    assert version.source == f"{tiny_run.artifact(alias).url}/checkpoint"
    assert version.run_id == producer(tiny_run, alias).info.run_id
    assert (Path(version.source) / "model.safetensors").is_file()
    assert version.tags["q2a.stage"] == alias
    assert 0 < float(version.tags["q2a.metric.loss"]) < 20


def test_the_report_page_asks_no_server_for_anything(tiny_run: TinyRun) -> None:
    page = tiny_run.artifact("evaluate").read_text("report.html")
    assert "<audio" in page
    loading = r"""(?:src|href|url|import|action|data)\s*[=(:]\s*["']?\s*(?:https?:)?//"""
    assert re.findall(loading, page, re.IGNORECASE) == []
    assert "http://" not in page.replace("http://www.w3.org", "")
    assert "https://" not in page


def chosen_items(tiny_run: TinyRun) -> list[EvaluationItem]:
    """One completion and one chat item with one clip each."""
    text = tiny_run.artifact("evaluate").read_text(ITEMS)
    items = from_jsonl(text, EvaluationItem, ITEMS)
    return [
        next(
            item
            for item in items
            if item.conversation.format == form
            and len(item.conversation.clip_ids) == 1
            and item.suite != "preference"
        )
        for form in ("completion", "chat")
    ]


def prompt_text(conversation: Conversation, processor: Qwen2AudioProcessor) -> str:
    """What a user of transformers would write."""
    if conversation.format == "completion":
        (question,) = conversation.prompt
        return f"<|audio_bos|><|AUDIO|><|audio_eos|>{question.text}"
    messages = [
        {
            "role": turn.role,
            "content": [
                *({"type": "audio", "audio_url": clip} for clip in turn.audio),
                {"type": "text", "text": turn.text},
            ],
        }
        for turn in conversation.prompt
    ]
    text: str = processor.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
    return text


@pytest.mark.parametrize("stage", TRAINED)
def test_each_checkpoint_opens_in_transformers_and_answers_alike(
    tiny_run: TinyRun, stage: str, tmp_path: Path
) -> None:
    checkpoint = tiny_run.artifact(stage).below("checkpoint")
    model = Qwen2AudioForConditionalGeneration.from_pretrained(checkpoint.url).eval()
    processor = Qwen2AudioProcessor.from_pretrained(checkpoint.url)
    ours = Answerer.open(checkpoint, tiny_run.artifact("ingest"), tmp_path)
    items = chosen_items(tiny_run)
    settings = GenerationSettings(max_new_tokens=8)
    expected = [answers[0] for answers in ours.answer([i.conversation for i in items], settings)]
    for item, answer in zip(items, expected, strict=True):
        waveform = ours.reader[item.conversation.clip_ids[0]]
        inputs = processor(
            text=prompt_text(item.conversation, processor),
            audio=[waveform],
            sampling_rate=16_000,
            return_tensors="pt",
        )
        with torch.inference_mode():
            output = model.generate(**inputs, max_new_tokens=8, do_sample=False)
        new = output[0, inputs["input_ids"].shape[1] :]
        assert processor.tokenizer.decode(new, skip_special_tokens=True) == answer


@pytest.fixture
def copy(tiny_run: TinyRun, tmp_path: Path) -> Settings:
    """The same world in another place, where a test may damage things and register models."""
    shutil.copytree(tiny_run.settings.home, tmp_path, dirs_exist_ok=True)
    return Settings(home=tmp_path, store="", tracking_uri="")


def test_a_second_run_in_a_copied_home_hits_everything_and_adds_no_stage_run(
    tiny_run: TinyRun, copy: Settings
) -> None:
    done = adopt(open_tracking(copy), artifact_folder(copy), open_ledger(copy).store)
    assert (done.versions, done.elsewhere) == (len(TRAINED), 0)
    second = run_tiny(copy, tiny_run.config)
    assert set(second.states.values()) == {"hit"}
    assert second.tracking.children_of(second.run_id) == []
    tags = second.client.get_run(second.run_id).data.tags
    for outcome in tiny_run.outcomes:
        assert tags[f"q2a.hit.{outcome.stage}"] == outcome.record.tracking_run
    versions = second.client.search_model_versions("name = 'qwen2-audio-tiny'")
    assert len(versions) == len(TRAINED)


@pytest.mark.parametrize(
    ("stage", "file"),
    [("ingest", "corpus/shard-00003.tar"), ("sft", "checkpoint/model.safetensors")],
)
def test_one_flipped_byte_rebuilds_its_stage_alone_to_the_same_bytes(
    tiny_run: TinyRun, copy: Settings, stage: str, file: str
) -> None:
    (record,) = [o.record for o in tiny_run.outcomes if o.stage == stage]
    path = Path(copy.store_url) / stage / record.fingerprint / file
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    second = run_tiny(copy, tiny_run.config)
    assert second.states == dict.fromkeys(NAMES, "hit") | {stage: "run"}
    assert any(f"{stage}: {file} is damaged" in message for message in second.messages)
    assert second.artifact(stage).digest(file) == tiny_run.artifact(stage).digest(file)


def test_a_changed_recipe_rebuilds_its_stage_and_those_after_it(
    tiny_run: TinyRun, copy: Settings
) -> None:
    assert tiny_run.config.dpo
    dpo = tiny_run.config.dpo.model_copy(update={"beta": 0.2})
    second = run_tiny(copy, tiny_run.config.model_copy(update={"dpo": dpo}))
    assert second.states == dict.fromkeys(NAMES, "hit") | {"dpo": "run", "evaluate": "run"}


def producer(run: TinyRun, stage: str) -> Run:
    """The MLflow run that made a stage's artifact."""
    (outcome,) = [o for o in run.outcomes if o.stage == stage]
    found = run.tracking.producer_of(outcome.record.fingerprint)
    assert found is not None
    return found
