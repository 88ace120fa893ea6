"""Contents, layers and health checks of the images that `docker compose build` makes."""

from __future__ import annotations

import json
import re
import shlex

import pytest

from tests.engine.checkout import API, WORKER, Checkout

pytestmark = pytest.mark.engine

BUILD = "docker compose build"
CODE_BYTES = 20e6
"""More than all code with its bytecode, and less than any other layer."""
UNREADABLE = r"find /app /usr/local \( ! -readable -o -type d ! -executable \) -prune -print"
WITH_VLLM = 'services: {{worker: {{image: "{image}", build: {{target: worker-vllm}}}}}}'
NOT_COMPILED = """
import importlib.util, pathlib, struct
for folder in ("api", "admin", "client", "migrations", "store", "uniapl", "worker", "/usr/local/lib/python3.11/json"):
    for source in pathlib.Path(folder).rglob("*.py"):
        compiled = pathlib.Path(importlib.util.cache_from_source(source))
        if not compiled.exists() or struct.unpack("<I", compiled.read_bytes()[8:12])[0] != int(source.stat().st_mtime):
            print(source)
"""
CPU_OF_A_CHECK = """
import json, resource, subprocess, sys
command = json.loads(sys.argv[1])
subprocess.run(command)
used = lambda: sum(resource.getrusage(resource.RUSAGE_CHILDREN)[:2])
before = used()
for _ in range(5):
    subprocess.run(command)
print((used() - before) / 5)
"""


@pytest.fixture(scope="module")
def built(checkout: Checkout) -> Checkout:
    """A checkout whose images are built."""
    checkout.run(BUILD)
    return checkout


def in_image(checkout: Checkout, image: str, command: str) -> list[str]:
    """Lines that a command writes in a container as the compose file restricts it."""
    return checkout.run(f"docker run --rm --read-only --network none {image} {command}").splitlines()


@pytest.mark.engine_short
@pytest.mark.parametrize("image", [API, WORKER])
def test_every_file_is_readable_by_the_user(built: Checkout, image: str) -> None:
    assert in_image(built, image, f"sh -c {shlex.quote(UNREADABLE)}") == []


@pytest.mark.parametrize("image", [API, WORKER])
def test_every_module_has_bytecode_that_python_accepts(built: Checkout, image: str) -> None:
    assert in_image(built, image, f"python -c {shlex.quote(NOT_COMPILED)}") == []


@pytest.mark.parametrize("image", [API, WORKER])
def test_a_health_check_takes_little_cpu_time(built: Checkout, image: str) -> None:
    """On a read-only root; the check fails at once here, as nothing listens, after it has imported everything."""
    [found] = json.loads(built.run(f"docker image inspect {image}"))
    check = json.dumps(found["Config"]["Healthcheck"]["Test"][1:])
    seconds = in_image(built, image, f"python -c {shlex.quote(CPU_OF_A_CHECK)} {shlex.quote(check)}")[-1]
    assert float(seconds) < 0.1


def test_the_image_with_vllm_adds_an_environment_that_the_user_can_run(built: Checkout) -> None:
    """With one small package in the place of vLLM, whose image has over 10 GB."""
    requirements = built.folder / "docker" / "vllm" / "requirements.txt"
    requirements.write_text("\n".join(re.findall(r"^ninja==.*", requirements.read_text(), re.MULTILINE)))
    image = f"{WORKER}-vllm"
    (built.folder / "vllm.yml").write_text(WITH_VLLM.format(image=image))
    built.run("COMPOSE_FILE=$COMPOSE_FILE:vllm.yml docker compose build worker")
    below, with_vllm = layers(built, WORKER), layers(built, image)
    assert with_vllm[: len(below) - 1] == below[:-1]
    assert len(with_vllm) == len(below) + 1
    assert in_image(built, image, f"sh -c {shlex.quote(UNREADABLE.replace('/app', '/app /opt'))}") == []
    assert in_image(built, image, "/opt/vllm/bin/ninja --version") != []
    built.run(f"docker image rm {image}")


def layers(checkout: Checkout, image: str) -> list[str]:
    """Digests of an image's layers, the lowest first."""
    [found] = json.loads(checkout.run(f"docker image inspect {image}"))
    digests: list[str] = found["RootFS"]["Layers"]
    return digests


@pytest.mark.parametrize("image", [API, WORKER])
def test_a_changed_line_rewrites_the_layer_of_the_code_only(built: Checkout, image: str) -> None:
    before = layers(built, image)
    changed = built.folder / "uniapl" / "errors.py"
    changed.write_text(changed.read_text() + f"\n# a line for {image}\n")
    built.run(BUILD)
    after = layers(built, image)
    assert after[:-1] == before[:-1]
    assert after[-1] != before[-1]
    newest = built.run(f"docker history --human=false --format '{{{{.Size}}}}' {image}").split()[0]
    assert 0 < float(newest) < CODE_BYTES
