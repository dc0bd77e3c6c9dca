"""Laws of metrics: exact, bounded, and written so that Prometheus can read it, whatever servers and clients are called."""

import sys
import threading
from collections.abc import Callable, Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import REGISTRY, Gauge
from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families

from director_wsgi.runtime.metrics import (
    BUCKETS_S,
    MAX_LABEL_CHARACTERS,
    MAX_VERSIONS,
    Metrics,
    RedirectCounters,
    counter,
    gauge,
    label,
)

Samples = dict[tuple[str, tuple[str, ...]], float]


def samples(collect: Callable[[], Iterator[Metric]]) -> Samples:
    """Every sample by its name and the values of its labels, in the order of the labels' names."""
    return {
        (sample.name, tuple(value for _, value in sorted(sample.labels.items()))): sample.value
        for family in collect()
        for sample in family.samples
    }


class TestLabel:
    @given(st.text(st.characters()))
    def test_whatever_a_server_calls_itself_can_be_written_and_read(self, name: str) -> None:
        metrics = Metrics()
        metrics.add(lambda: [gauge("g", "text", ("name",), [((label(name),), 1)])])
        (family,) = (one for one in text_string_to_metric_families(metrics.text().decode()) if one.name == "g")
        assert family.samples[0].labels == {"name": label(name)}

    def test_a_lone_surrogate_is_replaced(self) -> None:
        assert label("caf\udce9") == "caf?"

    def test_long_ones_are_cut_and_remain_different(self) -> None:
        one, other = label("x" * 1_000_000), label("x" * 1_000_000 + "y")
        assert len(one) == len(other) == MAX_LABEL_CHARACTERS
        assert one != other
        assert label("x" * MAX_LABEL_CHARACTERS) == "x" * MAX_LABEL_CHARACTERS


class TestMetrics:
    def test_nothing_is_read_before_a_scrape(self) -> None:
        def never() -> Iterator[Metric]:
            raise AssertionError

        metrics = Metrics()
        metrics.add(never)
        with pytest.raises(AssertionError):
            metrics.text()

    def test_what_others_put_into_the_global_registry_is_not_told(self) -> None:
        stray = Gauge("somebody_elses", "text")
        try:
            assert b"somebody_elses" not in Metrics().text()
        finally:
            REGISTRY.unregister(stray)

    def test_two_of_them_share_nothing(self) -> None:
        one, other = Metrics(), Metrics()
        one.add(lambda: [counter("x_total", "text", (), [((), 3)])])
        assert b"x_total 3.0" in one.text()
        assert b"x_total" not in other.text()

    def test_every_family_has_help_and_names_threads_by_owner(self) -> None:
        end = threading.Event()
        thread = threading.Thread(target=end.wait, name="director-stat-o1.example.org:8443_7")
        thread.start()
        try:
            text = Metrics().text().decode()
        finally:
            end.set()
            thread.join()
        families = list(text_string_to_metric_families(text))
        assert {"process_open_fds", "process_resident_memory_bytes"} <= {family.name for family in families}
        assert all(family.documentation for family in families)
        assert 'director_wsgi_threads{owner="stat"} 1.0' in text
        assert "o1.example.org" not in text


class TestRedirectCounters:
    def test_what_ended_how_is_told_apart(self) -> None:
        counters = RedirectCounters()
        counters.redirected(307, "cache", 0.001, with_evidence=True, version="7.20.0")
        counters.redirected(307, "cache", 0.001, with_evidence=False, version="7.20.0")
        counters.redirected(200, "origin", 0.001, with_evidence=True)
        counters.refused("ObjectNotFound", 0.001)
        counters.refused("NothingKnown", 0.001, with_evidence=False)
        told = samples(counters.collect)
        redirects, decisions = "pelican_director_redirects_total", "director_wsgi_decisions_total"
        assert {key: value for key, value in told.items() if key[0] in {redirects, decisions}} == {
            (redirects, ("cache", "307", "7.20.0")): 2,
            (redirects, ("origin", "200", "unknown")): 1,
            (decisions, ("redirected", "true")): 2,
            (decisions, ("redirected", "false")): 1,
            (decisions, ("ObjectNotFound", "true")): 1,
            (decisions, ("NothingKnown", "false")): 1,
        }

    def test_clients_that_make_up_versions_make_no_series(self) -> None:
        counters = RedirectCounters()
        for number in range(10 * MAX_VERSIONS):
            counters.redirected(307, "cache", 0.001, with_evidence=True, version=f"7.{number}.0")
        told = {key[1][2]: n for key, n in samples(counters.collect).items() if key[0].startswith("pelican")}
        assert len(told) == MAX_VERSIONS + 1
        assert told["7.0.0"] == 1
        assert told["other"] == 9 * MAX_VERSIONS

    @given(st.lists(st.floats(0, 10)))
    def test_a_bucket_holds_whatever_took_no_longer_than_its_bound(self, durations: list[float]) -> None:
        counters = RedirectCounters()
        for duration_s in durations:
            counters.refused("NoNamespace", duration_s)
        told = samples(counters.collect)
        name = "director_wsgi_redirect_seconds"
        for bound in BUCKETS_S:
            assert told[f"{name}_bucket", (str(bound),)] == sum(duration_s <= bound for duration_s in durations)
        assert told[f"{name}_bucket", ("+Inf",)] == told[f"{name}_count", ()] == len(durations)
        assert told[f"{name}_sum", ()] == pytest.approx(sum(durations))

    def test_threads_lose_no_count(self) -> None:
        counters = RedirectCounters()
        interval = sys.getswitchinterval()
        sys.setswitchinterval(1e-5)
        try:
            threads = [
                threading.Thread(
                    target=lambda: [
                        counters.redirected(307, "cache", 0.5, with_evidence=True, version="7.20.0") for _ in range(500)
                    ]
                )
                for _ in range(8)
            ]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        finally:
            sys.setswitchinterval(interval)
        told = samples(counters.collect)
        assert told["pelican_director_redirects_total", ("cache", "307", "7.20.0")] == 4000
        assert told["director_wsgi_redirect_seconds_count", ()] == 4000
        assert told["director_wsgi_redirect_seconds_sum", ()] == 2000
