"""Counting, adding up over workers, and Prometheus' text format."""

from __future__ import annotations

import math
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from corral.observability.families import added_up, decode, encode, to_text
from corral.observability.metrics import LABEL_SETS_MAX, OTHER, Metrics
from corral.observability.sharing import SharedMetrics


def parsed(text: bytes) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text.decode())
        for sample in family.samples
    }


def some_metrics() -> Metrics:
    metrics = Metrics()
    metrics.counter("asked_total", "Asked.", "agent")
    metrics.gauge("running", "Running.")
    metrics.gauge("lag_seconds", "Lag.", of_workers="highest")
    metrics.gauge("version_number", "Oldest.", of_workers="lowest")
    metrics.gauge("store_up", "As the one who answers sees it.", of_workers="mine")
    metrics.histogram("took_seconds", "Took.", "agent", bounds=(0.1, 1.0))
    return metrics


def nothing() -> None:
    """Gauges need no refreshing here."""


def test_what_is_counted_is_what_prometheus_reads():
    metrics = some_metrics()
    metrics._metrics["asked_total"].value("main").inc()
    metrics._metrics["asked_total"].value("main").inc(2)
    metrics._metrics["running"].value().set(4)
    for seconds in (0.05, 0.1, 0.5, 7):
        metrics._metrics["took_seconds"].distribution("main").observe(seconds)
    found = parsed(metrics.render())
    assert found["asked_total", (("agent", "main"),)] == 3
    assert found["running", ()] == 4
    assert found["took_seconds_bucket", (("agent", "main"), ("le", "0.1"))] == 2
    assert found["took_seconds_bucket", (("agent", "main"), ("le", "1"))] == 3
    assert found["took_seconds_bucket", (("agent", "main"), ("le", "+Inf"))] == 4
    assert found["took_seconds_count", (("agent", "main"),)] == 4
    assert found["took_seconds_sum", (("agent", "main"),)] == pytest.approx(7.65)


@given(st.text(alphabet=st.characters(codec="utf-8", exclude_characters="\r"), max_size=30))
def test_any_label_value_survives_the_format(label):
    metrics = Metrics()
    metrics.counter("asked_total", "Asked.", "agent").value(label).inc()
    assert parsed(metrics.render()) == {("asked_total", (("agent", label),)): 1}


def test_half_a_surrogate_in_a_label_hurts_nobody():
    metrics = Metrics()
    metrics.counter("asked_total", "Asked.", "agent").value("\ud800").inc()
    assert parsed(metrics.render()) == {("asked_total", (("agent", "?"),)): 1}


@pytest.mark.parametrize("number", [math.inf, -math.inf, 0.1, 1e300, -3])
def test_any_number_survives_the_format(number):
    metrics = Metrics()
    metrics.gauge("here", "?").value().set(number)
    assert parsed(metrics.render()) == {("here", ()): number}


def test_a_number_that_is_none():
    metrics = Metrics()
    metrics.gauge("here", "?").value().set(math.nan)
    assert math.isnan(parsed(metrics.render())["here", ()])


def test_labels_must_fit():
    with pytest.raises(TypeError, match="asked_total has the labels"):
        some_metrics()._metrics["asked_total"].value("a", "b")


def test_a_label_with_too_many_values_is_cut_off():
    metrics = some_metrics()
    for number in range(LABEL_SETS_MAX + 50):
        metrics._metrics["asked_total"].value(f"agent-{number}").inc()
        metrics._metrics["took_seconds"].distribution(f"agent-{number}").observe(1)
    found = parsed(metrics.render())
    assert found["asked_total", (("agent", OTHER),)] == 50
    assert sum(value for (name, _), value in found.items() if name == "asked_total") == LABEL_SETS_MAX + 50


@given(st.lists(st.tuples(st.integers(0, 1000), st.integers(0, 9), st.floats(0, 100)), min_size=1, max_size=5))
def test_numbers_add_up_over_workers(workers):
    everybody = []
    for asked, running, took in workers:
        one = some_metrics()
        one._metrics["asked_total"].value("main").inc(asked)
        for gauge in ("running", "lag_seconds", "version_number", "store_up"):
            one._metrics[gauge].value().set(running)
        one._metrics["took_seconds"].distribution("main").observe(took)
        everybody.append(decode(encode(one.families())))
    found = parsed(to_text(added_up(everybody)))
    assert found["asked_total", (("agent", "main"),)] == sum(asked for asked, _, _ in workers)
    assert found["running", ()] == sum(running for _, running, _ in workers)
    assert found["lag_seconds", ()] == max(running for _, running, _ in workers)
    assert found["version_number", ()] == min(running for _, running, _ in workers)
    assert found["store_up", ()] == workers[0][1]
    assert found["took_seconds_count", (("agent", "main"),)] == len(workers)
    assert found["took_seconds_sum", (("agent", "main"),)] == pytest.approx(sum(took for _, _, took in workers))


def test_what_does_not_fit_is_left_out_and_what_is_not_known_here_is_not():
    other = Metrics()
    other.histogram("took_seconds", "Took.", "agent", bounds=(5.0,)).distribution("main").observe(1)
    other.counter("unheard_of_total", "?").value().inc()
    found = parsed(to_text(added_up([some_metrics().families(), other.families()])))
    assert not [name for name, _ in found if name.startswith("took_seconds")]
    assert found["unheard_of_total", ()] == 1


def test_declared_twice_is_declared_once():
    metrics = Metrics()
    assert metrics.counter("a_total", "A.") is metrics.counter("a_total", "A.")


@pytest.fixture
def workers(tmp_path):
    """Workers that share a folder, started one after the other, all in this process."""
    started: list[SharedMetrics] = []

    def start(**counts: float) -> tuple[Metrics, SharedMetrics]:
        metrics = some_metrics()
        metrics._metrics["asked_total"].value("main").inc(counts.get("asked", 0))
        metrics._metrics["running"].value().set(counts.get("running", 0))
        shared = SharedMetrics(metrics, tmp_path, nothing)
        shared.start()
        shared.start()
        started.append(shared)
        return metrics, shared

    yield start
    for shared in started:
        shared.stop()
        shared.stop()


ASKED = ("asked_total", (("agent", "main"),))


def test_whoever_answers_says_the_same_and_sums_never_fall(workers):
    metrics_a, a = workers(asked=1, running=1)
    _, b = workers(asked=10, running=1)
    assert parsed(a.render())[ASKED] == parsed(b.render())[ASKED] == 11
    metrics_a._metrics["asked_total"].value("main").inc(5)
    assert parsed(a.render())[ASKED] == 16
    assert parsed(b.render())[ASKED] == 16
    assert parsed(b.render())["running", ()] == 2


def test_a_worker_that_was_killed_while_it_put_numbers_together_counts_nothing_twice(workers, tmp_path, monkeypatch):
    _, first = workers(asked=1)
    _, second = workers(asked=10)
    first.stop()
    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            workers(asked=100)
    assert list(tmp_path.glob(f"{first._name}.metrics"))
    assert parsed(second.render())[ASKED] == 11
    _, third = workers(asked=1000)
    assert parsed(third.render())[ASKED] == 1011
    assert not list(tmp_path.glob(f"{first._name}.*"))
    second.stop()
    _, fourth = workers(asked=0)
    assert parsed(fourth.render())[ASKED] == 1011


def test_a_folder_that_went_away_hurts_nobody(workers, tmp_path):
    _, shared = workers(asked=3)
    shutil.rmtree(tmp_path)
    assert parsed(shared.render())[ASKED] == 3


def leave_counts(folder, code: str = "") -> None:
    """A worker of its own process that counts to 5, leaves that behind, and ends."""
    program = f"""
import sys; sys.path.insert(0, {str(Path(__file__).parent)!r})
from pathlib import Path
from test_metrics import some_metrics, nothing
from corral.observability.sharing import SharedMetrics
metrics = some_metrics()
metrics._metrics["asked_total"].value("main").inc(5)
metrics._metrics["running"].value().set(7)
shared = SharedMetrics(metrics, Path({str(folder)!r}), nothing)
shared.start()
{code or "shared.stop()"}
"""
    subprocess.run([sys.executable, "-c", program], check=False)


@pytest.mark.parametrize("end", ["shared.stop()", "import os; os._exit(9)"], ids=["stopped", "killed"])
def test_an_ended_worker_leaves_its_counters_and_takes_its_gauges(tmp_path, end):
    for _ in range(3):
        leave_counts(tmp_path, end)
    mine = some_metrics()
    mine._metrics["asked_total"].value("main").inc()
    mine._metrics["running"].value().set(1)
    shared = SharedMetrics(mine, tmp_path, nothing)
    shared.start()
    try:
        assert [path.name for path in tmp_path.glob("*.metrics")] == [f"{shared._name}.metrics"]
        found = parsed(shared.render())
        assert found["asked_total", (("agent", "main"),)] == 16
        assert found["running", ()] == 1
    finally:
        shared.stop()
        shared.stop()


def test_a_damaged_snapshot_hurts_nobody(tmp_path):
    for name in ("1-1.metrics", "ended"):
        (tmp_path / name).write_bytes(b"\xc1 not a snapshot")
    metrics = some_metrics()
    metrics._metrics["asked_total"].value("main").inc()
    shared = SharedMetrics(metrics, tmp_path, nothing)
    shared.start()
    try:
        assert parsed(shared.render())["asked_total", (("agent", "main"),)] == 1
    finally:
        shared.stop()


def test_without_a_folder_there_is_one_process():
    metrics = some_metrics()
    metrics._metrics["running"].value().set(2)
    shared = SharedMetrics(metrics, None, nothing)
    shared.start()
    assert parsed(shared.render())["running", ()] == 2
    shared.stop()


def test_the_services_metrics_follow_prometheus_rules_and_are_described(tmp_path):
    """What `promtool check metrics` asks for, and a line in the page for each."""
    from corral.settings.sections import ObservabilitySettings
    from corral.wiring.observing import Observing

    observing = Observing(
        ObservabilitySettings(),
        None,
        in_flight=list,
        ask_store=None,
        background_tasks=lambda: 0,
        run_folder=None,
        development=False,
    )
    page = (Path(__file__).parents[2] / "docs" / "observability.md").read_text()
    for family in observing.metrics.families():
        assert re.fullmatch(r"corral_[a-z]+(_[a-z]+)*", family.name)
        assert (family.kind == "counter") == family.name.endswith("_total")
        assert not family.name.endswith(("_count", "_sum", "_bucket", "_milliseconds", "_ms"))
        assert not re.search(r"_(counter|gauge|histogram)(_|$)", family.name)
        assert family.help.endswith(".")
        labels = "{" + ",".join(family.labels) + "}" if family.labels else ""
        assert f"`{family.name}{labels}`" in page
