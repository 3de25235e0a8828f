from __future__ import annotations

import threading

import pytest

from corral.runtime.health import Health, PingStatus


class Clock:
    def __init__(self):
        self.time = 1000.7

    def now(self):
        return self.time

    monotonic = now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def health(clock):
    return Health(clock)


def test_the_time_is_that_of_the_last_change_seen_when_somebody_asks(health, clock):
    clock.time = 2000
    assert health.ping() == {"status": "Healthy", "time_of_last_update": 1000}
    task = health.add_task("job")
    clock.time = 3000
    assert health.ping() == {"status": "HealthyBusy", "time_of_last_update": 3000}
    clock.time = 4000
    assert health.ping() == {"status": "HealthyBusy", "time_of_last_update": 3000}
    health.complete_task(task)
    assert health.ping() == {"status": "Healthy", "time_of_last_update": 4000}
    clock.time = 5000
    assert health.ping() == {"status": "Healthy", "time_of_last_update": 4000}


def test_forced_goes_before_asked_goes_before_automatic(health):
    health.add_task("job")
    assert health.status() is PingStatus.HEALTHY_BUSY
    health.handler = lambda: "Healthy"
    assert health.status() is PingStatus.HEALTHY
    health.force(PingStatus.HEALTHY_BUSY)
    assert health.status() is PingStatus.HEALTHY_BUSY
    health.force(None)
    health.handler = lambda: PingStatus.HEALTHY
    assert health.status() is PingStatus.HEALTHY


@pytest.mark.parametrize("answer", [None, "Sick", 1, ValueError("broken")])
def test_a_handler_that_fails_is_not_believed(health, answer):
    warnings = []

    def handler():
        if isinstance(answer, Exception):
            raise answer
        return answer

    health.handler = handler
    health.status()  # before there is a log to warn in
    health.warn = warnings.append
    health.add_task("job")
    assert health.status() is PingStatus.HEALTHY_BUSY
    assert "ping handler failed" in warnings[0]


def test_running_invocations_count_only_if_asked_to(health):
    health.invocations = []
    assert health.status() is PingStatus.HEALTHY
    health.invocations = ["one"]
    assert health.status() is PingStatus.HEALTHY_BUSY


def test_tasks_are_counted_with_their_age(health, clock):
    first = health.add_task("first", {"file": "a"})
    clock.time += 5
    second = health.add_task("second")
    assert first != second
    assert health.task_info() == {
        "active_count": 2,
        "running_jobs": [{"name": "first", "duration": 5.0}, {"name": "second", "duration": 0.0}],
    }
    assert health.complete_task(first) is True
    assert health.complete_task(first) is False
    assert health.task_info()["active_count"] == 1


def test_tasks_may_be_counted_from_any_thread(health):
    def work():
        for _ in range(200):
            assert health.complete_task(health.add_task("job"))

    workers = [threading.Thread(target=work) for _ in range(8)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert health.task_info() == {"active_count": 0, "running_jobs": []}


def test_debug_actions(health):
    assert health.debug_action("ping_status") == (200, {"status": "Healthy", "time_of_last_update": 1000})
    assert health.debug_action("job_status") == (200, {"active_count": 0, "running_jobs": []})
    assert health.debug_action("force_busy") == (200, {"forced_status": "HealthyBusy"})
    assert health.status() is PingStatus.HEALTHY_BUSY
    assert health.debug_action("force_healthy") == (200, {"forced_status": "Healthy"})
    health.add_task("job")
    assert health.status() is PingStatus.HEALTHY
    assert health.debug_action("clear_forced_status") == (200, {"forced_status": "Cleared"})
    assert health.status() is PingStatus.HEALTHY_BUSY
    assert health.debug_action("reboot") == (400, {"error": "Unknown action: reboot"})
    assert health.debug_action(["force_busy"])[0] == 400


def test_a_status_prints_as_the_reference_does():
    assert str(PingStatus.HEALTHY) == "PingStatus.HEALTHY"
    assert PingStatus.HEALTHY == "Healthy"
    assert f"{PingStatus.HEALTHY_BUSY.value}" == "HealthyBusy"
