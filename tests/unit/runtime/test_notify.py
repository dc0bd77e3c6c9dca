"""What systemd is told, and when. The messages are caught where they would be sent."""

import os
import signal
from types import SimpleNamespace

import pytest

from director_wsgi.runtime.notify import ADDRESS, MOST_ALIVE_S, WAITING_S, WATCHDOG, WATCHDOG_PROCESS, Notifier
from tests.fakes import FakeClock

pytestmark = pytest.mark.unit

READY = "READY=1\nSTATUS=Serving"
FAR_FUTURE = 1.8e9


class Listening(Notifier):
    """Tells its messages here."""

    is_full = False

    def __init__(self, clock: FakeClock) -> None:
        super().__init__(clock)
        self.said: list[str] = []

    def _say(self, *lines: str) -> bool:
        if not self._address or self.is_full:
            return False
        self.said.append("\n".join(lines))
        return True


class World:
    """A master of gunicorn's, and its notifier, which systemd listens to."""

    def __init__(self, **environ: str) -> None:
        self.clock = FakeClock(1000.0)
        self.notifier = Listening(self.clock)
        self.environ = {ADDRESS: "/run/notify", **environ}
        self.notifier.take_over(self.environ)
        self.server = SimpleNamespace(WORKERS={}, timeout=30, worker_age=0, reexec_pid=0)

    def begin_worker(self) -> SimpleNamespace:
        self.server.worker_age += 1
        worker = SimpleNamespace(age=self.server.worker_age, beat_at=FAR_FUTURE)
        worker.tmp = SimpleNamespace(last_update=lambda: worker.beat_at)
        self.server.WORKERS[worker.age] = worker
        return worker

    def serving_worker(self) -> SimpleNamespace:
        worker = self.begin_worker()
        worker.beat_at = self.clock()
        return worker

    def look(self) -> list[str]:
        """What is said at one look."""
        self.notifier.said.clear()
        self.notifier.look(self.server, lambda: "Serving")
        return self.notifier.said

    def hear(self, number: signal.Signals) -> list[str]:
        self.notifier.said.clear()
        self.notifier.heard(number, self.server)
        return self.notifier.said


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def watched() -> World:
    """The same with a watchdog that bites after 6 s."""
    return World(**{WATCHDOG: "6000000", WATCHDOG_PROCESS: str(os.getpid())})


class TestReady:
    def test_it_is_when_a_worker_serves_and_not_before(self, world: World) -> None:
        assert world.look() == []
        worker = world.begin_worker()
        assert world.look() == []
        worker.beat_at = world.clock()
        assert world.look() == [READY]
        assert world.look() == []

    def test_what_could_not_be_sent_is_sent_later(self, world: World) -> None:
        world.serving_worker()
        world.notifier.is_full = True
        assert world.look() == []
        world.notifier.is_full = False
        assert world.look() == [READY]

    def test_gunicorn_does_not_get_to_say_it(self, world: World) -> None:
        assert ADDRESS not in world.environ

    def test_a_worker_that_has_just_ended_is_passed_over(self, world: World) -> None:
        worker = world.serving_worker()

        def closed() -> float:
            raise ValueError("I/O operation on closed file")

        worker.tmp.last_update = closed
        assert world.look() == []


class TestReload:
    def test_it_lasts_until_a_worker_that_came_after_it_serves(self, world: World) -> None:
        world.serving_worker()
        world.look()
        assert world.hear(signal.SIGHUP) == ["RELOADING=1\nMONOTONIC_USEC=1000000000"]
        assert world.look() == []
        world.notifier.reloading(world.server)
        assert world.look() == []
        new = world.begin_worker()
        assert world.look() == []
        new.beat_at = world.clock()
        assert world.look() == [READY]

    def test_one_asked_for_during_another_is_waited_for_too(self, world: World) -> None:
        world.hear(signal.SIGHUP)
        world.notifier.reloading(world.server)
        world.hear(signal.SIGHUP)
        world.serving_worker()
        assert world.look() == []
        world.notifier.reloading(world.server)
        world.serving_worker()
        assert world.look() == [READY]

    def test_one_asked_for_while_readiness_is_told_is_waited_for(self, world: World) -> None:
        world.serving_worker()

        def asked_now() -> str:
            world.notifier.heard(signal.SIGHUP, world.server)
            return "Serving"

        world.notifier.look(world.server, asked_now)
        assert world.notifier.is_awaited
        world.notifier.reloading(world.server)
        world.serving_worker()
        assert world.look() == [READY]


class TestEnd:
    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGQUIT])
    def test_it_is_told_at_the_signal_and_once(self, world: World, number: signal.Signals) -> None:
        assert world.hear(number) == ["STOPPING=1"]
        assert world.hear(number) == []
        world.notifier.stopping()
        assert world.notifier.said == []

    def test_nothing_is_ready_afterwards(self, world: World) -> None:
        world.hear(signal.SIGTERM)
        world.serving_worker()
        assert world.look() == []

    def test_to_make_room_for_the_next_master_is_no_end(self, world: World) -> None:
        world.server.reexec_pid = 4711
        assert world.hear(signal.SIGTERM) == ["MAINPID=4711"]


class TestWatchdog:
    def test_nobody_waits_for_it_before_the_start_is_over(self, watched: World) -> None:
        watched.begin_worker()
        watched.clock.advance(60)
        assert watched.look() == []

    def test_it_is_fed_twice_in_its_time(self, watched: World) -> None:
        worker = watched.serving_worker()
        assert watched.look() == [READY, "WATCHDOG=1"]
        assert watched.notifier.interval_s == 3.0
        for _ in range(3):
            watched.clock.advance(3.0)
            worker.beat_at = watched.clock()
            assert watched.look() == ["WATCHDOG=1"]

    def test_it_is_not_fed_while_no_worker_breathes(self, watched: World) -> None:
        hung = watched.serving_worker()
        watched.look()
        watched.clock.advance(30.5)
        assert watched.look() == []
        watched.serving_worker()
        assert watched.look() == ["WATCHDOG=1"]
        assert hung.beat_at == 1000.0

    def test_it_is_fed_during_a_reload_that_takes_long(self, watched: World) -> None:
        old = watched.serving_worker()
        watched.look()
        watched.hear(signal.SIGHUP)
        assert watched.notifier.interval_s == WAITING_S
        assert watched.look() == []  # not at every look
        watched.clock.advance(3.0)
        old.beat_at = watched.clock()
        assert watched.look() == ["WATCHDOG=1"]

    def test_however_long_it_would_wait_it_is_told_now_and_then(self) -> None:
        world = World(**{WATCHDOG: "3600000000"})
        world.serving_worker()
        world.look()
        assert world.notifier.interval_s == MOST_ALIVE_S

    @pytest.mark.parametrize("text", ["", "soon", "0", "-5"])
    def test_without_one_nobody_looks_any_more_once_all_is_ready(self, text: str) -> None:
        world = World(**{WATCHDOG: text})
        world.serving_worker()
        assert world.look() == [READY]
        assert world.notifier.interval_s == 0.0

    def test_that_of_another_process_is_left_to_it(self) -> None:
        world = World(**{WATCHDOG: "6000000", WATCHDOG_PROCESS: "1"})
        world.serving_worker()
        assert world.look() == [READY]


def test_the_next_master_is_told_where_to_say_it(watched: World) -> None:
    environ = {WATCHDOG_PROCESS: "1"}
    watched.notifier.hand_on(environ)
    assert environ == {ADDRESS: "/run/notify", WATCHDOG_PROCESS: str(os.getpid())}


def test_where_nobody_listens_nothing_is_touched() -> None:
    notifier = Notifier(FakeClock())
    notifier.take_over({WATCHDOG: "6000000"})
    environ: dict[str, str] = {}
    before = signal.getsignal(signal.SIGTERM)

    notifier.watch(SimpleNamespace(), lambda: "")
    notifier.hand_on(environ)
    notifier.stopping()

    assert (notifier.interval_s, environ, signal.getsignal(signal.SIGTERM)) == (0.0, {}, before)
