"""Laws of metrics: exact, bounded, and written so that Prometheus can read it, whatever servers and clients are called."""

import threading
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import REGISTRY, Gauge
from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families

from director_wsgi.runtime.metrics import (
    MAX_LABEL_CHARACTERS,
    Metrics,
    counter,
    gauge,
    label,
    misnamed_counter,
)


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

    def test_a_counter_without_total_in_its_name_keeps_its_name(self) -> None:
        metrics = Metrics()
        metrics.add(lambda: [misnamed_counter("pelican_x", "text", ("a",), [(("b",), 3)])])
        assert '# TYPE pelican_x untyped\npelican_x{a="b"} 3.0\n' in metrics.text().decode()

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
