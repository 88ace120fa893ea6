"""`python -m uniapl train run.json` as a process: all terms alive, exact resume, exit statuses."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from safetensors import safe_open

from tests.conftest import MODELS, ROOT
from tests.uniapl.warm_trainer import train
from uniapl.run import manifest
from uniapl.run.ranks import launcher_problem
from uniapl.run.reports import (
    REPORT,
    CheckpointReport,
    ErrorReport,
    EventReport,
    MetricReport,
    PhaseReport,
    Report,
    SampleReport,
)

pytestmark = pytest.mark.integration

DATA = ROOT / "examples" / "data"
STOPPED = """
import os, runpy, signal, sys
from uniapl.training.learner import Learner

update = Learner.update

def stopped(self, sequences, step, **options):
    if step == 3:
        os.kill(os.getpid(), signal.SIGTERM)
    return update(self, sequences, step, **options)

Learner.update = stopped
sys.argv = ["uniapl", *sys.argv[1:]]
runpy.run_module("uniapl", run_name="__main__", alter_sys=True)
"""
"""`python -m uniapl` that gets SIGTERM in its fourth step, between the rollouts and the update."""


def run_file(folder: Path, *, resume_from: str | None = None, **changes: Any) -> Path:
    """A small UniAPL run on the tiny model, by paths alone: no service, no registry."""
    spec: dict[str, Any] = {
        "student": str(MODELS / "tiny-random-llama"),
        "dataset_mix": [{"dataset": str(DATA / "chance.jsonl")}],  # random text earns some of its rewards
        "alpha": 0.3,
        "lambda_adv": 0.01,
        "grpo": {"group_size": 4},
        "rollout": {"max_new_tokens": 12},
        "discriminator": {"type": "embedding", "model": str(MODELS / "all-minilm-l6-v2")},
        "optimizer": {"learning_rate": 1e-3},
        "schedule": {"steps": 6, "prompts_per_step": 2, "checkpoint_every": 2, "eval_every": 3, "term_norms_every": 1},
        "evaluation": {"dataset": str(DATA / "heldout.jsonl"), "rows": 4, "samples": 2},
        "seed": 3,
    }
    run = {"spec": {**spec, **changes}, "run_dir": str(folder), "resume_from": resume_from}
    folder.mkdir(exist_ok=True)
    path = folder / "run.json"
    path.write_text(json.dumps(run))
    return path


def start(path: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "uniapl", "train", str(path)]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def reports(folder: Path) -> list[Report]:
    return [REPORT.validate_json(line) for line in (folder / "reports.jsonl").read_text().splitlines()]


def tensors(folder: Path, step: int) -> dict[str, bytes]:
    found = {}
    for name in ("model", "optimizer"):
        with safe_open(folder / "checkpoints" / f"step-{step:08d}" / f"{name}.safetensors", "np") as file:
            found |= {f"{name}/{key}": file.get_tensor(key).tobytes() for key in file.keys()}  # noqa: SIM118
    return found


def rest(folder: Path, step: int) -> dict[str, str]:
    """Hashes of what else a checkpoint of that step holds: running means, adapter, discriminator."""
    manifest = json.loads((folder / "checkpoints" / f"step-{step:08d}" / "manifest.json").read_text())
    return {name: file["sha256"] for name, file in manifest["files"].items() if name != "spec.json"}


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("unbroken")
    status, errors = train(run_file(folder))
    assert status == 0, errors
    return folder


def test_all_three_terms_are_alive_in_every_step(unbroken: Path) -> None:
    steps = [r for r in reports(unbroken) if isinstance(r, MetricReport) and "loss" in r.values]
    assert [r.step for r in steps] == [1, 2, 3, 4, 5, 6]
    for report in steps:
        values = report.values
        weighted = 0.3 * values["uniapl/loss_sft"] + 0.7 * values["uniapl/loss_grpo"] + 0.01 * values["uniapl/loss_adv"]
        assert values["loss"] == pytest.approx(weighted, rel=1e-6)
        assert values["uniapl/grad_norm_sft"] > 0
        assert values["uniapl/grad_norm_adv"] > 0
        assert values["grad_norm"] > 0
    assert sum(r.values["uniapl/grad_norm_grpo"] > 0 for r in steps) >= 3  # 0 where no group has variance


def test_reports_are_numbered_and_complete(unbroken: Path) -> None:
    found = reports(unbroken)
    assert [r.seq for r in found] == list(range(1, len(found) + 1))
    assert {r.phase for r in found if isinstance(r, PhaseReport)} == {
        "loading_student",
        "loading_discriminator",
        "evaluating",
        "training",
        "saving",
    }
    assert [r.step for r in found if isinstance(r, CheckpointReport)] == [2, 4, 6]
    assert manifest.steps_in(unbroken / "checkpoints") == [4, 6]  # the last two, with no service to delete
    evaluated = [r for r in found if isinstance(r, MetricReport) and "eval/reward" in r.values]
    assert [r.step for r in evaluated] == [0, 3, 6]
    assert evaluated[-1].values["eval/reference_logprob"] > evaluated[0].values["eval/reference_logprob"]
    samples = [r for r in found if isinstance(r, SampleReport)]
    assert len(samples) == 6
    assert all(s.score is not None and s.reward is not None for s in samples)


RESUMED: dict[str, dict[str, Any]] = {
    "all terms": {},
    "adapters, schedules, a reference": {
        "lora": {"rank": 4},
        "alpha": {"type": "linear", "start": 0.5, "end": 0.1, "steps": 6},
        "grpo": {"group_size": 4, "kl_coef": 0.1},
        "resources": {"micro_batch_tokens": 100, "gradient_checkpointing": True},
    },
    "groups of one with a running baseline, a learned discriminator": {
        "alpha": 1,
        "grpo": {"group_size": 1},
        "adversarial": {"single_baseline": "ema"},
        "discriminator": {"type": "learned", "warmup_steps": 1, "learning_rate": 1e-3},
    },
}


@pytest.mark.parametrize(
    "changes", [pytest.param(c, marks=pytest.mark.full if c else (), id=name) for name, c in RESUMED.items()]
)
def test_a_run_stopped_and_resumed_ends_as_if_never_interrupted(
    unbroken: Path, changes: dict[str, Any], tmp_path: Path
) -> None:
    if changes:
        unbroken = tmp_path / "unbroken"
        status, errors = train(run_file(unbroken, **changes))
        assert status == 0, errors
    first, second = tmp_path / "first", tmp_path / "second"
    command = [sys.executable, "-c", STOPPED, "train", str(run_file(first, **changes))]
    stopped = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=120)
    assert stopped.returncode == 75, stopped.stderr
    newest = max((first / "checkpoints").glob("step-*"))
    assert newest.name == "step-00000003"  # the last finished step, though checkpoints are due after 2, 4 and 6
    assert [r.step for r in reports(first) if isinstance(r, MetricReport) and "loss" in r.values] == [1, 2, 3]

    status, errors = train(run_file(second, resume_from=str(newest), **changes))
    assert status == 0, errors
    assert tensors(second, 6) == tensors(unbroken, 6)
    assert rest(second, 6) == rest(unbroken, 6)
    assert (second / "profile" / "step-00000000.json").exists()  # the picture begins where the first attempt did
    losses = [{r.step: r.values["loss"] for r in reports(f) if isinstance(r, MetricReport) and "loss" in r.values}
              for f in (unbroken, first, second)]  # fmt: skip
    assert {**losses[1], **losses[2]} == losses[0]


def test_names_of_the_service_and_paths_beside_the_file_work_and_every_step_has_a_line(tmp_path: Path) -> None:
    shutil.copy(DATA / "chance.jsonl", tmp_path / "rows.jsonl")
    spec = {
        "student": "tiny-random-llama",
        "dataset_mix": [{"dataset": "rows.jsonl"}],
        "alpha": 0.3,
        "lambda_adv": 0.01,  # and so the default discriminator
        "grpo": {"group_size": 2},
        "rollout": {"max_new_tokens": 8},
        "schedule": {"steps": 3, "prompts_per_step": 2},
    }
    path = tmp_path / "run.json"
    path.write_text(json.dumps({"run_dir": str(tmp_path / "one"), "spec": spec}))
    status, errors = train(path)
    assert status == 0, errors
    _, *lines = errors.splitlines()  # the first is about the process
    assert [line.partition("  loss")[0] for line in lines[:-1]] == ["step    1/3", "step    2/3", "step    3/3"]
    assert all(word in lines[0] for word in ("loss ", "sft ", "grpo ", "adv ", "reward ", " s", "ETA "))
    assert lines[-1] == f"step 3 of 3 done; checkpoint: {tmp_path / 'one' / 'checkpoints' / 'step-00000003'}"


def test_a_learned_discriminator_warms_up_and_learns(tmp_path: Path) -> None:
    learned = {"type": "learned", "warmup_steps": 2, "learning_rate": 1e-3}
    schedule = {"steps": 4, "prompts_per_step": 2}
    status, errors = train(run_file(tmp_path, discriminator=learned, schedule=schedule, evaluation=None))
    assert status == 0, errors
    steps = [r.values for r in reports(tmp_path) if isinstance(r, MetricReport)]
    assert ["uniapl/loss_adv" in values for values in steps] == [False, False, True, True]
    assert [values["disc/version"] for values in steps] == [0, 1, 2, 3]
    assert steps[-1]["disc/loss"] < steps[0]["disc/loss"]


@pytest.mark.faults  # kernels are made in the meantime, which is slow
def test_a_run_with_compiled_blocks_takes_the_steps_of_one_without(tmp_path: Path) -> None:
    taken = {}
    for compiled in (False, True):
        folder = tmp_path / str(compiled)
        schedule = {"steps": 3, "prompts_per_step": 2, "term_norms_every": 1}
        resources = {"compile_blocks": compiled}
        process = start(run_file(folder, schedule=schedule, resources=resources, evaluation=None))
        _, errors = process.communicate(timeout=600)
        assert process.returncode == 0, errors
        steps = [r.values for r in reports(folder) if isinstance(r, MetricReport)]
        names = [name for name in steps[0] if name == "grad_norm" or name.startswith("uniapl/")]
        taken[compiled] = [values[name] for values in steps for name in names]
        assert len(steps) == 3
        assert {"uniapl/grad_norm_sft", "uniapl/grad_norm_adv"} <= set(names)
    assert taken[True] == pytest.approx(taken[False], rel=1e-3, abs=1e-6)


def test_the_profile_is_measured_stored_and_drawn(unbroken: Path) -> None:
    evaluated = [r.values for r in reports(unbroken) if isinstance(r, MetricReport) and "eval/reward" in r.values]
    assert all(values["profile/length_distance"] >= 0 for values in evaluated)
    # a random student gives both authors' tokens about log(1/49152); it learns the teacher's
    assert evaluated[-1]["profile/logprob_distance"] != evaluated[0]["profile/logprob_distance"]
    stored = json.loads((unbroken / "profile" / "step-00000006.json").read_text())
    assert len(stored["student"]["lengths"]) == 4 * 4  # rows, answers to each
    assert (unbroken / "profile" / "profile.png").read_bytes().startswith(b"\x89PNG")


def rewarded(folder: Path, answers: dict[int, str]) -> list[dict[str, Any]]:
    """Four rows in `folder/rows.jsonl` whose rewards expect their reference, or the given `answers`."""
    rows = [json.loads(line) for line in (DATA / "chance.jsonl").read_text().splitlines()][:4]
    for i, row in enumerate(rows):
        row["reward"] = {"type": "exact_match", "answer": answers.get(i, row["reference"])}
    (folder / "rows.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    return rows


def test_a_signature_becomes_an_event_and_stops_the_job_that_asks_for_it(tmp_path: Path) -> None:
    rewarded(tmp_path, {})  # no random student earns any of these
    health = {"no_variance_steps": 2, "truncated_high": 1, "stop_on": ["no_reward_variance"]}
    mix = [{"dataset": str(tmp_path / "rows.jsonl")}]
    status, errors = train(run_file(tmp_path / "run", health=health, dataset_mix=mix, evaluation=None))
    assert status == 70, errors
    found = reports(tmp_path / "run")
    event = next(r for r in found if isinstance(r, EventReport) and "signature" in r.data)
    assert (event.data["signature"], event.data["step"], event.level) == ("no_reward_variance", 2, "warning")
    assert event.data["evidence"]["reward"] == [0, 0]
    last = found[-1]
    assert isinstance(last, ErrorReport)
    assert (last.code, last.param) == ("unhealthy", "health.stop_on")
    assert (tmp_path / "run" / "checkpoints" / "step-00000002").is_dir()


def test_references_that_fail_their_own_reward_can_be_left_out(tmp_path: Path) -> None:
    rows = rewarded(tmp_path, {1: "something else"})
    schedule = {"steps": 2, "prompts_per_step": 4}
    mix = [{"dataset": str(tmp_path / "rows.jsonl")}]
    fields: dict[str, Any] = {"dataset_mix": mix, "schedule": schedule, "evaluation": None}
    status, errors = train(run_file(tmp_path / "run", **fields, data={"filter_teacher": True}))
    assert status == 0, errors
    event = next(r for r in reports(tmp_path / "run") if isinstance(r, EventReport) and "fail their own" in r.message)
    assert event.data["rows"] == [rows[1].get("id", "row-1")]


def test_each_stage_has_its_own_terms(tmp_path: Path) -> None:
    stages = [{"steps": 2, "alpha": 1}, {"steps": 3, "alpha": 0, "lambda_adv": 0.01}]
    fields: dict[str, Any] = {"alpha": 1, "lambda_adv": 0, "evaluation": None}
    status, errors = train(run_file(tmp_path, **fields, schedule={"stages": stages, "prompts_per_step": 2}))
    assert status == 0, errors
    steps = [r.values for r in reports(tmp_path) if isinstance(r, MetricReport)]
    terms = [{name.removeprefix("uniapl/loss_") for name in values if "/loss_" in name} for values in steps]
    assert terms == [{"sft"}] * 2 + [{"grpo", "adv"}] * 3
    assert [values["uniapl/alpha"] for values in steps] == [1, 1, 0, 0, 0]


def test_the_penalty_grows_from_zero_as_the_policy_leaves_the_reference(tmp_path: Path) -> None:
    schedule = {"steps": 3, "prompts_per_step": 2}
    grpo = {"group_size": 4, "kl_coef": 0.1}
    status, errors = train(run_file(tmp_path, grpo=grpo, schedule=schedule, evaluation=None))
    assert status == 0, errors
    kl = [r.values["kl"] for r in reports(tmp_path) if isinstance(r, MetricReport)]
    assert kl[0] == pytest.approx(0, abs=1e-9)
    assert 0 < kl[1] < kl[2]


def test_a_base_student_trains_with_a_template_of_the_spec(tmp_path: Path) -> None:
    student = tmp_path / "student"
    shutil.copytree(MODELS / "tiny-random-llama", student)
    (student / "chat_template.jinja").unlink()
    schedule = {"steps": 1, "prompts_per_step": 2}
    fields: dict[str, Any] = {"student": str(student), "schedule": schedule, "evaluation": None}
    status, errors = train(run_file(tmp_path / "without", **fields))
    assert status == 64
    assert "no chat template" in errors
    status, errors = train(run_file(tmp_path / "with", **fields, data={"chat_template": "plain"}))
    assert status == 0, errors
    saved = tmp_path / "with" / "checkpoints" / "step-00000001"
    assert "message['content']" in (saved / "chat_template.jinja").read_text()


def test_a_student_that_cannot_share_prompts_trains_with_a_warning(tmp_path: Path) -> None:
    student = tmp_path / "student"
    shutil.copytree(MODELS / "tiny-random-llama", student)
    config = json.loads((student / "config.json").read_text())
    config |= {"architectures": ["MistralForCausalLM"], "model_type": "mistral", "sliding_window": 16}
    (student / "config.json").write_text(json.dumps(config))
    schedule = {"steps": 1, "prompts_per_step": 2}
    changes: dict[str, Any] = {"student": str(student), "lambda_adv": 0, "evaluation": None}
    changes["discriminator"] = {"type": "embedding"}  # the default: no warning of an unused one
    status, errors = train(run_file(tmp_path / "run", schedule=schedule, **changes))
    assert status == 0, errors
    warnings = [r for r in reports(tmp_path / "run") if isinstance(r, EventReport) and r.level == "warning"]
    (event,) = [r for r in warnings if "signature" not in r.data]
    assert event.message.endswith("without sharing it, which is slower: the student has a sliding window of 16 tokens")


def test_sigusr1_writes_a_checkpoint_now(tmp_path: Path) -> None:
    schedule = {"steps": 200, "prompts_per_step": 2, "checkpoint_every": 1000}
    process = start(run_file(tmp_path, schedule=schedule, evaluation=None))
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and "loss" not in _text(tmp_path / "reports.jsonl"):
        time.sleep(0.05)
    process.send_signal(signal.SIGUSR1)
    while time.monotonic() < deadline and '"checkpoint"' not in _text(tmp_path / "reports.jsonl"):
        time.sleep(0.05)
    process.kill()
    process.communicate()
    assert len(list((tmp_path / "checkpoints").glob("step-*"))) == 1


def _text(path: Path) -> str:
    return path.read_text() if path.exists() else ""


@pytest.mark.parametrize(
    ("changes", "code", "says"),
    [
        ({"student": "/nowhere/at/all"}, "model_not_loadable", "cannot load /nowhere/at/all"),
        ({"dataset_mix": [{"dataset": "/nowhere.jsonl"}]}, "invalid_dataset", "cannot read dataset /nowhere.jsonl"),
        ({"data": {"max_prompt_tokens": 3}}, "invalid_dataset", "none of 8 rows is within"),
    ],
)
def test_a_users_mistake_ends_with_64_and_is_named(
    tmp_path: Path, changes: dict[str, Any], code: str, says: str
) -> None:
    status, errors = train(run_file(tmp_path, **changes))
    assert status == 64, errors
    last = reports(tmp_path)[-1]
    assert isinstance(last, ErrorReport)
    assert last.code == code
    assert says in last.message


@pytest.mark.parametrize("ranks", ["2", "0", "-1", "two", "1.0"])
def test_one_of_several_ranks_trains_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ranks: str) -> None:
    monkeypatch.setenv("WORLD_SIZE", ranks)
    path = run_file(tmp_path / "run")
    status, errors = train(path)
    assert status == 64
    assert "WORLD_SIZE" in errors
    assert ranks in errors
    assert "without torchrun" in errors
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("ranks", ["1", " 1 ", "", None])
def test_a_single_rank_trains(ranks: str | None) -> None:
    assert launcher_problem({} if ranks is None else {"WORLD_SIZE": ranks}) is None


def test_an_invalid_spec_is_explained_on_the_terminal(tmp_path: Path) -> None:
    status, errors = train(run_file(tmp_path, alpha=3, learning_rate=1))
    assert status == 64
    assert "spec.alpha: Input should be less than or equal to 1" in errors
    assert "spec.learning_rate" in errors


def test_a_run_that_diverges_ends_with_70_and_writes_no_weights_that_are_not_finite(tmp_path: Path) -> None:
    # Nothing bounds a learning rate of 1e30 with AdamW: the weights overflow in the first updates.
    schedule = {"steps": 20, "prompts_per_step": 2, "checkpoint_every": 1}
    path = run_file(
        tmp_path, optimizer={"learning_rate": 1e30}, schedule=schedule, evaluation=None, alpha=1, lambda_adv=0
    )
    status, errors = train(path)
    assert status == 70, errors
    last = reports(tmp_path)[-1]
    assert isinstance(last, ErrorReport)
    assert last.code == "diverged"
    event = next(r for r in reports(tmp_path) if isinstance(r, EventReport) and "signature" in r.data)
    assert event.data["signature"] == "not_finite"
    steps = [r.step for r in reports(tmp_path) if isinstance(r, CheckpointReport)]
    assert max(r.step for r in reports(tmp_path) if isinstance(r, MetricReport)) == max(steps)  # none at the bad step
    assert last.hint is not None
    assert "learning_rate" in last.hint


def test_a_folder_with_later_checkpoints_is_not_written_into(unbroken: Path, tmp_path: Path) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(unbroken, folder)
    status, errors = train(run_file(folder, resume_from=str(folder / "checkpoints" / "step-00000004")))
    assert status == 64
    assert "already holds a checkpoint of step 6" in errors
    assert (folder / "checkpoints" / "step-00000006").is_dir()
