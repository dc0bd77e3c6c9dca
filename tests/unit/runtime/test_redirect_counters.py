"""Laws of what is counted of redirects: exact, bounded whatever clients say, and whole however many threads count."""

import ipaddress
import sys
import threading
from collections.abc import Callable, Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.metrics_core import Metric

from director_wsgi.runtime.redirect_counters import (
    BUCKETS_S,
    MAX_NETWORK_ROWS,
    MAX_VERSIONS,
    RedirectCounters,
    network_of,
)

CLIENT = ("client", "7.20.0")

Samples = dict[tuple[str, tuple[str, ...]], float]


def samples(collect: Callable[[], Iterator[Metric]]) -> Samples:
    """Every sample by its name and the values of its labels, in the order of the labels' names."""
    return {
        (sample.name, tuple(value for _, value in sorted(sample.labels.items()))): sample.value
        for family in collect()
        for sample in family.samples
    }


class TestRedirectCounters:
    def test_what_ended_how_is_told_apart(self) -> None:
        counters = RedirectCounters()
        counters.redirected(307, "cache", 0.001, with_evidence=True, caller=CLIENT)
        counters.redirected(307, "cache", 0.001, with_evidence=False, caller=CLIENT)
        counters.redirected(200, "origin", 0.001, with_evidence=True)
        counters.refused("ObjectNotFound", 0.001)
        counters.refused("NothingKnown", 0.001, with_evidence=False)
        told = samples(counters.collect)
        redirects, decisions = "pelican_director_redirects_total", "director_wsgi_decisions_total"
        assert {key: value for key, value in told.items() if key[0] in {redirects, decisions}} == {
            (redirects, ("cache", "unknown", "307", "7.20.0")): 2,
            (redirects, ("origin", "unknown", "200", "unknown")): 1,
            (decisions, ("redirected", "true")): 2,
            (decisions, ("redirected", "false")): 1,
            (decisions, ("ObjectNotFound", "true")): 1,
            (decisions, ("NothingKnown", "false")): 1,
        }

    def test_clients_that_make_up_versions_make_no_series(self) -> None:
        counters = RedirectCounters()
        for number in range(10 * MAX_VERSIONS):
            counters.redirected(307, "cache", 0.001, with_evidence=True, caller=("client", f"7.{number}.0"))
        told = {key[1][3]: n for key, n in samples(counters.collect).items() if "redirects" in key[0]}
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
                        counters.redirected(307, "cache", 0.5, with_evidence=True, caller=CLIENT) for _ in range(500)
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
        assert told["pelican_director_redirects_total", ("cache", "unknown", "307", "7.20.0")] == 4000
        assert told["director_wsgi_redirect_seconds_count", ()] == 4000
        assert told["director_wsgi_redirect_seconds_sum", ()] == 2000

    def test_networks_beyond_the_bound_are_one(self) -> None:
        counters = RedirectCounters()
        for number in range(2 * MAX_NETWORK_ROWS):
            network = network_of(f"10.{number >> 8}.{number & 255}.1")
            counters.redirected(307, "cache", 0.001, with_evidence=True, caller=CLIENT, network=network)
        told = {key[1][1]: n for key, n in samples(counters.collect).items() if "redirects" in key[0]}
        assert len(told) == MAX_NETWORK_ROWS + 1
        assert told["10.0.0.0/24"] == 1
        assert told["other"] == MAX_NETWORK_ROWS

    def test_a_network_that_was_told_once_goes_on_to_be_told(self) -> None:
        counters = RedirectCounters()
        for number in [*range(2 * MAX_NETWORK_ROWS), 0]:
            counters.redirected(307, "cache", 0.001, with_evidence=True, caller=CLIENT, network=str(number))
        told = {key[1][1]: n for key, n in samples(counters.collect).items() if "redirects" in key[0]}
        assert told["0"] == 2

    def test_programs_are_counted_by_major_and_minor_version_whatever_became_of_their_requests(self) -> None:
        counters = RedirectCounters()
        counters.redirected(307, "cache", 0.001, with_evidence=True, caller=("client", "7.20.0"))
        counters.redirected(307, "cache", 0.001, with_evidence=True, caller=("client", "7.20.3"))
        counters.refused("NoNamespace", 0.001, caller=("origin", "7.9.0"))
        counters.refused("NoNamespace", 0.001)
        told = samples(counters.collect)
        for name in ("pelican_director_client_requests_total", "pelican_director_client_version_total"):
            assert {key[1]: n for key, n in told.items() if key[0] == name} == {
                ("client", "7.20"): 2,
                ("origin", "7.9"): 1,
            }

    def test_programs_that_make_up_versions_do_not_hide_those_that_say_nothing(self) -> None:
        counters = RedirectCounters()
        for number in range(10 * MAX_VERSIONS):
            counters.refused("BadRequest", 0.001, caller=("client", f"7.{number}.0"))
        counters.redirected(307, "cache", 0.001, with_evidence=True)
        told = samples(counters.collect)
        assert told["pelican_director_redirects_total", ("cache", "unknown", "307", "unknown")] == 1
        requests = {key[1] for key in told if key[0] == "pelican_director_client_requests_total"}
        assert len(requests) == MAX_VERSIONS + 1
        assert ("other", "other") in requests


class TestNetworks:
    @pytest.mark.parametrize(
        ("address", "network"),
        [
            ("192.0.2.10", "192.0.2.0/24"),
            ("2001:db8:0:5::9", "2001:db8:0:5::/64"),
            ("2001:DB8:0:5::9", "2001:db8:0:5::/64"),
            ("::ffff:192.0.2.10", "192.0.2.0/24"),
            ("fe80::1%eth0", "fe80::/64"),
            ("", ""),
            ("192.0.2", ""),
            ("192.0.2.10\0", ""),
            ("\udc80", ""),
        ],
    )
    def test_some(self, address: str, network: str) -> None:
        assert network_of(address) == network

    @given(st.ip_addresses())
    def test_of_an_address_only_its_network_is_told(
        self, address: ipaddress.IPv4Address | ipaddress.IPv6Address
    ) -> None:
        network = ipaddress.ip_network(network_of(str(address)))
        mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
        assert (mapped or address) in network
        assert network.prefixlen == (24 if network.version == 4 else 64)
