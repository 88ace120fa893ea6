"""Every path, port, variable and secret that the compose files name exists, and what they promise holds."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
import yaml

from store.settings import Settings
from tests.conftest import ROOT
from tests.deploy.conftest import COMPOSE_FILES, PROFILES, Config, image, make_targets, stages

pytestmark = pytest.mark.integration

OURS = {"migrate": "api", "api": "api", "worker": "worker-vllm"}
"""Services of this project's images, and the targets of docker/Dockerfile that build them."""
SETTINGS = {f"UNIAPL_{name.upper()}" for name in Settings.model_fields}
SECONDS = {"s": 1, "m": 60}


def seconds(text: str) -> float:
    return sum(float(number) * SECONDS[unit] for number, unit in re.findall(r"([\d.]+)([sm])", text))


@pytest.mark.parametrize("profiles", PROFILES)
@pytest.mark.parametrize("files", COMPOSE_FILES)
def test_every_set_of_files_and_profiles_is_understood(
    compose: Callable[..., Config], files: tuple[str, ...], profiles: tuple[str, ...]
) -> None:
    services = compose(files, profiles)["services"]
    assert set(OURS) | {"postgres", "redis"} <= set(services)
    assert ("prometheus" in services, "grafana" in services) == ("observe" in profiles,) * 2
    assert ("discriminator" in services) == ("discriminator" in profiles)


def test_what_is_mounted_or_built_is_there(everything: Config) -> None:
    for service in everything["services"].values():
        for volume in service.get("volumes", []):
            if volume["type"] == "bind":
                assert (ROOT / volume["source"]).is_dir(), volume
            else:
                assert volume["source"] in everything["volumes"]
        if "build" in service:
            assert (ROOT / service["build"]["dockerfile"]).is_file()
            assert service["build"]["target"] in stages()
    for config in everything["configs"].values():
        assert (ROOT / config["file"]).is_file(), config


def test_the_secrets_are_those_that_make_makes_and_nobody_commits(everything: Config) -> None:
    recipe = (ROOT / "Makefile").read_text()
    [made] = re.findall(r"for name in (.*); do", recipe)
    assert set(made.split()) == set(everything["secrets"])
    for secret in everything["secrets"].values():
        assert re.search(r"/secrets/[a-z_]+$", secret["file"])
    assert {"/secrets/", "/.env"} <= set((ROOT / ".gitignore").read_text().split())
    assert "secrets" in make_targets()


def test_a_service_is_given_the_secrets_that_its_variables_point_at_and_no_other(everything: Config) -> None:
    for name, service in everything["services"].items():
        text = str(service.get("environment", {})) + str(service.get("command")) + str(service.get("healthcheck"))
        text += (ROOT / "docker/prometheus/prometheus.yml").read_text() if name == "prometheus" else ""
        pointed_at = set(re.findall(r"/run/secrets/(\w+)", text))
        assert pointed_at == {secret["source"] for secret in service.get("secrets", [])}, name


def test_whoever_opens_secrets_has_the_key_that_sealed_them(everything: Config) -> None:
    given = {name: everything["services"][name]["environment"].get("UNIAPL_SECRET_KEY_FILE") for name in OURS}
    assert given == {"migrate": None, "api": "/run/secrets/secret_key", "worker": "/run/secrets/secret_key"}


def test_nothing_secret_stands_in_a_file_or_has_a_default(everything: Config) -> None:
    for name, service in everything["services"].items():
        for variable, value in (service.get("environment") or {}).items():
            if re.search("PASSWORD|SECRET|TOKEN|KEY", variable):
                assert not value or value.startswith("/run/secrets/"), (name, variable)
            assert not re.search(r"://[^/@]*:[^/@]+@", str(value)), (name, variable)


def test_every_variable_of_ours_is_a_setting(everything: Config) -> None:
    named = {v for name in OURS for v in everything["services"][name]["environment"] if v.startswith("UNIAPL_")}
    written = [rest for stage in stages().values() for kind, rest in stage if kind == "ENV"]
    named |= set(re.findall(r"\b(UNIAPL_\w+)=", " ".join(written)))
    assert named
    assert named <= SETTINGS
    Settings.model_validate({})  # the defaults are settings themselves


def test_ports_agree_from_the_command_to_the_scrape(everything: Config) -> None:
    services = everything["services"]
    command = services["api"]["command"]
    port = command[command.index("--port") + 1]
    assert str(services["api"]["ports"][0]["target"]) == port
    metrics_port = services["worker"]["environment"]["UNIAPL_METRICS_PORT"]
    exposed = {name: [rest for kind, rest in image(name) if kind == "EXPOSE"] for name in (*OURS.values(), "worker")}
    assert exposed == {"api": [port], "worker": [metrics_port], "worker-vllm": [metrics_port]}
    jobs = yaml.safe_load((ROOT / "docker/prometheus/prometheus.yml").read_text())["scrape_configs"]
    scraped = {job["dns_sd_configs"][0]["names"][0]: str(job["dns_sd_configs"][0]["port"]) for job in jobs}
    assert scraped == {"api": port, "worker": metrics_port, "discriminator": "8000"}
    assert set(scraped) <= set(services)
    datasource = yaml.safe_load((ROOT / "docker/grafana/provisioning/datasources/prometheus.yml").read_text())
    assert datasource["datasources"][0]["url"] == f"http://prometheus:{services['prometheus']['ports'][0]['target']}"


def test_only_loopback_is_published_by_default(everything: Config) -> None:
    published = [port for service in everything["services"].values() for port in service.get("ports", [])]
    assert published
    assert {port["host_ip"] for port in published} == {"127.0.0.1"}
    assert everything["networks"]["data"]["internal"] is True
    for name in ("postgres", "redis"):
        assert set(everything["services"][name]["networks"]) == {"data"}


def test_our_services_hold_no_privilege(everything: Config) -> None:
    for name in OURS:
        service = everything["services"][name]
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
        assert "privileged" not in service
        users = [rest for kind, rest in image(OURS[name]) if kind == "USER"]
        assert users == ["10001:10001"]


def test_nothing_starts_before_the_database_is_migrated(everything: Config) -> None:
    services = everything["services"]
    for name in ("api", "worker"):
        assert services[name]["depends_on"]["migrate"]["condition"] == "service_completed_successfully"
    assert services["migrate"]["depends_on"]["postgres"]["condition"] == "service_healthy"
    assert services["migrate"]["command"] == ["python", "-m", "admin", "db", "upgrade"]
    assert services["migrate"]["restart"] == "no"


def test_a_worker_has_time_to_drain(everything: Config) -> None:
    assert seconds(everything["services"]["worker"]["stop_grace_period"]) > Settings().drain_s + 20


def test_the_worker_has_a_gpu_unless_the_cpu_file_takes_it_away(compose: Callable[..., Config]) -> None:
    def devices(files: tuple[str, ...], name: str = "worker") -> list[list[str]]:
        deploy = compose(files)["services"][name].get("deploy") or {}
        found = deploy.get("resources", {}).get("reservations", {}).get("devices", [])
        return [device["device_ids"] for device in found]

    assert devices(("docker-compose.yml",)) == [["0"]]
    assert devices(("docker-compose.yml", "docker/cpu.yml")) == []
    second = ("docker-compose.yml", "docker/second-gpu.yml")
    assert (devices(second), devices(second, "worker-1")) == ([["0"]], [["1"]])


@pytest.mark.parametrize(
    ("files", "target"),
    [(("docker-compose.yml",), "worker-vllm"), (("docker-compose.yml", "docker/cpu.yml"), "worker")],
)
def test_vllm_is_in_the_image_of_a_gpu_box_only(
    compose: Callable[..., Config], files: tuple[str, ...], target: str
) -> None:
    services = compose(files)["services"]
    assert {name: services[name]["build"]["target"] for name in OURS} == {**OURS, "worker": target}


def test_two_targets_never_share_an_image_name(compose: Callable[..., Config]) -> None:
    built = [
        service for files in COMPOSE_FILES for service in compose(files)["services"].values() if "build" in service
    ]
    names = {(service["image"], service["build"]["target"]) for service in built}
    assert len(names) == len({image for image, _ in names}) == 3


def test_without_a_gpu_torch_comes_from_the_index_of_cpu_builds(compose: Callable[..., Config]) -> None:
    build = compose(("docker-compose.yml", "docker/cpu.yml"))["services"]["worker"]["build"]
    assert build["args"] == {"PIP_EXTRA_INDEX_URL": "https://download.pytorch.org/whl/cpu"}
    arguments = [rest for kind, rest in stages()["worker-environment"] if kind == "ARG"]
    assert arguments == ['PIP_EXTRA_INDEX_URL=""']


def test_compiled_kernels_survive_a_container(everything: Config) -> None:
    [settings] = [rest for kind, rest in stages()["worker-base"] if kind == "ENV"]
    caches = dict(re.findall(r"(\w+_CACHE_\w+)=(\S+)", settings))
    assert set(caches) == {"TORCHINDUCTOR_CACHE_DIR", "TRITON_CACHE_DIR", "VLLM_CACHE_ROOT"}
    mounted = [volume["target"] for volume in everything["services"]["worker"]["volumes"]]
    for folder in caches.values():
        assert any(folder.startswith(f"{place}/") for place in mounted), folder


def test_redis_keeps_what_it_is_given() -> None:
    config = (ROOT / "docker/redis/redis.conf").read_text().splitlines()
    assert {"appendonly yes", "maxmemory-policy noeviction", "protected-mode yes"} <= set(config)


def test_images_are_pinned(everything: Config) -> None:
    for name, service in everything["services"].items():
        if "build" not in service:
            assert re.fullmatch(r"[\w./-]+:v?\d[\w.-]*", service["image"]), name
