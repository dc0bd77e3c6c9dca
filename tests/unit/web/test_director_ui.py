"""Laws of the interface's listings: everybody is in them, stable, and no more is written than has changed."""

import json
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from director_wsgi.federation.directory import Directory
from director_wsgi.federation.models import NamespaceAd, ServerAd
from director_wsgi.web import director_ui, ui_pages
from director_wsgi.web.entrance import AnythingConverter, Entrance
from director_wsgi.web.ui_pages import Merged, Pages
from tests.fakes import FakeClock
from tests.make import at, cache, namespace, origin

ROOT = "/api/v1.0/director_ui"


class Known:
    """Facts that a test can change."""

    def __init__(self) -> None:
        self.reasons: dict[str, str] = {}
        self.loads: dict[str, float] = {}
        self.weights: dict[str, tuple[float, float]] = {}
        self.asked: list[str | None] = []
        self.announced: list[dict[str, str]] = []

    def downtimes(self, name: str | None) -> Sequence[object]:
        self.asked.append(name)
        return self.announced or [{"id": "1", "serverName": name or "everybody"}]

    def facts(self) -> director_ui.Facts:
        return director_ui.Facts(
            filtered=lambda name: self.reasons.get(name, ""),
            downtimes=self.downtimes,
            health=lambda server: f"health of {server.name}",
            io_load=self.loads.get,
            status_weight=self.weights.get,
        )


@pytest.fixture
def known() -> Known:
    return Known()


@pytest.fixture
def directory(clock: FakeClock) -> Directory:
    return Directory(clock=clock)


@pytest.fixture
def client(directory: Directory, known: Known) -> FlaskClient:
    app = Flask(__name__)
    app.url_map.converters["anything"] = AnythingConverter
    app.register_blueprint(
        director_ui.blueprint(
            snapshot=directory.snapshot, facts=known.facts(), contact_email="a@example.org", contact_url=""
        )
    )
    app.wsgi_app = Entrance(app.wsgi_app)  # type: ignore[method-assign]
    return app.test_client()


@pytest.fixture
def get(client: FlaskClient) -> Callable[..., Any]:
    def call(path: str, status: int = 200) -> Any:
        answer = client.get(ROOT + path)
        assert answer.status_code == status
        assert answer.headers["Content-Type"] == "application/json; charset=utf-8"
        return json.loads(answer.data)

    return call


Get = Callable[..., Any]


class TestServers:
    def test_nobody_is_an_empty_list(self, get: Get) -> None:
        assert get("/servers") == []
        assert get("/namespaces") == []

    def test_they_come_in_the_order_of_names_then_of_urls(self, get: Get, directory: Directory) -> None:
        for server in (cache("B", "/x"), origin("C", "/x"), cache("A", "/x", data_url="https://z"), origin("A", "/x")):
            directory.record(server, 60)
        assert [(one["name"], one["type"]) for one in get("/servers")] == [
            ("A", "Origin"),
            ("A", "Cache"),
            ("B", "Cache"),
            ("C", "Origin"),
        ]

    @pytest.mark.parametrize(
        ("wanted", "types"), [("origin", {"Origin"}), ("CaChE", {"Cache"}), ("", {"Origin", "Cache"})]
    )
    def test_a_type_may_be_written_in_any_case(
        self, get: Get, directory: Directory, wanted: str, types: set[str]
    ) -> None:
        directory.record(origin("O", "/x"), 60)
        directory.record(cache("C", "/x"), 60)
        assert {one["type"] for one in get(f"/servers?server_type={wanted}")} == types

    def test_another_type_is_400(self, get: Get) -> None:
        assert get("/servers?server_type=director", 400) == {"status": "error", "msg": "Invalid server type"}

    def test_what_changes_without_an_advertisement_is_read_anew(
        self, get: Get, directory: Directory, known: Known
    ) -> None:
        server = origin("O", "/x")
        directory.record(server, 60)
        (before,) = get("/servers")
        assert (before["filtered"], before["filteredType"], before["ioLoad"]) == (False, "", -1)
        assert (before["statusWeight"], before["statusWeightLastUpdate"]) == (0, 0)
        known.reasons["O"] = "some reason"
        known.loads[server.data_url] = 2.5
        known.weights[server.data_url] = (0.5, 1_700_000_000.9)
        (after,) = get("/servers")
        assert (after["filtered"], after["filteredType"], after["ioLoad"]) == (True, "some reason", 2.5)
        assert (after["statusWeight"], after["statusWeightLastUpdate"]) == (0.5, 1_700_000_000)
        assert after["healthStatus"] == "health of O"

    @pytest.mark.parametrize("load", [float("nan"), float("inf")])
    def test_a_load_that_json_cannot_tell_is_unknown(
        self, get: Get, directory: Directory, known: Known, load: float
    ) -> None:
        server = origin("O", "/x")
        directory.record(server, 60)
        known.loads[server.data_url] = load
        assert get("/servers")[0]["ioLoad"] == -1

    def test_an_advertisement_that_says_something_new_is_told(self, get: Get, directory: Directory) -> None:
        directory.record(origin("O", "/x"), 60)
        directory.record(cache("C", "/x"), 60)
        assert [one["serverStatus"] for one in get("/servers")] == ["ok", "ok"]
        directory.record(origin("O", "/y", status="warning", coordinate=at(1.5, -2.5)), 60)
        told, origin_ = get("/servers")
        assert (told["namespacePrefixes"], told["serverStatus"]) == (["/x"], "ok")
        assert (origin_["namespacePrefixes"], origin_["serverStatus"]) == (["/y"], "warning")
        assert (origin_["latitude"], origin_["longitude"]) == (1.5, -2.5)

    def test_who_has_gone_is_gone(self, get: Get, directory: Directory, clock: FakeClock) -> None:
        directory.record(origin("O", "/x"), 60)
        directory.record(cache("C", "/x"), 120)
        assert len(get("/servers")) == 2
        clock.advance(61)
        assert [one["name"] for one in get("/servers")] == ["C"]
        assert get("/servers/O", 404) == {"status": "error", "msg": "Server not found"}

    def test_a_long_list_is_sent_in_pieces_and_is_one_array(
        self, client: FlaskClient, directory: Directory, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(director_ui, "CHUNK_CHARACTERS", 1)
        for number in range(5):
            directory.record(origin(f"O{number}", "/x"), 60)
        answer = client.get(f"{ROOT}/servers")
        pieces = list(answer.response)
        assert len(pieces) == 6
        assert [one["name"] for one in json.loads(b"".join(pieces))] == [f"O{number}" for number in range(5)]

    def test_no_name_breaks_the_json(self, get: Get, directory: Directory) -> None:
        directory.record(origin('caf\udce9 "\\\n<&', "/x", data_url="https://o.example.org"), 60)
        assert get("/servers")[0]["name"] == 'caf? "\\\n<&'
        assert get("/namespaces")[0]["origins"] == ['caf? "\\\n<&']


class TestOneServer:
    @pytest.mark.parametrize(
        ("name", "asked"),
        [
            ("O 1", "O%201"),
            ("caf\xe9", "caf%C3%A9"),
            ("a/b", "a%2Fb"),
            ("a/b", "a/b"),
            ("50%", "50%25"),
            ("a?b#c", "a%3Fb%23c"),
            ("O", "O/"),
        ],
    )
    def test_any_name_can_be_asked_for(self, get: Get, directory: Directory, name: str, asked: str) -> None:
        directory.record(origin(name, "/x", data_url="https://o.example.org"), 60)
        assert get(f"/servers/{asked}")["name"] == name
        assert get(f"/servers/{asked.removesuffix('/')}/namespaces")[0]["path"] == "/x"

    def test_it_has_namespaces_in_place_of_prefixes(self, get: Get, directory: Directory) -> None:
        directory.record(origin("O", "/x", "/y"), 60)
        one, listed = get("/servers/O"), get("/servers")[0]
        assert listed.keys() - one.keys() == {"namespacePrefixes"}
        assert one.keys() - listed.keys() == {"namespaces"}
        assert [namespace["path"] for namespace in one["namespaces"]] == ["/x", "/y"]
        assert get("/servers/O/namespaces") == one["namespaces"]

    def test_of_two_with_one_name_it_is_the_first_in_the_list(self, get: Get, directory: Directory) -> None:
        directory.record(cache("S", "/x", "/c", data_url="https://b"), 60)
        directory.record(origin("S", "/x", data_url="https://a"), 60)
        first = get("/servers")[0]
        assert first["url"] == get("/servers/S")["url"] == "https://a"
        assert [one["path"] for one in get("/servers/S/namespaces")] == ["/x"]

    @pytest.mark.parametrize("path", ["/servers/nobody", "/servers/nobody/namespaces", "/servers/origins/stat/x"])
    def test_nobody_is_404(self, get: Get, path: str) -> None:
        assert get(path, 404) == {"status": "error", "msg": "Server not found"}

    @pytest.mark.parametrize("path", ["/servers/S/downtimes", "/downtimes"])
    def test_many_downtimes_are_written_one_by_one(
        self, client: FlaskClient, monkeypatch: pytest.MonkeyPatch, known: Known, path: str
    ) -> None:
        monkeypatch.setattr(director_ui, "CHUNK_CHARACTERS", 1)
        known.announced = [{"id": str(number)} for number in range(5)]
        pieces = list(client.get(ROOT + path).response)
        assert len(pieces) == 6
        assert [one["id"] for one in json.loads(b"".join(pieces))] == ["0", "1", "2", "3", "4"]

    def test_downtimes_are_asked_for_by_name(self, get: Get, known: Known) -> None:
        assert get("/servers/S%201/downtimes")[0]["serverName"] == "S 1"
        assert get("/downtimes")[0]["serverName"] == "everybody"
        assert known.asked == ["S 1", None]


class TestNamespaces:
    def test_they_are_merged_by_path_and_the_origins_word_counts(self, get: Get, directory: Directory) -> None:
        mine = namespace("/x")
        theirs = NamespaceAd(path="/x", wire="another text")
        directory.record(cache("C1", theirs, "/only-cache"), 60)
        directory.record(cache("A0", theirs), 60)
        directory.record(origin("O", mine, "/b"), 60)
        told = get("/namespaces")
        assert [one["path"] for one in told] == ["/b", "/only-cache", "/x"]
        assert told[2]["capabilities"]["Read"] is True
        assert (told[2]["origins"], told[2]["caches"]) == (["O"], ["A0", "C1"])
        assert (told[0]["origins"], told[0]["caches"]) == (["O"], [])
        assert (told[1]["origins"], told[1]["caches"]) == ([], ["C1"])

    def test_what_changed_is_told(self, get: Get, directory: Directory) -> None:
        directory.record(origin("O", "/x"), 60)
        assert len(get("/namespaces")) == 1
        directory.record(cache("C", "/x"), 60)
        assert get("/namespaces")[0]["caches"] == ["C"]


class TestWriting:
    """That nothing is written twice is what makes the listings of a large federation bearable."""

    def test_only_who_said_something_new_is_written_again(self, directory: Directory) -> None:
        pages = Pages()
        for server in (origin("A", "/x"), origin("B", "/x"), cache("C", "/x")):
            directory.record(server, 60)
        before = pages.of(directory.snapshot())
        directory.record(origin("B", "/y"), 60)
        after = pages.of(directory.snapshot())
        assert [one is other for one, other in zip(before, after, strict=True)] == [True, False, True]
        assert pages.of(directory.snapshot()) is after

    def test_servers_that_serve_the_same_share_their_text(self, directory: Directory) -> None:
        shared = (namespace("/x"), namespace("/y"))
        for server in (cache("A", *shared), cache("B", *shared), cache("C", shared[0])):
            directory.record(server, 60)
        a, b, c = Pages().of(directory.snapshot())
        assert a.prefixes is b.prefixes
        assert a.prefixes == '["/x","/y"]'
        assert c.prefixes == '["/x"]'

    def test_namespaces_are_put_together_once_for_each_snapshot(
        self, directory: Directory, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        written: list[str] = []
        real = ui_pages.namespace_text

        def counted(one: NamespaceAd) -> str:
            written.append(one.path)
            return real(one)

        monkeypatch.setattr(ui_pages, "namespace_text", counted)
        shared = (namespace("/x"), namespace("/y"))
        servers: list[ServerAd] = [cache(f"C{number}", *shared) for number in range(50)]
        for server in servers:
            directory.record(server, 60)
        pages, merged = Pages(), Merged()
        now = directory.snapshot()
        for _ in range(3):
            assert len(list(merged.of(now, pages.of(now)))) == 2
        assert written == ["/x", "/y"]


def test_whom_to_turn_to(get: Get) -> None:
    assert get("/contact") == {"email": "a@example.org", "url": ""}


def test_every_listing_bears_a_slash_at_its_end(client: FlaskClient) -> None:
    for path in ("/servers/", "/namespaces/", "/downtimes/", "/contact/"):
        assert client.get(ROOT + path).status_code == 200
