"""Counting, adding up over workers, and Prometheus' text format."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

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
    metrics.gauge("lag_seconds", "Lag.", highest=True)
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
    metrics = some_metrics()
    metrics._metrics["asked_total"].value(label).inc()
    assert parsed(metrics.render()) == {("asked_total", (("agent", label),)): 1}


def test_a_label_with_too_many_values_is_cut_off():
    metrics = some_metrics()
    for number in range(LABEL_SETS_MAX + 50):
        metrics._metrics["asked_total"].value(f"agent-{number}").inc()
        metrics._metrics["took_seconds"].distribution(f"agent-{number}").observe(1)
    found = parsed(metrics.render())
    assert found["asked_total", (("agent", OTHER),)] == 50
    assert sum(value for (name, _), value in found.items() if name == "asked_total") == LABEL_SETS_MAX + 50


@given(st.lists(st.tuples(st.integers(0, 1000), st.integers(0, 9), st.floats(0, 100)), max_size=5))
def test_snapshots_add_up(workers):
    everybody = some_metrics()
    for asked, running, took in workers:
        one = some_metrics()
        one._metrics["asked_total"].value("main").inc(asked)
        one._metrics["running"].value().set(running)
        one._metrics["lag_seconds"].value().set(running)
        one._metrics["took_seconds"].distribution("main").observe(took)
        everybody.add(one.snapshot())
    found = parsed(everybody.render())
    if workers:
        assert found["asked_total", (("agent", "main"),)] == sum(asked for asked, _, _ in workers)
        assert found["running", ()] == sum(running for _, running, _ in workers)
        assert found["lag_seconds", ()] == max(running for _, running, _ in workers)
        assert found["took_seconds_count", (("agent", "main"),)] == len(workers)


def test_a_snapshot_with_other_buckets_or_names_is_left_out():
    other = Metrics()
    other.histogram("took_seconds", "Took.", "agent", bounds=(5.0,)).distribution("main").observe(1)
    other.counter("unheard_of_total", "?").value().inc()
    metrics = some_metrics()
    metrics.add(other.snapshot())
    assert parsed(metrics.render()).get(("took_seconds_count", (("agent", "main"),)), 0) == 0


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
shared._leave()
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
        assert sorted(p.name for p in tmp_path.glob("*.metrics")) == ["ended.metrics"]
        found = parsed(shared.render())
        assert found["asked_total", (("agent", "main"),)] == 16
        assert found["running", ()] == 1
    finally:
        shared.stop()
        shared.stop()


def test_a_damaged_snapshot_hurts_nobody(tmp_path):
    (tmp_path / "1.metrics").write_bytes(b"\xc1 not a snapshot")
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
    assert parsed(shared.render()) == {("running", ()): 2}
    shared.stop()
