"""A new task is one entry: in `tasks.yaml` beside the manifest, or in the profile."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from data_contracts.contract_result import enforce
from data_contracts.jsonl import from_jsonl
from data_contracts.records import Rejected
from flows.config import load_config
from flows.profile_files import ConfigError
from infra.storage.store import Store
from tasks import ingest, pretrain, sft
from tasks.conversations.task_table import TaskError, shipped_tasks
from tasks.corpus.artifact import TASKS, read_suites, read_tasks
from tasks.corpus.index import CorpusIndex
from tasks.ingest import IngestRecipe
from tasks.sources.manifest import DataSource, DataSourceError, source_digest, source_tasks
from tasks.training_data.examples import ClipTable, completion_examples
from tasks.training_data.mixture import Mixture
from tests.support.recordings import row, stage_context, write_manifest, write_tones

ENTRY = {
    "kind": "label",
    "prompt": "Name the engine:",
    "choices": ["diesel", "electric", "steam"],
    "questions": ["Which engine runs?"],
    "answer": "It runs on {answer}.",
}
LABELS = ("diesel", "electric") * 2


def engines(folder: Path) -> DataSource:
    """Four recordings to train on and four to test with, all of one new task."""
    names = [f"{split} {number}" for split in ("train", "test") for number in range(4)]
    write_tones(folder, names)
    rows = [
        row(name, targets={"engine": label}, kind="sound", language=None, split=name.split()[0])
        for name, label in zip(names, LABELS * 2, strict=True)
    ]
    return write_manifest(folder, rows)


def declared_beside(folder: Path) -> DataSource:
    source = engines(folder)
    (folder / "tasks.yaml").write_text(json.dumps({"engine": ENTRY}))  # JSON is YAML
    return source


def declared_in_the_profile(folder: Path) -> DataSource:
    config = load_config(
        "tiny",
        [f"data={json.dumps({'manifest': engines(folder).manifest, 'tasks': {'engine': ENTRY}})}"],
    )
    return config.data


@pytest.mark.parametrize("declare", [declared_beside, declared_in_the_profile])
def test_a_new_task_is_one_entry(declare: Callable[[Path], DataSource], tmp_path: Path) -> None:
    source = declare(tmp_path / "data")
    context = stage_context(tmp_path / "corpus")
    for contract in ingest.check_source(source):
        enforce(contract)
    result = ingest.run(context, IngestRecipe(), source)
    assert (result.records_out, result.rejected) == (8, 0)
    corpus = context.directory
    for contract in ingest.check(corpus):
        enforce(contract)

    tasks = read_tasks(corpus)
    assert list(tasks) == [*shipped_tasks(), "engine"]
    index = CorpusIndex(corpus)
    clips = ClipTable.of(index, tasks)
    examples = completion_examples(index, clips, tasks, "natural").examples
    asked = [examples[number][0] for number in range(len(examples))]
    assert [(c.task, c.turns[0].text, c.answer) for c in asked] == [
        ("engine", "Name the engine:", label) for label in LABELS
    ]
    (suite,) = [items for name, items in read_suites(corpus) if name == "engine"]
    assert {item.metric for item in suite} == {"balanced_accuracy"}
    assert {item.choices for item in suite} == {("diesel", "electric", "steam")}
    assert {item.conversation.turns[0].text for item in suite} == {"Name the engine:"}
    dialogues = [json.loads(line) for line in corpus.read_text("dialogues.jsonl").splitlines()]
    singles = [d["turns"] for d in dialogues if d["task"] == "engine"]
    assert {turns[0]["text"] for turns in singles} == {"Which engine runs?"}
    assert {turns[1]["text"] for turns in singles} == {"It runs on diesel.", "It runs on electric."}


def test_what_is_undeclared_or_no_choice_is_rejected_row_by_row(tmp_path: Path) -> None:
    source = declared_beside(tmp_path / "data")
    bad = [
        row("song", audio="train 0.wav", targets={"song": "la"}),
        row("hybrid", audio="train 0.wav", targets={"engine": "hybrid"}),
    ]
    path = Path(source.manifest or "")
    path.write_text(path.read_text() + "".join(json.dumps(each) + "\n" for each in bad))
    context = stage_context(tmp_path / "corpus")
    ingest.run(context, IngestRecipe(max_rejected_share=0.2), source)
    text = context.directory.read_text(ingest.REJECTED)
    song, hybrid = from_jsonl(text, Rejected, ingest.REJECTED)
    assert (song.id, song.reason) == ("song", "invalid_row")
    assert "targets.song: there is no task 'song'. Declare it below data.tasks" in song.detail
    assert (hybrid.id, hybrid.reason) == ("hybrid", "invalid_row")
    assert "'hybrid' is none of diesel, electric, steam" in hybrid.detail


def test_the_digest_of_a_source_changes_with_what_is_declared_and_with_nothing_else(
    tmp_path: Path,
) -> None:
    plain = write_manifest(tmp_path, [row("a", sha256="0" * 64)])
    before = source_digest(plain)
    assert source_digest(DataSource(manifest=plain.manifest, tasks={})) == before
    (tmp_path / "tasks.yaml").write_text("# no task yet\n")
    assert source_digest(plain) == before
    in_profile = DataSource.model_validate({"manifest": plain.manifest, "tasks": {"engine": ENTRY}})
    declared = source_digest(in_profile)
    assert declared != before
    (tmp_path / "tasks.yaml").write_text(json.dumps({"engine": ENTRY}))
    assert source_digest(plain) == declared
    (tmp_path / "tasks.yaml").write_text(json.dumps({"engine": ENTRY | {"prompt": "Name it:"}}))
    assert source_digest(plain) not in (before, declared)


def test_the_profile_wins_over_the_file_and_a_folder_may_have_one_too(tmp_path: Path) -> None:
    (tmp_path / "tasks.yaml").write_text(json.dumps({"engine": ENTRY, "asr": ENTRY}))
    renamed = {"engine": ENTRY | {"prompt": "Name it:"}}
    source = DataSource.model_validate({"folder": str(tmp_path), "tasks": renamed})
    tasks = source_tasks(source)
    assert tasks["engine"].prompt == "Name it:"
    assert tasks["asr"].kind == "label"


def test_a_declaration_that_can_not_be_read_names_its_file(tmp_path: Path) -> None:
    (tmp_path / "tasks.yaml").mkdir()
    with pytest.raises(DataSourceError, match=r"tasks.yaml' can't be read: .*an empty file"):
        source_tasks(DataSource(folder=str(tmp_path)))


def test_a_corpus_without_a_table_has_the_shipped_tasks(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    assert read_tasks(store) == shipped_tasks()
    store.write_text(TASKS, "{}")
    assert len(read_tasks(store)) == 0


@pytest.mark.parametrize(
    ("override", "user"),
    [
        ("pretrain.mixture={engine: 1}", "pretrain.mixture"),
        ("pretrain.letters=[engine]", "pretrain.letters"),
        ("sft.mixture={engine: 1}", "sft.mixture"),
        ('sft.mixture={"replay:engine": 1}', "sft.mixture"),
        ('sft.mixture={"replay:multi_turn": 1}', "sft.mixture"),
    ],
)
def test_a_profile_that_names_an_undeclared_task_is_refused_when_it_is_read(
    override: str, user: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=rf"profile tiny: {user}.*: there is no task") as caught:
        load_config("tiny", [override])
    assert "Declare it below data.tasks in the profile" in str(caught.value)
    if "multi_turn" not in override:
        data = {"manifest": f"{tmp_path}/manifest.jsonl"}
        load_config("tiny", [override, f"data={json.dumps(data | {'tasks': {'engine': ENTRY}})}"])
        (tmp_path / "tasks.yaml").write_text(json.dumps({"engine": ENTRY}))
        load_config("tiny", [override, f"data={json.dumps(data)}"])


def test_a_stage_refuses_weights_for_a_task_that_its_corpus_does_not_have(tmp_path: Path) -> None:
    config = load_config("tiny")
    inputs = {"corpus": Store(str(tmp_path / "corpus"))}
    context = stage_context(tmp_path / "out", inputs)
    assert config.pretrain
    assert config.sft
    mixture = {"mixture": Mixture(tasks={"song": 1})}
    with pytest.raises(TaskError, match=r"pretrain.mixture: there is no task 'song'"):
        pretrain.run(context, config.pretrain.model_copy(update=mixture))
    with pytest.raises(TaskError, match=r"sft.mixture.*: there is no task 'song'"):
        sft.run(context, config.sft.model_copy(update=mixture))


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ("kind: label, metric: f1", "task engine: no metric is called 'f1': use one of wer, "),
        ("kind: text, metric: accuracy", "task engine: metric accuracy is for kind label"),
    ],
)
def test_a_metric_that_does_not_fit_is_refused_before_anything_is_packed(
    entry: str, message: str, tmp_path: Path
) -> None:
    source = engines(tmp_path)
    (tmp_path / "tasks.yaml").write_text(f'engine: {{prompt: "x", {entry}}}')
    out = stage_context(tmp_path / "out")

    with pytest.raises(TaskError, match=message):
        ingest.run(out, IngestRecipe(), source)

    assert out.directory.list_keys() == []


def test_a_profile_that_declares_an_unknown_metric_is_refused(tmp_path: Path) -> None:
    entry = {"kind": "label", "prompt": "x", "metric": "f1"}
    data = json.dumps({"manifest": engines(tmp_path).manifest, "tasks": {"engine": entry}})

    with pytest.raises(ConfigError, match="task engine: no metric is called 'f1'"):
        load_config("tiny", [f"data={data}"])
