"""Experiments: pure definitions, runs that are never lost or trained twice, correct tables."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from experiments.__main__ import EXPERIMENTS
from experiments.bad_teacher import BAD_TEACHER
from experiments.degraded_answers import mismatched, rewritten, shuffled, truncated, verbose
from experiments.experiment import Arm, Column, Experiment, Run, changed
from experiments.local_launcher import LocalLauncher, _prepared, fingerprint
from experiments.results import Failure, RunResult, metrics_at, read_reports
from experiments.runner import read_spec
from experiments.table import differences_table, results_table
from experiments.validation import validate
from experiments.weights import ABLATION, DIVERSITY, LAMBDA_SWEEP, TERMS
from tests.conftest import MODELS, ROOT
from uniapl.errors import DatasetError, SpecError
from uniapl.run import manifest
from uniapl.run.config import ModelSource, RunConfig
from uniapl.run.registry import RegisteredModel, read_registry, sources
from uniapl.run.reports import EventReport
from uniapl.spec.dataset import DatasetRow
from uniapl.spec.job import JobSpec
from uniapl.spec.weights import Stage

pytestmark = pytest.mark.integration

DATA = ROOT / "examples" / "data"
COMMAND = [sys.executable, "-m", "experiments"]


def spec(**changes: Any) -> JobSpec:
    """UniAPL on the tiny model."""
    fields: dict[str, Any] = {
        "student": str(MODELS / "tiny-random-llama"),
        "dataset_mix": [{"dataset": str(DATA / "chance.jsonl")}],
        "alpha": 0.3,
        "lambda_adv": 0.002,
        "grpo": {"group_size": 2},
        "rollout": {"max_new_tokens": 8},
        "discriminator": {"type": "embedding", "model": str(MODELS / "all-minilm-l6-v2")},
        "optimizer": {"learning_rate": 1e-3},
        "schedule": {"steps": 7, "prompts_per_step": 2, "checkpoint_every": 2, "eval_every": 1000},
        "evaluation": {"dataset": str(DATA / "heldout.jsonl"), "rows": 2, "samples": 0, "profile_completions": 2},
    }
    return JobSpec.model_validate({**fields, **changes})


def imitation(steps: int = 16, **changes: Any) -> JobSpec:
    """The fastest run: no sampling in training, and no scores."""
    schedule = {"steps": steps, "prompts_per_step": 2, "checkpoint_every": 2, "eval_every": 1000}
    evaluation = {"dataset": str(DATA / "heldout.jsonl"), "rows": 1, "samples": 0, "profile_completions": 0}
    fields = {"alpha": 1.0, "lambda_adv": 0.0, "schedule": schedule, "evaluation": evaluation}
    return spec(**(fields | changes))


def _two_arms(given: JobSpec) -> list[Arm]:
    slower = given.optimizer.model_copy(update={"learning_rate": 1e-4})
    return [Arm("first", given), Arm("second", changed(given, optimizer=slower))]


REFERENCE = Column("log p(reference)", "eval/reference_logprob")
TWO_ARMS = Experiment("two_arms", "fast or slow", _two_arms, (REFERENCE,), baseline="first")
ONE_FAILS = Experiment(
    "one_fails",
    "what happens",
    lambda _: [Arm("bad", imitation(steps=1, student="/nowhere/at/all")), Arm("good", imitation(steps=1))],
    (REFERENCE,),
)


# --- definitions ---


def differing(a: Any, b: Any, path: str = "") -> set[str]:
    """Dotted names of the fields in which two dumped specs differ."""
    if isinstance(a, dict) and isinstance(b, dict) and a.keys() == b.keys():
        return {name for key in a for name in differing(a[key], b[key], f"{path}.{key}".removeprefix("."))}
    if isinstance(a, list) and isinstance(b, list) and len(a) == len(b):
        return {name for i in range(len(a)) for name in differing(a[i], b[i], f"{path}.{i}")}
    return set() if a == b else {path}


@pytest.mark.parametrize(
    ("name", "varied"),
    [
        ("ablation", {"alpha", "lambda_adv", "schedule.stages"}),
        ("terms", {"alpha", "lambda_adv"}),
        ("lambda_sweep", {"lambda_adv"}),
        ("diversity", {"alpha", "lambda_adv"}),
        ("discriminators", {"discriminator", "lambda_adv"}),
        ("bad_teacher", {"alpha", "lambda_adv", "dataset_mix.0.dataset"}),
    ],
)
def test_arms_are_a_function_of_the_spec_and_differ_only_in_what_the_experiment_varies(
    name: str, varied: set[str]
) -> None:
    # The discriminator is the embedding one with another batch size, so that the arms take it from the spec.
    given = spec(discriminator={"type": "embedding", "model": "x", "batch_size": 3})
    before = given.model_dump_json()
    arms = EXPERIMENTS[name].arms(given)
    assert arms == EXPERIMENTS[name].arms(given)
    assert given.model_dump_json() == before
    dumps = [arm.spec.model_dump(mode="json") for arm in arms]
    assert set().union(*(differing(a, b) for a in dumps for b in dumps)) == varied
    assert len({arm.name for arm in arms}) == len({json.dumps(dump) for dump in dumps}) == len(arms)
    assert all(arm.spec.evaluation and arm.spec.evaluation.score for arm in arms)
    assert all(arm.spec.schedule.steps == 7 for arm in arms)
    for arm in arms:  # what is launched is read back from JSON
        assert JobSpec.model_validate_json(arm.spec.model_dump_json()) == arm.spec


def weights(arms: list[Arm]) -> dict[str, Any]:
    return {arm.name: (arm.spec.alpha, arm.spec.lambda_adv) for arm in arms}


def test_the_ablation_has_the_published_arms_at_equal_updates() -> None:
    arms = ABLATION.arms(spec())
    assert weights(arms) == {
        "sft": (1, 0),
        "grpo": (0, 0),
        "a_grpo": (0, 0.002),
        "sft_grpo": (1, 0),
        "uniapl": (0.3, 0.002),
    }
    staged = arms[3].spec.schedule
    assert staged.stages == [Stage(steps=4, alpha=1.0), Stage(steps=3, alpha=0.0)]  # 7 steps, the odd one to SFT
    assert staged.steps == 7


def test_the_student_is_evaluated_once_before_training() -> None:
    runs = ABLATION.runs(spec(), [0, 1])
    assert [run.spec.evaluation.at_start for run in runs if run.spec.evaluation] == [True] + [False] * 9


def test_the_other_experiments_on_weights_have_their_arms() -> None:
    assert weights(TERMS.arms(spec())) == {
        "uniapl": (0.3, 0.002),
        "without_sft": (0, 0.002),
        "without_grpo": (1, 0.002),
        "without_adv": (0.3, 0),
    }
    assert [arm.spec.lambda_adv for arm in LAMBDA_SWEEP.arms(spec())] == [0, 1e-4, 1e-3, 1e-2]
    assert [arm.name for arm in LAMBDA_SWEEP.arms(spec())] == [
        "lambda_0",
        "lambda_0.0001",
        "lambda_0.001",
        "lambda_0.01",
    ]
    assert [arm.name for arm in DIVERSITY.arms(spec())] == [
        "lambda_0",
        "lambda_0.001",
        "lambda_0.01",
        "alpha_0",
        "alpha_0.5",
        "alpha_1",
    ]


def test_discriminators_has_the_specs_own_a_learned_one_and_none() -> None:
    arms = {arm.name: arm.spec for arm in EXPERIMENTS["discriminators"].arms(spec())}
    assert list(arms) == ["embedding", "learned", "none"]
    assert arms["learned"].discriminator.model_dump()["warmup_steps"] == 1  # a quarter of 7 steps
    assert arms["none"].lambda_adv == 0
    polar = {"type": "polar", "model": "polar-1.8b"}
    assert "polar" in [arm.name for arm in EXPERIMENTS["discriminators"].arms(spec(discriminator=polar))]


def test_options_of_a_term_go_with_the_term() -> None:
    given = spec(grpo={"group_size": 2, "kl_coef": 0.1}, sft={"token_weight": "phi"})
    arms = {arm.name: arm.spec for arm in ABLATION.arms(given)}
    assert [arms[name].grpo.kl_coef for name in ("sft", "grpo", "uniapl")] == [0, 0.1, 0.1]
    assert [arms[name].sft.token_weight for name in ("sft", "grpo", "uniapl")] == ["phi", "none", "phi"]


@pytest.mark.parametrize(
    ("changes", "param"),
    [
        ({"evaluation": None}, "evaluation"),
        ({"lambda_adv": 0.0}, "lambda_adv"),
        ({"alpha": 1.0}, "alpha"),
        ({"dataset_mix": [{"dataset": "a", "role": "sft"}, {"dataset": "b"}]}, "dataset_mix.0.role"),
        ({"schedule": {"steps": 1, "prompts_per_step": 2}}, "schedule.steps"),
    ],
)
def test_a_spec_that_leaves_nothing_to_compare_is_refused(changes: dict[str, Any], param: str) -> None:
    with pytest.raises(SpecError) as caught:
        ABLATION.arms(spec(**changes))
    assert caught.value.param == param


def test_every_arm_is_run_with_every_seed() -> None:
    runs = TWO_ARMS.runs(imitation(), [0, 5])
    assert [(run.arm, run.spec.seed) for run in runs] == [("first", 0), ("first", 5), ("second", 0), ("second", 5)]


# --- answers and datasets of known quality ---


def test_answers_of_known_quality() -> None:
    reference = "Don't boil it.\nUse a low heat"
    assert rewritten(reference) == "sure, here is my answer: do not boil it. use a low heat"
    assert truncated(reference) == "Don't boil it."  # 3 of 7 words
    assert truncated("One") == "One"
    assert shuffled(reference, 0).split() != reference.split()
    assert sorted(shuffled(reference, 0).split()) == sorted(reference.split())
    assert shuffled(reference, 0) != shuffled(reference, 1)
    assert verbose(reference).startswith(reference)
    assert len(verbose(reference).split()) > 5 * len(reference.split())
    for seed in range(5):
        other = mismatched("abcd", seed)
        assert sorted(other) == list("abcd")
        assert all(a != b for a, b in zip(other, "abcd", strict=True))
    with pytest.raises(DatasetError):
        mismatched(["only one"], 0)


def test_bad_teachers_have_bad_references_and_the_same_rows_otherwise(tmp_path: Path) -> None:
    path = tmp_path / "data.jsonl"
    rows = [
        {"messages": [{"role": "user", "content": name}], "reference": reference}
        for name, reference in (("a", "A"), ("b", None), ("c", "C"), ("d", "D"))
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    given = spec(dataset_mix=[{"dataset": str(path)}])
    made = BAD_TEACHER.datasets(given)
    assert [row.reference for row in made["wrong-0"]] == ["C", None, "D", "A"]
    assert [row.reference for row in made["verbose-0"]] == [verbose("A"), None, verbose("C"), verbose("D")]
    for dataset in made.values():
        assert [row.messages for row in dataset] == [DatasetRow.model_validate(row).messages for row in rows]
    named = {entry.dataset for arm in BAD_TEACHER.arms(given) for entry in arm.spec.dataset_mix}
    assert named == {str(path), *made}
    held_out = {arm.spec.evaluation.dataset for arm in BAD_TEACHER.arms(given) if arm.spec.evaluation}
    assert held_out == {str(DATA / "heldout.jsonl")}  # judged by good references throughout


# --- validation of the discriminator ---


def test_embeddings_separate_another_rows_answer_from_a_rewrite() -> None:
    table, measured = validate(spec(evaluation={"dataset": str(DATA / "heldout.jsonl"), "rows": 12}), {}, [0])
    assert measured[0]["mismatched"]["auc"] > 0.95
    assert 0.5 < measured[0]["shuffled"]["auc"] < 1
    assert [row[0] for row in table.rows] == ["mismatched", "truncated", "shuffled"]
    assert table.rows[0][1] == f"{measured[0]['mismatched']['auc']:.3f}"


# --- tables ---


def result(arm: str, seed: int, before: dict[str, float], after: dict[str, float]) -> RunResult:
    return RunResult(arm=arm, seed=seed, fingerprint="f", seconds=1, before=before, after=after)


TABLED = Experiment("tabled", "why", lambda _: [], (Column("r", "eval/reward", 2), Column("s", "eval/score")), "base")


def test_cells_are_means_and_sample_deviations() -> None:
    name = "eval/reward"
    results = [
        result("base", 0, {name: 0.1}, {name: 0.2}),
        result("base", 1, {}, {name: 0.4}),
        result("base", 2, {}, {name: 0.9}),
        result("other", 0, {}, {name: 0.5}),
        result("other", 1, {}, {name: 0.9}),
    ]
    table = results_table(TABLED, ["base", "other", "gone"], results, [Failure("other", 2, "too big")])
    # before: the one run that was evaluated then
    # base: mean of .2 .4 .9 is .5, deviations -.3 -.1 .4, sqrt(.26 / 2) = .36
    # other: mean of .5 .9 is .7, deviations -.2 .2, sqrt(.08 / 1) = .28
    assert table.rows == [
        ["before training", "0.10", ""],
        ["base", "0.50 ± 0.36", ""],
        ["other", "0.70 ± 0.28", ""],
        ["gone", "", ""],
    ]
    assert "other, seed 2 failed: too big" in table.notes
    difference = differences_table(TABLED, ["base", "other"], results)
    assert difference is not None
    # Paired by seed: .3 and .5, mean .4, sqrt(.02 / 1) = .14, so the difference exceeds its spread.
    assert difference.rows == [["other", "+0.40 ± 0.14 *", ""]]


def test_a_difference_within_its_spread_has_no_star_and_one_seed_has_no_differences() -> None:
    name = "eval/score"
    results = [
        result(arm, seed, {}, {name: value}) for arm, seed, value in (("base", 0, 1.0), ("x", 0, 2.0), ("base", 1, 2.0))
    ]
    assert differences_table(TABLED, ["base", "x"], results[:2]) is None
    # 2 - 1 = 1 and 1 - 2 = -1: mean 0, within sqrt(2) of nothing.
    difference = differences_table(TABLED, ["base", "x"], [*results, result("x", 1, {}, {name: 1.0})])
    assert difference is not None
    assert difference.rows == [["x", "", "+0.000 ± 1.414"]]
    assert results_table(TABLED, ["x"], results[:2], []).rows[-1] == ["x", "", "2.000"]


def test_text_and_markdown_have_every_cell() -> None:
    table = results_table(TABLED, ["base"], [result("base", 0, {}, {"eval/reward": 0.125, "eval/score": 3.0})], [])
    assert "| base | 0.12 | 3.000 |" in table.markdown()
    lines = table.text().splitlines()
    assert [len(line) for line in lines[2:]] == [len(lines[2])] * len(lines[2:])  # aligned
    assert lines[-1].split() == ["base", "0.12", "3.000"]


def test_the_last_attempts_numbers_count_and_torn_lines_do_not(tmp_path: Path) -> None:
    line = '{"seq":1,"ts":1,"kind":"metric","step":3,"values":{"a":%s}}\n'
    (tmp_path / "reports.jsonl").write_text(line % 1 + '{"seq":2,"ts":1,"kind":"met\n' + line % 2)
    assert metrics_at(read_reports(tmp_path), 3) == {"a": 2}
    assert metrics_at(read_reports(tmp_path), 0) == {}


# --- models ---


def test_names_are_looked_up_in_the_registry_and_its_paths_are_relative_to_it(tmp_path: Path) -> None:
    entries = {"stu": {"kind": "student", "path": "a"}, "dis": {"kind": "discriminator", "hub": "x/y"}}
    (tmp_path / "models.json").write_text(json.dumps(entries))
    registry = read_registry(tmp_path / "models.json")
    found = sources(spec(student="stu", discriminator={"type": "embedding", "model": "dis"}), registry)
    assert {name: source.path or source.hub for name, source in found.items()} == {
        "stu": str(tmp_path / "a"),
        "dis": "x/y",
    }
    with pytest.raises(SpecError, match="dis is a discriminator, not a student"):
        sources(spec(student="dis"), registry)
    assert sources(imitation(student="org/name"), registry)["org/name"].hub == "org/name"


def test_the_example_is_a_short_ablation_on_the_bundled_model() -> None:
    example = read_spec(ROOT / "examples" / "ablation.json", None)
    assert [run.arm for run in ABLATION.runs(example, [0])] == ["sft", "grpo", "a_grpo", "sft_grpo", "uniapl"]
    assert read_spec(ROOT / "examples" / "ablation.json", 60).schedule.steps == 60
    assert RegisteredModel.model_validate(json.loads((ROOT / "models.json").read_text())[example.student])


def test_dataset_paths_of_a_spec_are_relative_to_it_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    (tmp_path / "rows.jsonl").touch()
    (tmp_path / "here" / "held.jsonl").touch()
    given = spec(dataset_mix=[{"dataset": "rows.jsonl"}], evaluation={"dataset": "held.jsonl"})
    (tmp_path / "spec.json").write_text(given.model_dump_json())
    found = read_spec(tmp_path / "spec.json", None)
    assert found.dataset_mix[0].dataset == str(tmp_path / "rows.jsonl")
    assert found.evaluation is not None
    assert found.evaluation.dataset == "held.jsonl"


# --- launching ---


def start(out: Path, experiment: str = "TWO_ARMS") -> subprocess.Popen[str]:
    """An experiment of this file through the command's own `run`, in a process that can be killed."""
    code = (
        "import sys, pathlib\n"
        "from experiments.runner import run\n"
        f"from tests.experiments.test_experiments import {experiment}, imitation\n"
        "out = pathlib.Path(sys.argv[1])\n"
        f"sys.exit(run({experiment}, imitation(), {{}}, out=out, seeds=[0], keep_checkpoints=False))\n"
    )
    return subprocess.Popen([sys.executable, "-c", code, str(out)], cwd=ROOT, stdout=subprocess.PIPE, text=True)


def wait_for(folder: Path, *patterns: str) -> None:
    """Until something is there that one of the patterns names."""
    deadline = time.monotonic() + 60
    while not any(list(folder.glob(pattern)) for pattern in patterns):
        assert time.monotonic() < deadline, f"no {patterns} in {folder}"
        time.sleep(0.02)


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, bytes]:
    """An experiment whose launcher was killed in its second run, and the reports of its first run."""
    for _ in range(5):  # it may be over before we have looked
        out = tmp_path_factory.mktemp("out")
        launcher = start(out)
        wait_for(out, "second/seed-0/checkpoints/step-*", "second/seed-0/result.json")
        launcher.kill()
        launcher.communicate()
        if not (out / "second" / "seed-0" / "result.json").exists():
            return out, (out / "first" / "seed-0" / "reports.jsonl").read_bytes()
    pytest.fail("each time the second run was over before it could be killed")


@pytest.fixture(scope="module")
def resumed(killed: tuple[Path, bytes]) -> Path:
    """The same experiment, run again to its end."""
    out = killed[0]
    launcher = start(out)
    said, _ = launcher.communicate(timeout=120)
    assert launcher.returncode == 0
    assert re.search(r"first, seed 0: already finished", said)
    return out


@pytest.mark.full
def test_a_killed_experiment_resumes(killed: tuple[Path, bytes], resumed: Path) -> None:
    assert (resumed / "first" / "seed-0" / "reports.jsonl").read_bytes() == killed[1]  # not trained again
    events = [r.message for r in read_reports(resumed / "second" / "seed-0") if isinstance(r, EventReport)]
    assert any(message.startswith("resumed after step") for message in events)
    table = (resumed / "table.md").read_text()
    assert [line.split(" | ")[0] for line in table.splitlines() if line.startswith("| ")] == [
        "| arm",
        "| ---",
        "| before training",
        "| first",
        "| second",
    ]
    numbers = json.loads((resumed / "results.json").read_text())
    assert [run["arm"] for run in numbers["runs"]] == ["first", "second"]
    first, second = (run["after"]["eval/reference_logprob"] for run in numbers["runs"])
    assert first > second > numbers["runs"][0]["before"]["eval/reference_logprob"]  # both learnt, the faster one more
    assert numbers["seeds"] == [0]
    assert numbers["machine"]["cpus"] == os.cpu_count()
    assert len({run["fingerprint"] for run in numbers["runs"]}) == 2


@pytest.mark.full
def test_checkpoints_of_finished_runs_are_deleted(resumed: Path) -> None:
    assert not list(resumed.rglob("checkpoints"))


def launched(out: Path, *runs: Run, keep: bool = False) -> tuple[list[RunResult | Failure], list[str]]:
    said: list[str] = []
    launcher = LocalLauncher(out, registry={}, datasets={}, keep_checkpoints=keep, log=said.append)
    return list(launcher.launch(runs)), said


@pytest.mark.full
def test_a_changed_spec_is_run_anew_and_an_equal_one_is_not(resumed: Path) -> None:
    path = resumed / "first" / "seed-0"
    (same,), said = launched(resumed, Run("first", imitation()))
    assert said == ["[1/1] first, seed 0: already finished"]
    (anew,), said = launched(resumed, Run("first", imitation(steps=2)), keep=True)
    assert "[1/1] first, seed 0: training" in said
    assert isinstance(same, RunResult)
    assert isinstance(anew, RunResult)
    assert anew.fingerprint != same.fingerprint
    assert max(r.step for r in read_reports(path) if r.kind == "metric") == 2  # nothing of the old run is left
    assert [p.name for p in (path / "checkpoints").iterdir()] == ["step-00000002"]


def test_a_run_resumes_from_the_newest_complete_checkpoint(tmp_path: Path) -> None:
    config = RunConfig(spec=imitation(), run_dir=str(tmp_path / "run"))
    mark, folder = fingerprint(config), tmp_path / "run" / "checkpoints"
    assert _prepared(tmp_path / "run", config, mark).resume_from is None

    def write_weights(target: Path) -> None:
        (target / "model").write_text("weights")

    for step in (2, 4, 6):
        manifest.publish(folder, step, write_weights, {})
    assert _prepared(tmp_path / "run", config, mark).resume_from == str(folder / "step-00000006")
    (folder / "step-00000006" / "model").write_text("wreckage")
    (folder / "step-00000004" / "manifest.json").unlink()
    assert _prepared(tmp_path / "run", config, mark).resume_from == str(folder / "step-00000002")
    assert manifest.steps_in(folder) == [2]  # the trainer would refuse to begin before a later step
    (folder / "step-00000002" / "model").unlink()
    assert _prepared(tmp_path / "run", config, mark).resume_from is None
    assert not folder.exists()


def test_a_changed_dataset_or_model_is_a_changed_run(tmp_path: Path) -> None:
    data = tmp_path / "data.jsonl"
    data.write_text("1")
    config = RunConfig(spec=imitation(dataset_mix=[{"dataset": "ds"}]), run_dir="a", datasets={"ds": str(data)})
    elsewhere = config.model_copy(update={"run_dir": "b", "resume_from": "c"})
    assert fingerprint(config) == fingerprint(elsewhere)
    other = config.model_copy(update={"models": {config.spec.student: ModelSource(hub="x/y")}})
    before = fingerprint(config)
    data.write_text("2")
    assert len({before, fingerprint(config), fingerprint(other)}) == 3


def test_a_failing_arm_is_reported_and_the_others_are_run(tmp_path: Path) -> None:
    launcher = start(tmp_path, "ONE_FAILS")
    said, _ = launcher.communicate(timeout=120)
    assert launcher.returncode == 1
    assert "[1/2] bad, seed 0: FAILED: model_not_loadable" in said
    table = (tmp_path / "table.md").read_text()
    assert "bad, seed 0 failed: model_not_loadable: cannot load /nowhere" in table
    assert re.search(r"^\| good \| -\d+\.\d{3} \|$", table, re.MULTILINE)
    assert re.search(r"^\| bad \|  \|$", table, re.MULTILINE)
    numbers = json.loads((tmp_path / "results.json").read_text())
    assert [failure["arm"] for failure in numbers["failures"]] == ["bad"]


def test_sigterm_stops_with_a_checkpoint_and_prints_how_to_resume(tmp_path: Path) -> None:
    spec_file = tmp_path / "spec.json"
    spec_file.write_text(spec(schedule={"steps": 500, "prompts_per_step": 2}).model_dump_json())
    command = [*COMMAND, "ablation", str(spec_file), "--out", str(tmp_path / "out")]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    for line in process.stdout:
        if re.search(r"step [1-9]", line):  # 0 is the evaluation before the first
            break
    process.send_signal(signal.SIGTERM)
    said, _ = process.communicate(timeout=60)
    assert process.returncode == 75
    assert "run the same command" in said
    assert str(spec_file) in said
    assert len(list((tmp_path / "out" / "sft" / "seed-0" / "checkpoints").glob("step-*"))) == 1
    assert not (tmp_path / "out" / "grpo").exists()
