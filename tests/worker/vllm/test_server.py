"""A model's server beside the trainer: started, probed for real, started again, given up, shared, buried."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from store.artifacts.paths import Artifacts
from store.settings import Settings
from tests.conftest import MODELS, ROOT
from uniapl.inference.endpoint import ProbePause, RestartRequest, read_address
from uniapl.run.config import ModelSource
from uniapl.spec.backend import ManagedVllm, ServerRole
from uniapl.spec.job import JobSpec
from worker import process
from worker.attempt_servers import AttemptServers
from worker.vllm.command import Plan, plans
from worker.vllm.pool import SidecarPool
from worker.vllm.server import Sidecar

pytestmark = pytest.mark.integration


def settings(tmp_path: Path, **changes: Any) -> Settings:
    (tmp_path / "fake").mkdir(exist_ok=True)
    quick: dict[str, Any] = {
        "vllm_command": [sys.executable, "-m", "tests.worker.vllm.fake_vllm", str(tmp_path / "fake")],
        "retry_backoff_s": 0.05,
        "sidecar_start_s": 120,
        "sidecar_probe_s": 15,
        "sidecar_probe_every_s": 0.2,
    }
    return Settings(data_dir=tmp_path / "data", **{**quick, **changes})


def plan(model: str = "judge", **changes: Any) -> Plan:
    fields: dict[str, Any] = {
        "source": ModelSource(path=f"/models/{model}"),
        "kind": "score",
        "options": ManagedVllm(),
        "memory_fraction": 0.3,
    }
    return Plan(role="discriminator", model=model, **{**fields, **changes})


def behave(tmp_path: Path, mode: str) -> None:
    (tmp_path / "fake" / "mode").write_text(mode)


def begin(tmp_path: Path, *starts: str) -> None:
    (tmp_path / "fake").mkdir(exist_ok=True)
    (tmp_path / "fake" / "starts").write_text("\n".join(starts))


def started(tmp_path: Path) -> list[list[str]]:
    """What each start has noted: how, its pid, its child's pid, the model, its environment."""
    seen = tmp_path / "fake" / "seen"
    lines = seen.read_text().splitlines() if seen.exists() else []
    return [line.split(maxsplit=5)[1:] for line in lines if line.startswith("start ")]


def wait_until(look: Callable[[], Any], timeout_s: float = 150) -> Any:
    deadline = time.monotonic() + timeout_s
    while not (found := look()):
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)
    return found


def lives(pid: int) -> bool:
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


def nothing_lives(tmp_path: Path) -> bool:
    return not any(lives(int(pid)) for start in started(tmp_path) for pid in start[1:3])


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Callable[..., Sidecar]]:
    """Start a server with changed settings."""
    running: list[Sidecar] = []

    def begin_one(chosen: Plan | None = None, **changes: Any) -> Sidecar:
        folder = tmp_path / "sidecars" / str(len(running))
        running.append(Sidecar(chosen or plan(), settings(tmp_path, **changes), folder, threading.Lock()))
        running[-1].start()
        return running[-1]

    yield begin_one
    for sidecar in running:
        if sidecar.state != "stopped":
            sidecar.stop()
    assert nothing_lives(tmp_path)


@pytest.fixture
def pool(tmp_path: Path) -> Iterator[SidecarPool]:
    sidecars = SidecarPool(settings(tmp_path, sidecar_idle_s=60), Artifacts(tmp_path / "data"))
    yield sidecars
    sidecars.stop_all()
    assert nothing_lives(tmp_path)
    assert list((tmp_path / "data" / "sidecars").glob("*")) == []


@pytest.mark.parametrize("kind", ["score", "embed", "sample"])
def test_it_is_ready_once_it_has_answered_a_real_request(
    run: Callable[..., Sidecar], tmp_path: Path, kind: str
) -> None:
    sidecar = run(plan(kind=kind))
    wait_until(lambda: sidecar.state == "ready")
    address = read_address(sidecar.address_file)
    assert address is not None
    assert (address.state, address.model, address.life) == ("ready", "judge", 1)
    asked = {"score": "/pooling", "embed": "/v1/embeddings", "sample": "/v1/completions"}[kind]
    assert f"ok {asked} " in (tmp_path / "fake" / "seen").read_text()
    assert any("is ready after" in item.message for item in sidecar.events)
    assert sidecar.address_file.stat().st_mode & 0o077 == 0
    assert httpx.post(f"{address.url}/pooling", json={"input": ["x"]}).status_code == 401  # not without the token


def test_no_secret_of_the_workers_reaches_it_and_its_own_is_in_no_argument(
    run: Callable[..., Sidecar], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UNIAPL_DATABASE_URL", "postgresql://secret@host/db")
    monkeypatch.setenv("TEACHER_API_KEY", "sk-secret")
    monkeypatch.setenv("VLLM_CPU_KVCACHE_SPACE", "1")
    sidecar = run()
    wait_until(lambda: sidecar.state == "ready")
    environment = started(tmp_path)[0][4]
    assert "'UNIAPL_DATABASE_URL'" not in environment
    assert "'TEACHER_API_KEY'" not in environment
    assert "'VLLM_CPU_KVCACHE_SPACE'" in environment
    address = read_address(sidecar.address_file)
    assert address is not None
    assert address.token is not None
    for found in psutil.process_iter(["cmdline"]):
        assert address.token not in " ".join(found.info["cmdline"] or [])


def test_stopping_leaves_no_process_and_no_file(run: Callable[..., Sidecar], tmp_path: Path) -> None:
    sidecar = run()
    wait_until(lambda: sidecar.state == "ready")
    assert not nothing_lives(tmp_path)
    sidecar.stop()
    assert nothing_lives(tmp_path)
    assert not sidecar.folder.exists()


def test_a_hung_server_is_stopped_at_once(run: Callable[..., Sidecar], tmp_path: Path) -> None:
    sidecar = run(sidecar_probe_s=60)
    wait_until(lambda: sidecar.state == "ready")
    behave(tmp_path, "hang")
    wait_until(lambda: "hang /pooling" in (tmp_path / "fake" / "seen").read_text())
    began = time.monotonic()
    sidecar.stop()
    assert time.monotonic() - began < 30


def test_a_server_that_loads_weights_or_sleeps_is_not_probed(run: Callable[..., Sidecar], tmp_path: Path) -> None:
    sidecar = run(sidecar_probe_s=1)
    wait_until(lambda: sidecar.state == "ready")
    pause = ProbePause(sidecar.address_file)
    pause.begin()
    behave(tmp_path, "hang")
    time.sleep(3)  # longer than a probe and the wait between two
    assert (sidecar.state, sidecar.restarts) == ("ready", 0)
    behave(tmp_path, "ok")
    pause.begin(0.5)  # a deadline that passes
    behave(tmp_path, "hang")
    wait_until(lambda: sidecar.restarts == 1)


def test_a_server_that_ends_in_its_sleep_is_probed_after_its_restart(
    run: Callable[..., Sidecar], tmp_path: Path
) -> None:
    sidecar = run(sidecar_probe_s=1)
    wait_until(lambda: sidecar.state == "ready")
    pause = ProbePause(sidecar.address_file)
    pause.begin()
    os.kill(int(started(tmp_path)[0][1]), signal.SIGKILL)
    wait_until(lambda: sidecar.restarts == 1)
    wait_until(lambda: sidecar.state == "ready")
    assert not pause.active


def test_the_trainer_has_a_server_with_a_part_of_the_weights_restarted_once(
    run: Callable[..., Sidecar], tmp_path: Path
) -> None:
    sidecar = run()
    wait_until(lambda: sidecar.state == "ready")
    ProbePause(sidecar.address_file).begin()
    request = RestartRequest(sidecar.address_file)
    request.make(2)  # another life than this one
    time.sleep(1)
    assert (sidecar.state, sidecar.restarts) == ("ready", 0)
    request.make(1)
    wait_until(lambda: sidecar.restarts == 1)
    assert "failed to receive weights; restarting it (1 of 3)" in sidecar.events[-1].message
    wait_until(lambda: sidecar.state == "ready")
    assert (len(started(tmp_path)), request.is_for(2)) == (2, False)


FAULTS = {
    "hang": "no complete reply within 5 s",
    "exit0": "exited unexpectedly with status 0",
    "html": "invalid reply",
    "truncated": "invalid reply",
    "count": "expected 1 results, got 2",
    "nan": "finite",
    "null": "finite",
    "model": "got one of somebody-else",
    "status500": "status 500",
}


@pytest.mark.parametrize(("mode", "problem"), FAULTS.items())
def test_a_server_that_goes_wrong_is_started_again(
    run: Callable[..., Sidecar], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: str, problem: str
) -> None:
    if mode == "exit0":  # its status is to be seen, however long it takes to end
        monkeypatch.setattr("worker.vllm.server.DYING_S", 60.0)
    sidecar = run(sidecar_probe_s=5 if mode == "hang" else 15)  # a hang is waited for
    wait_until(lambda: sidecar.state == "ready")
    first = read_address(sidecar.address_file)
    behave(tmp_path, mode)
    wait_until(lambda: sidecar.restarts == 1)
    waiting = read_address(sidecar.address_file)
    assert waiting is not None
    behave(tmp_path, "ok")
    wait_until(lambda: sidecar.state == "ready")
    again = read_address(sidecar.address_file)
    assert first is not None
    assert again is not None
    assert again.life > first.life
    assert again.token != first.token
    told = next(item for item in sidecar.events if "restarting it" in item.message)
    assert problem in told.message
    assert told.level == "warning"
    assert not lives(int(started(tmp_path)[0][1]))
    assert not lives(int(started(tmp_path)[0][2]))  # nor what it had started itself


@pytest.mark.parametrize("kind", ["score", "sample"])
def test_a_busy_server_that_processes_tokens_is_not_killed_and_one_that_stops_is(
    run: Callable[..., Sidecar], tmp_path: Path, kind: str
) -> None:
    sidecar = run(plan(kind=kind, sequences=9), sidecar_probe_s=2)
    wait_until(lambda: sidecar.state == "ready")
    behave(tmp_path, "busy")
    seen = tmp_path / "fake" / "seen"
    wait_until(lambda: seen.read_text().count("busy /") >= 3)  # two of them have had no answer
    assert (sidecar.restarts, sidecar.state) == (0, "ready")
    behave(tmp_path, "hang")
    wait_until(lambda: sidecar.restarts == 1)
    told = next(item for item in sidecar.events if "restarting it" in item.message)
    assert "no complete reply within 2 s, and processed no token meanwhile" in told.message
    behave(tmp_path, "ok")
    wait_until(lambda: sidecar.state == "ready")


@pytest.mark.parametrize("kind", ["score", "embed", "sample"])
def test_a_probe_goes_before_all_that_wait(run: Callable[..., Sidecar], tmp_path: Path, kind: str) -> None:
    chosen = plan(kind=kind, sequences=9)
    assert "--scheduling-policy priority" in " ".join(chosen.command(settings(tmp_path), 1))
    sidecar = run(chosen)
    wait_until(lambda: sidecar.state == "ready")  # with the default policy it would refuse the priority
    asked = [line for line in (tmp_path / "fake" / "seen").read_text().splitlines() if line.startswith("ok /")]
    assert json.loads(asked[0].split(maxsplit=2)[2])["priority"] < 0


@pytest.mark.parametrize("killed", [1, 2])
def test_a_killed_server_is_started_again(run: Callable[..., Sidecar], tmp_path: Path, killed: int) -> None:
    sidecar = run()
    wait_until(lambda: sidecar.state == "ready")
    leader = psutil.Process(int(started(tmp_path)[0][1]))
    (leader if killed == 1 else leader.parent() or leader).kill()  # the server; then what holds it on a leash
    wait_until(lambda: sidecar.restarts == 1 and sidecar.state == "ready")
    assert not lives(int(started(tmp_path)[0][2]))


def test_it_is_given_up_after_three_more_starts(run: Callable[..., Sidecar], tmp_path: Path) -> None:
    begin(tmp_path, *["exit1"] * 9)
    sidecar = run()
    wait_until(lambda: sidecar.state == "failed")
    assert len(started(tmp_path)) == 4
    assert sidecar.problem == "exited with status 1 before it was ready"
    assert "no such architecture" in process.tail(sidecar.log)
    address = read_address(sidecar.address_file)
    assert address is not None
    assert address.state == "starting"  # no address of a server that is not running


def test_one_that_is_never_ready_is_given_up(run: Callable[..., Sidecar], tmp_path: Path) -> None:
    begin(tmp_path, "slow", "slow")
    sidecar = run(sidecar_start_s=0.5, sidecar_restarts=1)
    wait_until(lambda: sidecar.state == "failed")
    assert "was not ready within 0.5 s" in sidecar.problem


def test_a_program_that_is_not_there_is_named(run: Callable[..., Sidecar]) -> None:
    sidecar = run(vllm_command=["/nowhere/vllm"], sidecar_restarts=0)
    wait_until(lambda: sidecar.state == "failed")
    assert "'/nowhere/vllm'" in sidecar.problem
    assert "UNIAPL_VLLM_COMMAND" in sidecar.problem


def test_servers_start_one_after_another(pool: SidecarPool, tmp_path: Path) -> None:
    begin(tmp_path, "slow")
    both = pool.take([plan(), plan("another")])
    wait_until(lambda: started(tmp_path))
    time.sleep(1)
    models = [model for _, _, _, model, _ in started(tmp_path)]
    assert len(models) == 1, "the second server does not wait for its turn"
    first, second = sorted(both, key=lambda server: server.plan.source.path != models[0])
    first.stop()
    wait_until(lambda: second.state == "ready")
    [third] = pool.take([plan("third")])  # a turn ends when a server is ready, not when it ends
    wait_until(lambda: third.state == "ready", timeout_s=60)
    assert second.state == "ready"


def test_one_that_waits_for_its_turn_is_stopped_at_once(pool: SidecarPool, tmp_path: Path) -> None:
    begin(tmp_path, "slow")
    both = pool.take([plan(), plan("another")])
    wait_until(lambda: started(tmp_path))
    [(_, _, _, model, _)] = started(tmp_path)
    waiting = next(server for server in both if server.plan.source.path != model)
    began = time.monotonic()
    waiting.stop()
    assert time.monotonic() - began < 20


def test_the_next_job_of_the_same_model_finds_it_warm(pool: SidecarPool, tmp_path: Path) -> None:
    [first] = pool.take([plan()])
    wait_until(lambda: first.state == "ready")
    [shared] = pool.take([plan()])
    assert shared is first
    pool.give_back([first])
    pool.take([])  # a job without a server, while another still uses it
    assert first.state == "ready"
    pool.give_back([first])
    [again] = pool.take([plan()])
    assert again is first
    assert len(started(tmp_path)) == 1


def test_the_next_job_of_another_model_has_it_stopped(pool: SidecarPool, tmp_path: Path) -> None:
    [first] = pool.take([plan()])
    wait_until(lambda: first.state == "ready")
    pool.give_back([first])
    [other] = pool.take([plan("another")])
    assert first.state == "stopped"
    wait_until(lambda: other.state == "ready")
    pool.give_back([other])
    pool.take([])
    assert nothing_lives(tmp_path)


def test_one_without_a_job_is_stopped_after_a_while(pool: SidecarPool, tmp_path: Path) -> None:
    [sidecar] = pool.take([plan()])
    wait_until(lambda: sidecar.state == "ready")
    pool._kept[0].idle_since -= 61
    pool.tidy()
    assert sidecar.state == "ready"  # it has a job
    pool.give_back([sidecar])
    pool.tidy()
    assert sidecar.state == "ready"
    pool._kept[0].idle_since -= 61
    pool.tidy()
    assert nothing_lives(tmp_path)


def test_what_was_taken_before_one_cannot_be_made_is_given_back(pool: SidecarPool, tmp_path: Path) -> None:
    [first] = pool.take([plan()])
    wait_until(lambda: first.state == "ready")
    pool.give_back([first])
    folder = tmp_path / "data" / "sidecars"
    folder.rename(tmp_path / "elsewhere")
    folder.write_text("nothing can be made below a file")
    with pytest.raises(OSError, match=r"exists|directory"):
        pool.take([plan(), plan("another")])
    folder.unlink()
    (tmp_path / "elsewhere").rename(folder)
    pool.take([])
    assert first.state == "stopped"  # no job uses it


def test_one_that_was_given_up_is_no_ones_warm_server(pool: SidecarPool, tmp_path: Path) -> None:
    begin(tmp_path, *["exit0"] * 4)
    [sidecar] = pool.take([plan()])
    wait_until(lambda: sidecar.state == "failed")
    pool.give_back([sidecar])
    [fresh] = pool.take([plan()])
    assert fresh is not sidecar
    wait_until(lambda: fresh.state == "ready")


OWNER = """
import sys, time
from pathlib import Path
import worker.vllm.server
from store.artifacts.paths import Artifacts
from tests.worker.vllm.test_server import plan, settings
from worker.vllm.pool import SidecarPool
folder = Path(sys.argv[1])
if sys.argv[2] == "unleashed":
    code = "import subprocess, sys; sys.exit(subprocess.call(sys.argv[2:]))"
    worker.vllm.server.REAPER = (sys.executable, "-c", code)
[sidecar] = SidecarPool(settings(folder), Artifacts(folder / "data")).take([plan()])
while sidecar.state != "ready":
    time.sleep(0.02)
print("ready", flush=True)
time.sleep(600)
"""


def owner(tmp_path: Path, leash: str) -> subprocess.Popen[str]:
    """A worker's process with a server."""
    command = [sys.executable, "-c", OWNER, str(tmp_path), leash]
    child = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    assert child.stdout.readline() == "ready\n"
    return child


def end(child: subprocess.Popen[str]) -> None:
    child.kill()
    child.communicate()


def test_a_killed_worker_leaves_no_server(tmp_path: Path) -> None:
    child = owner(tmp_path, "leashed")
    assert not nothing_lives(tmp_path)
    end(child)
    wait_until(lambda: nothing_lives(tmp_path))


def test_what_outlived_its_worker_is_buried_by_the_next(tmp_path: Path) -> None:
    child = owner(tmp_path, "unleashed")  # as if the kernel sent no death signal
    sidecars = SidecarPool(settings(tmp_path), Artifacts(tmp_path / "data"))
    sidecars.tidy()
    assert not nothing_lives(tmp_path)  # its worker lives
    end(child)
    time.sleep(0.2)
    assert not nothing_lives(tmp_path)
    sidecars.tidy()
    assert nothing_lives(tmp_path)
    assert list((tmp_path / "data" / "sidecars").glob("*")) == []


def test_the_command_is_vllms(tmp_path: Path) -> None:
    options = ManagedVllm(dtype="float32")
    source = ModelSource(hub="org/judge", revision="abc")
    chosen = plan("judge", source=source, options=options, memory_fraction=0.2, context=512)
    command = chosen.command(settings(tmp_path, vllm_options=["--enforce-eager"], vllm_command=["/opt/vllm"]), 1234)
    assert command[:3] == ["/opt/vllm", "serve", "org/judge"]
    said = " ".join(command)
    for part in (
        "--revision abc --tokenizer-revision abc",
        "--host 127.0.0.1 --port 1234 --served-model-name judge",
        "--dtype float32 --gpu-memory-utilization 0.2 --max-model-len 512",
        "--runner pooling",
    ):
        assert part in said
    assert command[-1] == "--enforce-eager"
    assert os.environ.get("VLLM_API_KEY") is None


def spec(**fields: Any) -> JobSpec:
    return JobSpec.model_validate({"student": "tiny", "dataset_mix": [{"dataset": "d"}], **fields})


SOURCES = {"tiny": ModelSource(path="/models/tiny"), "all-MiniLM-L6-v2": ModelSource(path="/models/minilm")}


def test_a_sampler_of_full_weights_begins_with_what_the_trainer_writes(pool: SidecarPool, tmp_path: Path) -> None:
    rollout = {"backend": {"type": "vllm", "concurrency": 10}}
    chosen = plans(spec(rollout=rollout, grpo={"group_size": 4}), SOURCES, tmp_path, {}, tmp_path)["rollout"]
    assert "--max-num-seqs 41" in " ".join(chosen.command(settings(tmp_path), 1))
    [sidecar] = pool.take([chosen])
    time.sleep(0.5)
    assert (sidecar.state, started(tmp_path)) == ("waiting", [])
    (tmp_path / "sampler" / "start").mkdir(parents=True)
    wait_until(lambda: sidecar.state == "ready")
    assert started(tmp_path)[0][3] == str(tmp_path / "sampler" / "start")
    pool.give_back([sidecar])
    assert sidecar.state == "stopped"  # it has one job's weights


def test_a_sampler_takes_no_longer_text_than_the_job_has(tmp_path: Path) -> None:
    here = {"tiny": ModelSource(path=str(MODELS / "smollm2-135m-instruct"))}  # 8192 positions
    fields = {"data": {"max_prompt_tokens": 100}, "grpo": {"group_size": 4}}
    for length, given, expected in ((28, {}, "129"), (28, {"max_model_tokens": 500}, "500"), (9000, {}, None)):
        rollout = {"max_new_tokens": length, "backend": {"type": "vllm", **given}}
        chosen = plans(spec(rollout=rollout, **fields), here, tmp_path, {}, tmp_path, concurrent=7)["rollout"]
        command = chosen.command(settings(tmp_path), 1)
        limit = command[command.index("--max-model-len") + 1] if "--max-model-len" in command else None
        assert (limit, command[command.index("--max-num-seqs") + 1]) == (expected, "8")  # one more for the probe


@pytest.mark.parametrize(
    ("option", "mode"), [({}, "processed"), ({"top_p": 0.9}, "raw"), ({"top_k": 5}, "raw"), ({"min_p": 0.1}, "raw")]
)
def test_log_probabilities_of_truncated_sampling_are_of_the_whole_distribution(
    option: dict[str, float], mode: str, tmp_path: Path
) -> None:
    rollout = {"backend": {"type": "vllm"}, **option}
    chosen = plans(spec(rollout=rollout, lora={"rank": 12}), SOURCES, tmp_path, {"rollout": 0.41}, tmp_path)
    assert f"--logprobs-mode {mode}_logprobs" in " ".join(chosen["rollout"].command(settings(tmp_path), 1))


def test_a_sampler_of_adapters_begins_with_the_student_and_has_room_for_them(tmp_path: Path) -> None:
    chosen = plans(
        spec(rollout={"backend": {"type": "vllm"}}, lora={"rank": 12}), SOURCES, tmp_path, {"rollout": 0.41}, tmp_path
    )["rollout"]
    assert chosen.is_there()
    said = " ".join(chosen.command(settings(tmp_path), 1))
    assert "serve /models/tiny" in said
    assert "--gpu-memory-utilization 0.41" in said
    assert "--enable-lora --max-loras 2 --max-lora-rank 16" in said
    assert "--logprobs-mode processed_logprobs" in said  # under the temperature that was sampled with
    assert "--generation-config vllm" in said  # not altered by the model's own top-k


def test_a_sampler_of_adapters_on_the_trainers_card_waits_until_the_trainer_has_its_memory(tmp_path: Path) -> None:
    fields: dict[str, Any] = {"rollout": {"backend": {"type": "vllm"}}, "lora": {"rank": 4}}
    chosen = plans(spec(**fields), SOURCES, tmp_path, {}, tmp_path, shared_card=True)["rollout"]
    assert not chosen.is_there()
    (tmp_path / "sampler" / "start").mkdir(parents=True)
    assert chosen.is_there()
    assert "serve /models/tiny" in " ".join(chosen.command(settings(tmp_path), 1))


def test_a_sampler_on_another_card_receives_by_nccl_without_pickles(tmp_path: Path) -> None:
    def chosen(**fields: Any) -> Plan:
        wanted = spec(rollout={"backend": {"type": "vllm"}}, **fields)
        return plans(wanted, SOURCES, tmp_path, {}, tmp_path, other_card=True)["rollout"]

    command = dict(pairwise(chosen().command(settings(tmp_path), 1)))
    assert json.loads(command["--weight-transfer-config"]) == {"backend": "nccl"}
    environment = chosen().environment(settings(tmp_path), {"NCCL_DEBUG": "WARN"})
    assert (environment["NCCL_SOCKET_IFNAME"], environment["NCCL_DEBUG"]) == ("=lo", "WARN")
    assert "VLLM_ALLOW_INSECURE_SERIALIZATION" not in environment
    set_ = chosen().environment(settings(tmp_path), {"NCCL_SOCKET_IFNAME": "eth0"})
    assert set_["NCCL_SOCKET_IFNAME"] == "eth0"
    adapters = chosen(lora={"rank": 4})
    assert "--weight-transfer-config" not in adapters.command(settings(tmp_path), 1)


def test_nothing_is_started_for_what_runs_in_the_trainer_or_elsewhere(tmp_path: Path) -> None:
    external = {"type": "embedding", "backend": {"type": "server", "url": "http://host"}}
    unused = {"discriminator": {"type": "embedding", "backend": {"type": "vllm"}}, "lambda_adv": 0}
    for fields in ({}, {"discriminator": external}, unused):
        assert plans(spec(**fields), SOURCES, tmp_path, {}, tmp_path) == {}


def test_of_two_servers_that_start_each_tells_a_line_of_its_log_once(
    run: Callable[..., Sidecar], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin(tmp_path, "slow", "slow")
    monkeypatch.setattr("worker.attempt_servers.PROGRESS_S", 0.0)
    both: dict[ServerRole, Sidecar] = {"discriminator": run(), "rollout": run(plan("student"))}
    wait_until(lambda: all("loading" in process.tail(server.log) for server in both.values()))
    servers: Any = AttemptServers(None, None)  # type: ignore[arg-type]
    servers._servers = both
    told = [[item.message for item in servers._progress()] for _ in range(3)]
    assert sorted(line.split(":")[0] for line in told[0]) == [
        "waiting for the discriminator server (judge)",
        "waiting for the discriminator server (student)",
    ]
    assert told[1:] == [[], []]


@pytest.mark.parametrize(("name", "context"), [("internlm/POLAR-7B", 16512), ("tiny", None)])
def test_a_reward_model_is_converted_before_it_is_served(tmp_path: Path, name: str, context: int | None) -> None:
    source = ModelSource(hub=name, revision="1" * 40) if "/" in name else SOURCES[name]
    judged = spec(discriminator={"type": "polar", "model": name, "backend": {"type": "vllm"}})
    chosen = plans(judged, SOURCES | {name: source}, tmp_path, {}, tmp_path / "store")["discriminator"]
    program, flag, module, store, described, *rest = chosen.command(settings(tmp_path, vllm_command=["/opt/vllm"]), 1)
    assert (program, flag, module) == (sys.executable, "-m", "uniapl.discriminators.internlm2")
    assert (store, ModelSource.model_validate_json(described)) == (str(tmp_path / "store"), source)
    assert rest[:3] == ["/opt/vllm", "serve", source.hub or source.path]
    assert (str(context) if context else None) == dict(pairwise(rest)).get("--max-model-len")


def test_each_process_sees_its_own_cards(tmp_path: Path) -> None:
    shown = settings(tmp_path, discriminator_devices="1", rollout_devices="2,3")
    sampler = plans(spec(rollout={"backend": {"type": "vllm"}}), SOURCES, tmp_path, {}, tmp_path)["rollout"]
    assert plan().environment(shown, {})["CUDA_VISIBLE_DEVICES"] == "1"
    assert plan().environment(shown, {})["CUDA_DEVICE_ORDER"] == "PCI_BUS_ID"  # the order of the numbers
    assert sampler.environment(shown, {})["CUDA_VISIBLE_DEVICES"] == "2,3"
    assert "CUDA_VISIBLE_DEVICES" not in plan().environment(settings(tmp_path), {})
