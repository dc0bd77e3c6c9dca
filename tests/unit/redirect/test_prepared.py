"""Laws of what is made once for a snapshot: it is what would be made each time, and is gone with the snapshot."""

from __future__ import annotations

import gc
import sys
import threading
from collections.abc import Iterator
from itertools import count

import pytest

from director_wsgi.federation.models import Capabilities
from director_wsgi.federation.snapshot import Snapshot
from director_wsgi.redirect import prepared as module
from director_wsgi.redirect.matching import Match, Need, match
from director_wsgi.redirect.prepared import Prepared
from director_wsgi.redirect.request import Redirection
from tests.make import ALL, READS, asks, at, cache, namespace, origin
from tests.unit.redirect.federation import FAR, NEAR, Federation

NEEDS = (Need.READS, Need.WRITES, Need.READS | Need.DIRECT_READS, Need.LISTINGS, Need.IMPOSSIBLE)


def snapshot() -> Snapshot:
    ads = (
        origin("O1", "/x", namespace("/x/y", READS), required_features=frozenset({"CacheAuthz"})),
        origin("O2", namespace("/x", Capabilities(reads=True, direct_reads=True)), capabilities=ALL),
        cache("C1", "/x", status="critical"),
        cache("C2", "/x", "/x/y", version="7.15.0"),
        cache("C3", "/x", "/x/y", version="unknown"),
    )
    return Snapshot().changed(changes={ad.data_url: ad for ad in ads})


def said(found: Match) -> object:
    return (
        found.prefix,
        [source.server.name for source in found.origins],
        [server.name for server in found.caches.capable],
        [server.name for server in found.caches.doubtful],
    )


@pytest.mark.parametrize("filter_errors", [True, False])
def test_it_says_what_matching_says_and_says_it_again(filter_errors: bool) -> None:
    now = snapshot()
    prepared = Prepared(now, filter_errors=filter_errors)
    answers = {}
    for need in NEEDS:
        for entry in now.prefixes.values():
            found = answers[entry.prefix, need] = prepared.match(entry, need)
            assert said(found) == said(match(entry, need, filter_errors=filter_errors))
    assert len(set(map(str, map(said, answers.values())))) > 4
    for (prefix, need), found in answers.items():
        assert prepared.match(now.prefixes[prefix], need) is found


def test_there_is_an_end_to_what_it_remembers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MATCHES", 2)
    now = snapshot()
    prepared = Prepared(now, filter_errors=True)
    entry = now.prefixes["/x"]
    first = prepared.match(entry, NEEDS[0])
    for need in NEEDS[1:]:
        prepared.match(entry, need)
    assert prepared.match(entry, NEEDS[0]) is not first
    assert prepared._matched.cache_info().currsize == 2


def alive(kind: type) -> int:
    gc.collect()
    return sum(type(one) is kind for one in gc.get_objects())


def test_a_new_snapshot_forgets_all_of_the_old_one() -> None:
    before = alive(Prepared), alive(Snapshot)
    federation = Federation(origin("O", "/x"), cache("C1", "/x", coordinate=NEAR), cache("C2", "/x", coordinate=FAR))
    assert federation.order(asks("/x/f")) == ["C1", "C2"]
    first = federation.resolver._prepared
    assert first.snapshot is federation.directory.snapshot()
    assert len(first.orders) == 1
    federation.directory.record(cache("C1", "/x", coordinate=at(-33.9, 151.2)), 60)
    federation.directory.show()
    assert federation.order(asks("/x/f")) == ["C2", "C1"]
    assert federation.resolver._prepared is not first
    assert federation.resolver._prepared.snapshot is federation.directory.snapshot()
    del first
    assert (alive(Prepared), alive(Snapshot)) == (before[0] + 1, before[1] + 1)


def test_the_same_snapshot_is_prepared_once() -> None:
    federation = Federation(origin("O", "/x"), cache("C", "/x"))
    federation.order(asks("/x/f"))
    prepared = federation.resolver._prepared
    for path in ("/x/f", "/x/g", "/x"):
        federation.order(asks(path))
    assert federation.resolver._prepared is prepared


@pytest.fixture
def _restless() -> Iterator[None]:
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


CHANGES = 150


@pytest.mark.usefixtures("_restless")
def test_threads_that_race_over_a_change_are_told_of_one_moment_between_question_and_answer() -> None:
    """In moment `n` there are two caches, both of version `n`: which, and in which order, depends on its parity."""
    places = (NEAR, FAR)

    def servers(moment: int) -> list[str]:
        names = [f"C1-{moment}", f"C2-{moment}"]
        return names if moment % 2 == 0 else names[::-1]

    federation = Federation(origin("O", "/x"), assume_presence_at_single_origin=True)
    directory = federation.directory
    moments = [Snapshot()]
    base = directory.snapshot()
    for moment in range(CHANGES + 1):
        ads = [
            cache(
                f"C{number}-{moment}",
                "/x",
                data_url=f"https://c{number}-{moment}.example.org",
                base_url=f"https://c{number}-{moment}.example.org",
                coordinate=places[(number + 1 + moment) % 2],
            )
            for number in (1, 2)
        ]
        moments.append(base.changed(changes={ad.data_url: ad for ad in ads}))
    moments = moments[1:]
    now = [0]  # the snapshot in force
    federation.resolver._snapshot = lambda: moments[now[0]]
    wrong: list[object] = []
    asked = [0, 0, 0]

    def ask(who: int) -> None:
        for number in count():
            earliest = now[0]
            answer = federation.resolver.begin(asks(f"/x/{who}/{number}"))
            assert not isinstance(answer, Redirection)
            named = [server.name for server in answer.caches]
            latest = now[0]
            if named not in [servers(moment) for moment in range(earliest, latest + 1)]:
                wrong.append((earliest, named, latest))
            asked[who] += 1
            if earliest == CHANGES or wrong:
                return

    threads = [threading.Thread(target=ask, args=(who,)) for who in range(3)]
    for thread in threads:
        thread.start()
    for moment in range(1, CHANGES + 1):
        before = list(asked)
        now[0] = moment
        # The next change comes when everybody has been answered once more, so that all meet each of them.
        while all(thread.is_alive() for thread in threads) and not all(
            after > earlier for after, earlier in zip(asked, before, strict=True)
        ):
            if moment == CHANGES:
                break
            threading.Event().wait(1e-5)
    for thread in threads:
        thread.join(20)
        assert not thread.is_alive()
    assert not wrong
    assert min(asked) >= CHANGES // 2
    assert federation.resolver._prepared.snapshot is moments[-1]
