"""The files of deploy/: promtool accepts and tests them, and they use only metrics and labels that docs/metrics.md has.

That docs/metrics.md has exactly what is published is tested where it is published.
"""

import json
import re
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

PROJECT = Path(__file__).resolve().parents[2]
PROMETHEUS = PROJECT / "deploy" / "prometheus"
RULES = PROMETHEUS / "rules" / "tradewind.yml"
TESTS = sorted((PROMETHEUS / "rules" / "tests").glob("*.yml"))
DASHBOARD = json.loads((PROJECT / "deploy" / "grafana" / "tradewind.json").read_text())
WORD = r"[a-zA-Z_]\w*"


def rules() -> list[dict[str, Any]]:
    return [rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]


def panels() -> list[dict[str, Any]]:
    return [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]


def queries() -> Iterator[tuple[str, str]]:
    """The title and the query of each panel and annotation, with Grafana's variables replaced."""
    for panel in panels():
        for target in panel["targets"]:
            yield panel["title"], target["expr"].replace("$__rate_interval", "5m")
    for annotation in DASHBOARD["annotations"]["list"]:
        yield annotation["name"], annotation["expr"]


def ran(*command: str | Path) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_promtool_accepts_the_configuration_and_the_rules(promtool: str) -> None:
    assert f"{len(rules())} rules found" in ran(promtool, "check", "config", PROMETHEUS / "prometheus.yml")


def test_promtool_tests_the_rules(promtool: str) -> None:
    assert ran(promtool, "test", "rules", *TESTS).count("SUCCESS") == len(TESTS)


def test_promtool_accepts_the_queries_of_the_dashboard(promtool: str, tmp_path: Path) -> None:
    recorded = [{"record": f"panel:{number}", "expr": query} for number, (_, query) in enumerate(queries())]
    (tmp_path / "panels.yml").write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": recorded}]}))
    assert f"{len(recorded)} rules found" in ran(promtool, "check", "rules", tmp_path / "panels.yml")


def test_each_alert_is_tested_to_fire_and_not_to_fire() -> None:
    tests = [test for file in TESTS for test in yaml.safe_load(file.read_text())["tests"]]
    cases = [case for test in tests for case in test["alert_rule_test"]]
    names = {rule["alert"] for rule in rules()}
    assert {case["alertname"] for case in cases if case["exp_alerts"]} == names
    assert {case["alertname"] for case in cases if not case["exp_alerts"]} == names


def test_each_alert_has_a_severity_and_a_section_of_the_page() -> None:
    page = (PROJECT / "docs" / "metrics.md").read_text()
    found = re.findall(r"^### (.+)\n((?:(?!#).*\n)*)", page, re.MULTILINE)
    sections = {re.sub(r"\W+", "-", title.lower()): text for title, text in found}
    for rule in rules():
        file, anchor = rule["annotations"]["runbook_url"].split("#")
        assert file == "docs/metrics.md"
        assert f"`{rule['alert']}`" in sections[anchor]
        severity = rule["labels"]["severity"]
        assert severity in ("warning", "critical", "{{ $labels.severity }}")
        assert severity in sections[anchor] or "$labels" in severity
        assert rule["annotations"]["summary"]
        assert rule["annotations"]["description"]
    assert len(sections) == len({rule["annotations"]["runbook_url"] for rule in rules()})


def test_the_rules_use_the_names_of_the_jobs() -> None:
    jobs = {job["job_name"] for job in yaml.safe_load((PROMETHEUS / "prometheus.yml").read_text())["scrape_configs"]}
    assert set(re.findall(r'job="([^"]+)"', RULES.read_text())) == jobs


def used(query: str) -> Iterator[tuple[str, frozenset[str]]]:
    """Each metric of a query, and the labels that the query uses of it; those of by (...) may belong to any metric."""
    for name, matchers in re.findall(r"\b(tradewind_\w+|up)\b(?:\{([^}]*)\})?", query):
        yield name, frozenset(re.findall(rf"({WORD})\s*(?:=|!=|=~|!~)", matchers))


@pytest.fixture(scope="module")
def published(documented_metrics: Callable[[str], dict[str, Any]]) -> dict[str, frozenset[str]]:
    """Name of each series -> its labels, with those that Prometheus adds."""
    added = {"instance", "job"}
    found = {"up": frozenset(added)}
    for metric in (documented_metrics("service") | documented_metrics("platform")).values():
        histogram = metric.kind == "histogram"
        for suffix in ("_bucket", "_sum", "_count") if histogram else ("",):
            found[metric.name + suffix] = metric.labels | added | ({"le"} if suffix == "_bucket" else set())
    return found


def test_rules_and_panels_use_metrics_and_labels_that_are_published(published: dict[str, frozenset[str]]) -> None:
    everything = [*queries(), *((rule["alert"], rule["expr"]) for rule in rules())]
    assert len(everything) > 50
    for title, query in everything:
        metrics = dict(used(query))
        assert metrics, title
        for name, labels in metrics.items():
            assert name in published, f"{title}: no metric {name}"
            assert labels <= published[name], f"{title}: {name} has no label {labels - published[name]}"
        grouped = set(re.findall(WORD, " ".join(re.findall(r"\b(?:by|on) \(([^)]*)\)", query))))
        for name in metrics:
            assert grouped <= published[name], f"{title}: {name} has no label {grouped - published[name]}"


def test_legends_and_texts_use_labels_that_their_query_has(published: dict[str, frozenset[str]]) -> None:
    def labels_of(query: str) -> set[str]:
        kept = re.findall(r"\bby \(([^)]*)\)", query)
        if kept:
            return set(re.findall(WORD, " ".join(kept)))
        return set().union(*(published[name] for name, _ in used(query)))

    for panel in panels():
        for target in panel["targets"]:
            named = set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]))
            assert named <= labels_of(target["expr"]), panel["title"]
    for rule in rules():
        texts = " ".join([*rule["annotations"].values(), *rule["labels"].values()])
        assert set(re.findall(r"\$labels\.(\w+)", texts)) <= labels_of(rule["expr"]), rule["alert"]


def test_every_metric_is_on_the_dashboard(published: dict[str, frozenset[str]]) -> None:
    shown = {name for _, query in queries() for name, _ in used(query)}
    assert {name for name in published if not name.endswith(("_sum", "_count"))} - shown == {"up"}


def test_the_panels_do_not_overlap() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert not cells & taken, panel["title"]
        assert at["x"] + at["w"] <= 24
        taken |= cells
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])
