"""What `/metrics` says of director tests and of the senders of advertisements."""

from types import SimpleNamespace
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from director_wsgi.federation.models import ServerAd
from director_wsgi.health.status import ReportStatus, ServerTests
from director_wsgi.runtime.metrics import Collect, Metrics
from director_wsgi.trust.ad_counts import AdCounts
from director_wsgi.web import server_families
from tests.make import cache, origin


def told(collect: Collect) -> dict[str, list[tuple[dict[str, str], float]]]:
    shown = Metrics()
    shown.add(collect)
    samples: dict[str, list[tuple[dict[str, str], float]]] = {}
    for family in text_string_to_metric_families(shown.text().decode()):
        for sample in family.samples:
            samples.setdefault(sample.name, []).append((sample.labels, sample.value))
    return samples


def of(server: ServerAd, runs: dict[tuple[bool, ReportStatus], int]) -> ServerTests:
    return ServerTests(server=server, runs=runs, is_running=False, is_suspect=False, last=None)


class TestDirectorTests:
    def told(self, *servers: ServerTests) -> dict[str, list[tuple[dict[str, str], float]]]:
        tests: Any = SimpleNamespace(statistics=lambda: SimpleNamespace(servers=servers))
        return told(server_families.director_tests(tests))

    def test_runs_are_told_by_how_they_ended(self) -> None:
        o = origin("O", "/x", web_url="https://o.example.org:8444")
        samples = self.told(of(o, {(True, ReportStatus.SUCCEEDED): 5, (False, ReportStatus.FAILED): 2}))
        labels = {"server_name": "O", "server_web_url": "https://o.example.org:8444", "server_type": "Origin"}
        assert samples["pelican_director_total_ftx_test_suite"] == [(labels, 1)]
        assert samples["pelican_director_active_ftx_test_suite"] == [(labels, 1)]
        assert samples["pelican_director_total_ftx_test_runs"] == [
            ({**labels, "status": "Succeeded", "report_status": "Succeeded"}, 5),
            ({**labels, "status": "Failed", "report_status": "Failed"}, 2),
        ]

    def test_servers_with_the_same_labels_are_one_series(self) -> None:
        runs = {(True, ReportStatus.SUCCEEDED): 5}
        samples = self.told(
            of(cache("C", "/x", data_url="https://a"), runs), of(cache("C", "/x", data_url="https://b"), runs)
        )
        assert [value for _labels, value in samples["pelican_director_total_ftx_test_suite"]] == [2]
        assert [value for _labels, value in samples["pelican_director_total_ftx_test_runs"]] == [10]


def test_advertisements_are_told_by_sender_and_answer() -> None:
    counts = AdCounts()
    sender = origin('O"\udce9', "/x", "/y", web_url="https://o.example.org:8444")
    counts.answered(sender, 200)
    counts.answered(sender, 200)
    counts.rejected_sender("EVIL")
    admission: Any = SimpleNamespace(received=lambda: counts.received, rejected=lambda: counts.rejected)
    samples = told(server_families.advertisements(admission))
    of_x, of_y = (
        {
            "server_name": 'O"?',
            "server_web_url": "https://o.example.org:8444",
            "server_type": "Origin",
            "status_code": "200",
            "namespace_prefix": prefix,
        }
        for prefix in ("/x", "/y")
    )
    assert samples["pelican_director_advertisements_received_total"] == [(of_x, 2), (of_y, 2)]
    assert samples["pelican_director_rejected_advertisements"] == [({"hostname": "EVIL"}, 1)]
