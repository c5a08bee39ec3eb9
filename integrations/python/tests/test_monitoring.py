"""The Grafana dashboard and the alerts in docs/monitoring ask for what the exporter really serves."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import promql_parser
import pytest
import redis
import yaml
from limits.storage import storage_from_string
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families
from servers import RATE_LIMIT_ONLY, Server
from test_cli import exporter

import redis_ratelimit.limits
from redis_ratelimit import RateLimiter, admin
from redis_ratelimit.exporter import Servers

MONITORING = Path(__file__).parents[3] / "docs" / "monitoring"
DASHBOARD = json.loads((MONITORING / "grafana-dashboard.json").read_text())
ALERTS = MONITORING / "prometheus-alerts.yml"
DOCUMENT = MONITORING.with_suffix(".md").read_text()
# What Grafana puts into an expression before it sends it.
GRAFANA = {"$__rate_interval": "1m", "$server": ".*"}


def queries() -> list[tuple[str, str]]:
    """Return every expression of the dashboard, with its legend."""
    found = []
    for panel in DASHBOARD["panels"]:
        for target in panel["targets"]:
            expression = target["expr"]
            for variable, value in GRAFANA.items():
                expression = expression.replace(variable, value)
            assert "$" not in expression, panel["title"]
            found.append((expression, target["legendFormat"]))
    return found


def alerts() -> list[dict[str, Any]]:
    return [rule for group in yaml.safe_load(ALERTS.read_text())["groups"] for rule in group["rules"]]


def selectors(expression: str) -> list[tuple[str, set[str]]]:
    """Return the metrics that an expression names, and the labels by which it selects."""
    found = []

    def visit(node: promql_parser.Expr) -> None:
        if isinstance(node, promql_parser.MatrixSelector):
            visit(node.vector_selector)
        elif isinstance(node, promql_parser.VectorSelector):
            found.append((node.name, {matcher.name for matcher in node.matchers.matchers}))

    promql_parser.walk(promql_parser.parse(expression), visit)
    assert found, expression
    return found


def grouping(expression: str) -> set[str]:
    """Return the labels that its aggregations keep."""
    found: set[str] = set()

    def visit(node: promql_parser.Expr) -> None:
        if isinstance(node, promql_parser.AggregateExpr) and node.modifier is not None:
            found.update(node.modifier.labels)

    promql_parser.walk(promql_parser.parse(expression), visit)
    return found


@pytest.fixture(scope="module")
def exported() -> Iterator[dict[str, set[str]]]:
    """The metrics of an exporter on a server with traffic, and the labels of each."""
    with Server() as server, exporter("--top", "5", "--timeout", "20", REDIS_URL=server.url) as (url, _):
        for line in ("RL.CHECK a 1 1h", "RL.CHECK a 1 1h", "RL.GCRA b 1 1h", "RL.MCHECK 1 c 1 1h", "RL.CHECK a b c"):
            with suppress(redis.ResponseError):
                server.run(line)
        found: dict[str, set[str]] = {}
        for family in text_string_to_metric_families(httpx.get(url, timeout=60).text):
            for sample in family.samples:
                found[sample.name] = set(sample.labels)
        yield found


def test_the_dashboard_asks_for_metrics_that_there_are(exported: dict[str, set[str]]) -> None:
    named = set()
    for expression, legend in queries():
        kept = grouping(expression)
        for metric, labels in selectors(expression):
            assert metric in exported, expression
            assert labels | kept <= exported[metric], expression
            named.add(metric)
            shown = set(re.findall(r"\{\{(\w+)\}\}", legend))
            assert shown <= (kept or exported[metric]), legend
    assert len(named) > 15
    for variable in DASHBOARD["templating"]["list"]:
        if variable["type"] == "query":
            metric, label = re.fullmatch(r"label_values\((\w+), (\w+)\)", variable["query"]["query"]).groups()
            assert label in exported[metric]


def test_the_alerts_ask_for_metrics_that_there_are(exported: dict[str, set[str]]) -> None:
    assert len(alerts()) >= 8
    for rule in alerts():
        kept = grouping(rule["expr"])
        for metric, labels in selectors(rule["expr"]):
            assert metric in exported, rule
            assert labels | kept <= exported[metric], rule
            shown = set(re.findall(r"\$labels\.(\w+)", rule["annotations"]["summary"]))
            assert shown <= (kept or exported[metric]), rule


def test_panels_do_not_overlap_and_have_their_source_from_the_variable() -> None:
    taken: dict[tuple[int, int], str] = {}
    for panel in DASHBOARD["panels"]:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        for x in range(place["x"], place["x"] + place["w"]):
            for y in range(place["y"], place["y"] + place["h"]):
                assert taken.setdefault((x, y), panel["title"]) == panel["title"]
        sources = [panel["datasource"], *[target["datasource"] for target in panel["targets"]]]
        assert all(source == {"type": "prometheus", "uid": "${datasource}"} for source in sources)
        assert len({target["refId"] for target in panel["targets"]}) == len(panel["targets"])
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])


def watched(server: Server, limiter: RateLimiter) -> dict[str, Any]:
    """Return what people alert on: what the rules ask for, what docs/monitoring.md says, refusals, and the ACL log."""
    # The mean time of a call, in which probes may count.
    rules = [rule["expr"] for rule in alerts() if rule["alert"] != "RateLimitSlow"]
    names = {name for rule in rules for name, _ in selectors(rule)}
    fields = DOCUMENT.partition("## What INFO ratelimit says")[2].partition("\n## ")[0]
    names |= {f"redis_ratelimit_{field}_total" for line in fields.splitlines() for field in named(line)}
    assert "redis_ratelimit_impossible_total" in names
    assert "redis_ratelimit_decisions_total" in names
    samples = {
        line: True
        for line in generate_latest(Servers(limiter)).decode().splitlines()
        # Memory is not the same at any two moments.
        if line.partition("{")[0] in names and not re.search("used_memory", line)
        # A command that nobody has called yet has no series.
        if not re.search(r"command_rejected_total.* 0.0$", line)
    }
    return {"samples": samples, "errors": server.admin.info("errorstats"), "acl log": server.admin.acl_log()}


def named(row: str) -> list[str]:
    """Return the fields in the first cell of a row of a table."""
    cells = row.split("|")
    return re.findall("`([a-z_]+)`", cells[1]) if len(cells) > 1 else []


@pytest.mark.parametrize("user", [None, f"{RATE_LIMIT_ONLY} +select"], ids=["admin", "application"])
def test_a_probe_leaves_no_trace_in_what_people_alert_on(user: str | None, start: Callable[..., Server]) -> None:
    server = start(Server, user=user)
    url = server.user_url if user else server.url
    storage = storage_from_string(url.replace("unix://", "rl+unix://"), timeout=20)
    assert isinstance(storage, redis_ratelimit.limits.RateLimitStorage)
    with RateLimiter.from_url(server.url, timeout=20) as watching, RateLimiter.from_url(url, timeout=20) as limiter:
        before = None
        for _ in range(3):
            assert [health.problem for health in admin.health(limiter)] == [None]
            assert storage.check()
            # From the second on, for what a client asks when it connects is the same for every command.
            before = before or watched(server, watching)
            assert watched(server, watching) == before
        assert len(before["samples"]) > 10
        assert f'redis_ratelimit_decisions_total{{server="{server.socket}"}} 0.0' in before["samples"]


# For promtool: series each minute, and the alerts that they raise by the end, by the labels `server` and `command`.
SERIES = {
    'redis_ratelimit_up{server="a"}': "1x30",
    'redis_ratelimit_up{server="b"}': "0x30",
    'redis_ratelimit_command_rejected_total{server="a",command="rl.check"}': "0+60x30",
    'redis_ratelimit_command_rejected_total{server="a",command="rl.gcra"}': "5x30",
    'redis_ratelimit_decisions_total{server="a"}': "0+100x30",
    'redis_ratelimit_denied_total{server="a"}': "0+60x30",
    'redis_ratelimit_impossible_total{server="a"}': "0+1x30",
    'redis_ratelimit_impossible_total{server="b"}': "3x30",
    'redis_ratelimit_server_evicted_keys_total{server="a"}': "0+1x30",
    'redis_ratelimit_server_used_memory_bytes{server="a"}': "90x30",
    'redis_ratelimit_server_maxmemory_bytes{server="a"}': "100x30",
    'redis_ratelimit_server_used_memory_bytes{server="b"}': "90x30",
    'redis_ratelimit_server_maxmemory_bytes{server="b"}': "0x30",
    'redis_ratelimit_server_snapshot_ok{server="a"}': "1x30",
    'redis_ratelimit_server_aof_ok{server="a"}': "0x30",
    'redis_ratelimit_server_connected_replicas{server="a"}': "2x10 1x20",
    'redis_ratelimit_server_connected_replicas{server="b"}': "0x30",
    'redis_ratelimit_errors_total{server="a"}': "0+1x30",
    'redis_ratelimit_errors_total{server="b"}': "7x30",
    'redis_ratelimit_command_seconds_total{server="a",command="rl.check"}': "0+6x30",
    'redis_ratelimit_command_calls_total{server="a",command="rl.check"}': "0+600x30",
    'redis_ratelimit_command_seconds_total{server="a",command="rl.peek"}': "0+0.006x30",
    'redis_ratelimit_command_calls_total{server="a",command="rl.peek"}': "0+600x30",
}
RAISED: dict[str, dict[str, str] | None] = {
    "RateLimitServerDown": {"server": "b"},
    "RateLimitExporterDown": None,
    "RateLimitRefused": {"server": "a", "command": "rl.check"},
    "RateLimitSilent": None,
    "RateLimitImpossible": {"server": "a"},
    "RateLimitMostlyDenied": {},
    "RateLimitEvicting": {"server": "a"},
    "RateLimitMemoryNearlyFull": {"server": "a"},
    "RateLimitFilesFail": {"server": "a"},
    "RateLimitReplicaLost": {"server": "a"},
    "RateLimitErrors": {"server": "a"},
    "RateLimitSlow": {"server": "a", "command": "rl.check"},
}


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool (of Prometheus) is not installed")
def test_the_alerts_are_raised_by_what_they_are_for(tmp_path: Path) -> None:
    subprocess.run(["promtool", "check", "rules", str(ALERTS)], check=True, capture_output=True)
    rules = {rule["alert"]: rule for rule in alerts()}
    assert set(rules) == set(RAISED)

    def case(at: str, alert: str, labels: dict[str, str] | None) -> dict[str, Any]:
        raised = []
        if labels is not None:
            summary = re.sub(
                r"\{\{ \$labels\.(\w+) \}\}", lambda name: labels[name[1]], rules[alert]["annotations"]["summary"]
            )
            raised = [{"exp_labels": {**labels, **rules[alert]["labels"]}, "exp_annotations": {"summary": summary}}]
        return {"eval_time": at, "alertname": alert, "exp_alerts": raised}

    tests = [
        {
            "interval": "1m",
            "input_series": [{"series": name, "values": values} for name, values in SERIES.items()],
            "alert_rule_test": [case("29m", alert, labels) for alert, labels in RAISED.items()],
        },
        # An exporter that is gone.
        {
            "interval": "1m",
            "input_series": [],
            "alert_rule_test": [case("10m", "RateLimitExporterDown", {})],
        },
        # Applications that ask no more.
        {
            "interval": "1m",
            "input_series": [{"series": 'redis_ratelimit_decisions_total{server="a"}', "values": "0+100x60 6000x60"}],
            "alert_rule_test": [case("50m", "RateLimitSilent", None), case("90m", "RateLimitSilent", {})],
        },
    ]
    path = tmp_path / "tests.yml"
    path.write_text(yaml.safe_dump({"rule_files": [str(ALERTS)], "tests": tests}))
    result = subprocess.run(["promtool", "test", "rules", str(path)], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
