"""Every metric that an alert, a panel or the docs name is one that API or worker show."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path

import pytest
import yaml
from prometheus_client import REGISTRY
from prometheus_client.parser import text_string_to_metric_families

from api import metrics
from store import states
from store.jobs import stats
from tests.conftest import ROOT
from tests.deploy.conftest import tool, written
from worker import metrics as of_worker

pytestmark = pytest.mark.unit

ALERTS = ROOT / "docker/prometheus/alerts.yml"
SUFFIXES = {"counter": ["_total"], "gauge": [""], "histogram": ["_bucket", "_count", "_sum"]}


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """Names of the samples on both pages."""
    found = stats.ServiceStats(
        jobs=dict.fromkeys(states.STATES, 0),
        queue_age_s=0,
        expired_leases=0,
        oldest_lease_s=0,
        attempts={"done": 1},
        fences=1,
        steps=1,
    )
    page = metrics.exposition(found, tmp_path_factory.mktemp("data")).decode()
    families = [*text_string_to_metric_families(page), *REGISTRY.collect(), *of_worker.Gpus().collect()]
    ours = {family.name: family.type for family in families if family.name.startswith("uniapl_")}
    assert len(ours) > 20
    return {name + suffix for name, kind in ours.items() for suffix in SUFFIXES[kind]}


def named(text: str) -> set[str]:
    return set(re.findall(r"\buniapl_\w+", text))


def rules() -> list[dict[str, str]]:
    return [rule for group in yaml.safe_load(ALERTS.read_text())["groups"] for rule in group["rules"]]


def test_alerts_name_metrics_that_exist(shown: set[str]) -> None:
    for rule in rules():
        used = named(rule["expr"])
        assert used <= shown, rule["alert"]
        assert used or "up{" in rule["expr"]


def test_the_dashboard_names_metrics_that_exist(shown: set[str]) -> None:
    panels = json.loads((ROOT / "docker/grafana/dashboards/uniapl.json").read_text())["panels"]
    assert len(panels) > 10
    for panel in panels:
        for target in panel["targets"]:
            assert named(target["expr"])
            assert named(target["expr"]) <= shown, panel["title"]


def test_labels_that_alerts_select_by_are_labels_of_the_metric() -> None:
    from worker import failures

    source = Path(failures.__file__).read_text()
    for rule in rules():
        for how in re.findall(r'how=~?"([^"]+)"', rule["expr"]):
            assert all(f'"{kind}"' in source for kind in how.split("|")), how


def test_every_alert_is_explained_and_no_other() -> None:
    section = (ROOT / "docs" / "operate.md").read_text().partition("## What to watch")[2]
    explained = set(re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE))
    assert explained == {rule["alert"] for rule in rules()}


DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
OF_CLIENTS = {"UNIAPL_URL", "UNIAPL_API_KEY"}
"""Variables that are read by the client, not by the service."""


@pytest.mark.parametrize("page", DOCUMENTS, ids=lambda page: str(page.relative_to(ROOT)))
def test_the_docs_name_metrics_and_settings_that_exist(shown: set[str], page: Path) -> None:
    text = page.read_text()
    assert named(text) - {"uniapl_client", "uniapl_guard"} <= shown
    example = (ROOT / ".env.example").read_text()
    variables = set(re.findall(r"\b(?:UNIAPL|DISCRIMINATOR|SHARED|COMPOSE)_[A-Z_]+\b", text))
    for variable in variables - OF_CLIENTS:
        assert f"# {variable}=" in example, variable


def test_worker_metrics_count_what_a_trainer_reports() -> None:
    def value(name: str) -> float:
        return REGISTRY.get_sample_value(name) or 0.0

    names = ("uniapl_worker_step_seconds_count", "uniapl_worker_tokens_total")
    names += ("uniapl_worker_discriminator_seconds_sum", "uniapl_worker_discriminator_failures_total")
    before = [value(name) for name in names]
    of_worker.observe(
        {"step_time": 2.0, "num_tokens": 70.0, "time/discriminator": 0.5, "disc/failed": 3.0, "reward": -1.0}
    )
    of_worker.observe({"eval/reward": 1.0})
    assert [value(name) - old for name, old in zip(names, before, strict=True)] == [1, 70, 0.5, 3]
    assert value("uniapl_worker_reward") == -1.0


@pytest.mark.integration
def test_promtool_accepts_rules_and_configuration(tmp_path: Path) -> None:
    promtool = tool("promtool", "alerts and scrape configuration, by promtool (Debian: prometheus)")
    token = written(tmp_path / "token", "x")
    config = (ROOT / "docker/prometheus/prometheus.yml").read_text()
    config = config.replace("/run/secrets/metrics_token", str(token)).replace("alerts.yml", str(ALERTS))
    for command in (
        ["check", "rules", str(ALERTS)],
        ["test", "rules", str(ALERTS.with_name("alerts_test.yml"))],
        ["check", "config", str(written(tmp_path / "prometheus.yml", config))],
    ):
        done = subprocess.run([promtool, *command], capture_output=True, text=True, check=False, env=dict(os.environ))
        assert done.returncode == 0, done.stdout + done.stderr
