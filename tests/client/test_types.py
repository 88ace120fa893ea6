"""The types of the SDK: names that a type checker refuses, exports, and what an interpreter lists."""

from __future__ import annotations

import inspect
import os
import re
import sys
import typing
from pathlib import Path
from subprocess import run

import pytest
import uniapl_client
from uniapl_client import Client

from tests.conftest import ROOT

pytestmark = pytest.mark.unit

PROGRAM = """
from uniapl_client import Client, Grpo, JobSpec, MixEntry
from uniapl_client import Cleint  # wrong
client = Client()
client.jobs.create(student="s", dataset_mix=[{"dataset": "ds_1", "role": "both"}], alpha=0, seed=1, lora=None)
client.jobs.create(student="s", dataset_mix=[MixEntry(dataset="ds_1")], grpo=Grpo(group_size=4), lambda_adv=1e-3)
client.jobs.create(alpha={"type": "linear", "start": 1, "end": 0, "steps": 5}, discriminator={"type": "polar"})
client.jobs.create(schedule={"steps": 2, "stages": [{"steps": 2, "alpha": 1}]}, idempotency_key="a")
client.jobs.create(JobSpec(student="s", dataset_mix=[]))
client.jobs.create(studnt="x")  # wrong
client.jobs.create(student=1)  # wrong
client.jobs.create(grpo={"group_siez": 4})  # wrong
client.jobs.create(grpo={"group_size": "four"})  # wrong
client.jobs.create(dataset_mix=[{"dataset": "ds_1", "role": "all"}])  # wrong
client.jobs.create_and_wait(studnt="x")  # wrong
client.jobs.validate(studnt="x")  # wrong
client.jobs.estimate(studnt="x")  # wrong
print(uniapl_client.__version__.upper())
"""


@pytest.mark.full
def test_a_type_checker_refuses_fields_that_the_spec_does_not_have(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text("import uniapl_client" + PROGRAM)
    options = ["--strict", "--follow-imports", "silent", "--config-file", "", "--cache-dir", str(tmp_path / "cache")]
    own = {**os.environ, "MYPYPATH": f"{ROOT}:{ROOT / 'client'}"}
    command = [sys.executable, "-m", "mypy", *options, str(program)]
    found = run(command, env=own, cwd=tmp_path, capture_output=True, text=True, check=False)
    errors = {int(line) for line in re.findall(r"program\.py:(\d+): error", found.stdout)}
    wrong = {i for i, line in enumerate(program.read_text().splitlines(), 1) if line.endswith("# wrong")}
    assert errors == wrong, found.stdout + found.stderr


def test_the_types_of_all_methods_are_exported() -> None:
    found = set()
    for resource in ("jobs", "datasets", "checkpoints", "secrets"):
        kind = type(getattr(Client("http://127.0.0.1:1", api_key="k"), resource))
        for name, method in inspect.getmembers(kind, inspect.isfunction):
            if not name.startswith("_"):
                found |= {part for hint in typing.get_type_hints(method).values() for part in _classes(hint)}
    ours = {kind.__name__ for kind in found if kind.__module__.startswith("uniapl")}
    assert {"Job", "Estimate", "Checkpoint", "JobFields"} <= ours
    assert ours <= set(dir(uniapl_client))


def _classes(hint: object) -> set[type]:
    inner = {part for each in typing.get_args(hint) for part in _classes(each)}
    return inner | ({hint} if isinstance(hint, type) else set())


def test_an_interpreter_lists_every_public_name() -> None:
    assert {"Client", "AsyncClient", "JobSpec", "MixEntry", "__version__"} <= set(dir(uniapl_client))
    for name in dir(uniapl_client):
        getattr(uniapl_client, name)
    assert re.fullmatch(r"\d+\.\d+\.\d+", uniapl_client.__version__)
    with pytest.raises(AttributeError, match="module 'uniapl_client' has no attribute 'nope'"):
        _ = uniapl_client.nope
