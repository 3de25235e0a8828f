"""Generations of workers: who serves, who comes, who leaves. No processes here; tests/server/test_supervisor.py has them."""

from __future__ import annotations

import signal
from itertools import count

import pytest

from corral.server.child import Child
from corral.server.crew import Crew, News


class Clock:
    def __init__(self) -> None:
        self.time = 1000.0

    def now(self) -> float:
        return self.time

    def monotonic(self) -> float:
        return self.time


class Worker(Child):
    """Remembers what it was sent."""

    def __init__(self, pid: int, generation: int) -> None:
        super().__init__(pid, generation, -1)
        self.got: list[signal.Signals] = []

    def send(self, number: signal.Signals) -> None:
        self.got.append(number)


class Scene:
    def __init__(self, wanted: int) -> None:
        self.clock = Clock()
        self.pids = count(1)
        self.made: list[Worker] = []
        self.full = False
        self.crew = Crew(wanted, self.start, self.clock.monotonic)

    def start(self, generation: int) -> Worker:
        if self.full:
            raise BlockingIOError(11, "Resource temporarily unavailable")
        self.made.append(Worker(next(self.pids), generation))
        return self.made[-1]

    def ready(self, *workers: Worker) -> list[News]:
        found = []
        for worker in workers:
            worker.ready = True
            found.append(self.crew.heard(worker))
        return found

    def end(self, worker: Worker) -> News:
        return self.crew.ended(worker.pid)[1]

    def serving(self) -> list[int]:
        return [worker.pid for worker in self.crew.workers]

    def booted(self) -> Scene:
        self.crew.renew()
        self.ready(*self.made)
        return self


@pytest.fixture
def two():
    return Scene(2).booted()


def test_it_serves_when_all_are_ready():
    scene = Scene(2)
    scene.crew.renew()
    assert scene.ready(*scene.made) == [News.NOTHING, News.TAKEN_OVER]
    assert scene.serving() == [1, 2]
    assert scene.crew.restart_in_s is None


def test_one_that_cannot_start_at_first_ends_the_attempt():
    scene = Scene(3)
    scene.crew.renew()
    scene.ready(scene.made[0])
    assert scene.end(scene.made[1]) is News.NOT_STARTED
    assert [worker.got for worker in scene.made] == [[signal.SIGKILL], [], [signal.SIGKILL]]
    assert scene.end(scene.made[0]) is News.NOTHING  # said once, not once per worker
    assert scene.end(scene.made[2]) is News.NOTHING
    assert not scene.crew.serves
    assert len(scene.crew) == 0


def test_a_crashed_worker_is_replaced_sooner_or_later(two):
    assert two.end(two.made[0]) is News.CRASHED
    assert two.serving() == [2]
    pauses = []
    for _ in range(9):
        pauses.append(two.crew.restart_in_s)
        two.clock.time += two.crew.restart_in_s
        two.crew.restart_due()
        assert two.end(two.made[-1]) is News.CRASHED  # not even ready: still no reason to end those that serve
    assert pauses == pytest.approx([0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 10, 10])
    two.clock.time += 10
    two.crew.restart_due()
    assert two.ready(two.made[-1]) == [News.CHANGED]
    assert len(two.serving()) == 2
    two.clock.time += 61
    two.end(two.made[-1])
    assert two.crew.restart_in_s == pytest.approx(0.1)


def test_nobody_is_started_before_the_time(two):
    two.end(two.made[0])
    two.crew.restart_due()
    assert len(two.made) == 2


def test_a_new_generation_takes_over_when_all_of_it_is_ready(two):
    two.crew.renew()
    old, new = two.made[:2], two.made[2:]
    assert two.ready(new[0]) == [News.NOTHING]
    assert two.serving() == [1, 2]
    assert two.ready(new[1]) == [News.TAKEN_OVER]
    assert two.serving() == [3, 4]
    assert [worker.got for worker in old] == [[signal.SIGUSR1], [signal.SIGUSR1]]
    assert two.end(old[0]) is News.NOTHING


def test_a_new_generation_that_fails_leaves_everything_as_it_was(two):
    two.crew.renew()
    two.ready(two.made[2])
    assert two.end(two.made[3]) is News.NOT_STARTED
    assert two.made[2].got == [signal.SIGKILL]
    assert two.serving() == [1, 2]
    assert two.end(two.made[0]) is News.CRASHED


def test_a_crash_while_a_new_generation_comes_is_made_good_if_that_fails(two):
    two.crew.renew()
    two.end(two.made[0])
    two.end(two.made[2])
    two.clock.time += 1
    two.crew.restart_due()
    assert [worker.generation for worker in two.made] == [1, 1, 2, 2, 1]


def test_a_crash_while_a_new_generation_comes_is_forgotten_if_that_succeeds(two):
    two.crew.renew()
    two.end(two.made[0])
    two.ready(*two.made[2:])
    assert two.crew.restart_in_s is None


def test_a_newer_generation_overtakes(two):
    two.crew.renew()
    two.ready(two.made[2])
    two.crew.renew()
    overtaken, newest = two.made[2:4], two.made[4:]
    assert [worker.got for worker in overtaken] == [[signal.SIGKILL], [signal.SIGKILL]]
    assert [two.end(worker) for worker in overtaken] == [News.NOTHING, News.NOTHING]
    assert two.ready(*newest) == [News.NOTHING, News.TAKEN_OVER]


def test_more_and_fewer(two):
    two.crew.resize(3)
    assert two.ready(two.made[2]) == [News.CHANGED]
    assert two.serving() == [1, 2, 3]
    two.crew.resize(1)
    assert two.serving() == [1]
    assert [worker.got for worker in two.made[1:]] == [[signal.SIGUSR1], [signal.SIGUSR1]]


def test_fewer_while_one_is_to_be_restarted(two):
    two.end(two.made[0])
    two.crew.resize(1)
    assert two.crew.restart_in_s is None
    assert two.serving() == [2]
    two.crew.resize(2)
    assert len(two.made) == 3


def test_a_worker_that_does_not_leave_is_killed(two):
    two.crew.leave_within_s = 40
    two.crew.resize(1)
    two.clock.time += 39
    two.crew.restart_due()
    assert two.made[1].got == [signal.SIGUSR1]
    two.clock.time += 1
    two.crew.restart_due()
    two.crew.restart_due()
    assert two.made[1].got == [signal.SIGUSR1, signal.SIGKILL]


def test_draining_restarts_nobody_and_ends_everybody(two):
    two.end(two.made[0])
    two.crew.drain(40)
    assert two.crew.restart_in_s is None
    assert two.made[1].got == [signal.SIGTERM]
    two.crew.drain(5)
    two.clock.time += 5
    two.crew.restart_due()
    assert two.made[1].got == [signal.SIGTERM, signal.SIGUSR2, signal.SIGKILL]
    assert two.end(two.made[1]) is News.NOTHING
    assert len(two.crew) == 0


def test_a_machine_without_room_is_asked_again_later(two):
    two.end(two.made[0])
    two.full = True
    two.clock.time += 1
    two.crew.restart_due()
    assert two.crew.restart_in_s == pytest.approx(0.2)
    with pytest.raises(OSError, match="temporarily"):
        two.crew.renew()
    two.full = False
    two.clock.time += 1
    two.crew.restart_due()
    assert [worker.generation for worker in two.made] == [1, 1, 1]


def test_other_peoples_processes_do_not_matter(two):
    assert two.crew.ended(4711) == (None, News.NOTHING)
