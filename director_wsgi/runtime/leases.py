"""Leases: who owns what lives long.

Whatever has a thread, a socket or a file of its own is built by, and only by, a lease. Two holders that ask for the
same key share one resource; the last of them to let go ends it. A counter of users would do that too, until somebody
gives back what he never got: here each holder has a `Lease`, and only that can be given back, once.

Nobody who lets go waits for the end: what is not held any more is taken out first, so that the next one who asks
builds anew, and is closed afterwards by a reaper thread.
"""

import logging
import threading
from collections import deque
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from director_wsgi.limits.deadline import Clock, Deadline, monotonic

T = TypeVar("T")

Build = Callable[[], T]
Close = Callable[[T, Deadline], object]

MAX_REAPERS = 4
"""Threads that close at the same time; a resource that hangs in its end delays no others until there are so many."""

LONGEST_BUILD_S = 30.0
"""How long one waits for another thread's build if there is no deadline."""

_log = logging.getLogger(__name__)


class LeaseError(Exception):
    """There is no resource to be had.

    Either the leases were closed, or another thread was still building at the deadline.
    """


class Lease(Generic[T]):
    """The right of one holder to use a resource until `release`.

    Attributes:
        key: What was asked for.
        value: The resource.
    """

    __slots__ = ("_leases", "_resource", "key", "value")

    def __init__(self, leases: "Leases", resource: "_Resource", value: T) -> None:
        self._leases = leases
        self._resource: _Resource | None = resource
        self.key = resource.key
        self.value = value

    def release(self) -> None:
        """Let go. Harmless if done before; never waits for the resource to end."""
        self._leases._give_back(self)  # noqa: SLF001, one class in two parts

    def __repr__(self) -> str:
        return f"<Lease {type(self.value).__name__}{'' if self._resource else ', released'}>"


class _Resource:
    """One key's resource, from before it is built until it is handed to the reaper."""

    __slots__ = ("close", "holders", "key", "settled", "value")

    def __init__(self, key: Hashable, close: Close[Any]) -> None:
        self.key = key
        self.close = close
        self.holders = 0  # 0 while it is being built, too
        self.value: Any = None
        self.settled = threading.Event()  # built, or failed


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaseStatistics:
    """The counts of one moment.

    Attributes:
        live: Resources held.
        builds: Resources ever built.
        retiring: Resources given back whose end has not come yet.
    """

    live: int
    builds: int
    retiring: int


class Leases:
    """The long-lived things of one process, each built once per key and closed once.

    - A build runs outside the lock, so that it delays only those who want the same key.
    - A failed build leaves nothing behind; the next one who asks builds again. A factory that fails half-way closes
      what it had made itself: nobody else knows of it.
    - What was released by its last holder is not handed out any more, and is closed within `close_timeout_s`, on a
      daemon thread named `director-reaper` that exists only while there is something to close.

    Any number of threads at once.

    Args:
        close_timeout_s: What a resource is given to end.
        clock: Monotonic seconds.
    """

    # _lock guards all attributes below, every _Resource.holders and value, and every Lease._resource. It is never held
    # across a build, a close or a wait. _idle (on the same lock) is notified when nothing is left to close.

    def __init__(self, *, close_timeout_s: float = 5.0, clock: Clock = monotonic) -> None:
        self._close_timeout_s = close_timeout_s
        self._clock = clock
        self._lock = threading.Lock()
        self._idle = threading.Condition(self._lock)
        self._resources: dict[Hashable, _Resource] = {}
        self._retired: deque[_Resource] = deque()
        self._closing = 0
        self._reapers = 0
        self._builds = 0
        self._is_closed = False

    def acquire(self, key: Hashable, build: Build[T], close: Close[T], *, deadline: Deadline | None = None) -> Lease[T]:
        """Hold the one live resource for `key`.

        Args:
            key: Everything that makes two resources different, and nothing else.
            build: Makes the resource; called on this thread, and only if there is none.
            close: Ends it, by the deadline given to it; called once, on a reaper thread.
            deadline: How long to wait for another thread that is building the same; None: `LONGEST_BUILD_S`.

        Raises:
            LeaseError: The leases are closed, or the deadline passed.
            Exception: Whatever `build` raised; nothing was acquired.
        """
        deadline = deadline or Deadline.after(LONGEST_BUILD_S, self._clock)
        while True:
            with self._lock:
                if self._is_closed:
                    raise LeaseError("closed")
                resource = self._resources.get(key)
                if resource is None:
                    resource = self._resources[key] = _Resource(key, close)
                    break
                if resource.holders:
                    resource.holders += 1
                    return Lease(self, resource, resource.value)
            # Another thread is building it. If that fails, one of those who wait here tries again.
            if not resource.settled.wait(deadline.remaining_s()):
                raise LeaseError("still being built")
        return self._build(resource, build)

    def _build(self, resource: _Resource, build: Build[T]) -> Lease[T]:
        try:
            value = build()
        except BaseException:
            with self._idle:
                self._forget(resource)
                self._idle.notify_all()
            resource.settled.set()
            raise
        with self._lock:
            self._builds += 1
            resource.value = value
            is_closed = self._is_closed
            if is_closed:  # while it was being built
                self._forget(resource)
                self._retired.append(resource)
            else:
                resource.holders = 1
        resource.settled.set()
        if is_closed:
            self._reap_soon()
            raise LeaseError("closed")
        return Lease(self, resource, value)

    def _give_back(self, lease: Lease[Any]) -> None:
        with self._lock:
            resource, lease._resource = lease._resource, None  # noqa: SLF001
            if resource is None or not resource.holders:  # released before, or ended by `close`
                return
            resource.holders -= 1
            if resource.holders:
                return
            self._forget(resource)
            self._retired.append(resource)
        self._reap_soon()

    def _forget(self, resource: _Resource) -> None:
        """Hand it out no more; with the lock held."""
        if self._resources.get(resource.key) is resource:
            del self._resources[resource.key]

    def close(self, deadline: Deadline) -> bool:
        """End everything, held or not, and hand out nothing any more. May be called again.

        Returns:
            Whether all of it had ended by the deadline; what had not goes on ending by itself.
        """
        with self._lock:
            self._is_closed = True
            for resource in tuple(self._resources.values()):
                if resource.holders:
                    resource.holders = 0
                    self._forget(resource)
                    self._retired.append(resource)
        self._reap_soon()
        with self._idle:
            return self._idle.wait_for(
                lambda: not self._retired and not self._closing and not self._resources, deadline.remaining_s()
            )

    def statistics(self) -> LeaseStatistics:
        """How many there are now."""
        with self._lock:
            live = sum(1 for resource in self._resources.values() if resource.holders)
            return LeaseStatistics(live=live, builds=self._builds, retiring=len(self._retired) + self._closing)

    def _reap_soon(self) -> None:
        """See to it that there are as many reapers as there is to close, up to the bound."""
        while True:
            with self._lock:
                if self._reapers >= min(MAX_REAPERS, len(self._retired) + self._closing):
                    return
                self._reapers += 1
            try:
                threading.Thread(target=self._reap, name="director-reaper", daemon=True).start()
            except RuntimeError as error:  # no thread to be had: the next one who lets go tries again
                with self._lock:
                    self._reapers -= 1
                _log.error("cannot close what is not used any more: %s", error)
                return

    def _reap(self) -> None:
        """Runs on a reaper thread, until nothing is left to close."""
        while True:
            with self._lock:
                if not self._retired:
                    self._reapers -= 1
                    self._idle.notify_all()
                    return
                resource = self._retired.popleft()
                self._closing += 1
            try:
                resource.close(resource.value, Deadline.after(self._close_timeout_s, self._clock))
            except BaseException:  # noqa: BLE001, whatever it is, the others still have to be closed
                _log.exception("%s did not close", type(resource.value).__name__)
            finally:
                resource.value = None
                with self._lock:
                    self._closing -= 1
