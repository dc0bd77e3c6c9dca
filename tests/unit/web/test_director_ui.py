"""Laws of the interface's listings: everybody is in them, stable, and no more is written than has changed."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from director_wsgi.federation.directory import Directory
from director_wsgi.federation.downtimes import Downtime
from director_wsgi.federation.filters import Filtered
from director_wsgi.federation.models import Capabilities, NamespaceAd, ServerAd
from director_wsgi.web import director_ui, rendered, ui_pages
from director_wsgi.web.entrance import AnythingConverter, Entrance
from director_wsgi.web.rendered import Once
from director_wsgi.web.ui_pages import Pages, merged
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
        self.announced: tuple[Downtime, ...] = ()

    def downtimes(self, name: str | None) -> tuple[Downtime, ...]:
        self.asked.append(name)
        return self.announced or (Downtime(id="1", server_name=name or "everybody"),)

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
        monkeypatch.setattr(rendered, "CHUNK_BYTES", 1)
        for number in range(5):
            directory.record(origin(f"O{number}", "/x"), 60)
        answer = client.get(f"{ROOT}/servers")
        pieces = list(answer.response)
        assert len(pieces) > 5
        assert answer.content_length == sum(map(len, pieces))
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
    def test_many_downtimes_are_one_array(self, get: Get, known: Known, path: str) -> None:
        known.announced = tuple(Downtime(id=str(number)) for number in range(5))
        assert [one["id"] for one in get(path)] == ["0", "1", "2", "3", "4"]
        known.announced = known.announced[1:]
        assert [one["id"] for one in get(path)] == ["1", "2", "3", "4"]

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
        assert get("/namespaces")[0]["capabilities"]["Write"]
        readable = NamespaceAd(path="/x", capabilities=Capabilities(reads=True))
        directory.record(origin("O", readable), 60)
        assert not get("/namespaces")[0]["capabilities"]["Write"]


class TestTags:
    """Of what changes by the second, too: the tag is that of the bytes."""

    def test_the_list_has_the_same_tag_until_something_that_it_tells_changes(
        self, client: FlaskClient, directory: Directory, known: Known
    ) -> None:
        server = origin("O", "/x")

        def tag(path: str) -> str:
            return client.get(ROOT + path).headers["ETag"]

        changes: list[Callable[[], object]] = [
            lambda: directory.record(server, 60),
            lambda: directory.record(cache("C", "/x"), 60),
            lambda: known.reasons.update(O="a reason"),
            lambda: known.loads.update({server.data_url: 2.5}),
            lambda: known.weights.update({server.data_url: (0.5, 1.0)}),
            lambda: known.weights.update({server.data_url: (0.5, 2.0)}),
            lambda: directory.record(origin("O", "/x", status="warning"), 60),
            lambda: directory.record(origin("O", "/x", "/y", status="warning"), 60),
        ]
        seen: dict[str, list[str]] = {"/servers": [tag("/servers")], "/servers/O": []}
        for number, change in enumerate(changes):
            change()
            for path, tags in seen.items():
                tags.append(tag(path))
                assert tag(path) == tags[-1]
            if number == 1:  # another server is nothing to the page of this one
                assert seen["/servers/O"].pop() == seen["/servers/O"][-1]
        for tags in seen.values():
            assert len(set(tags)) == len(tags)

    def test_what_a_server_repeats_changes_no_tag(
        self, client: FlaskClient, directory: Directory, clock: FakeClock
    ) -> None:
        for path in ("/servers", "/servers/O", "/servers/O/namespaces", "/namespaces"):
            directory.record(origin("O", "/x"), 60)
            before = client.get(ROOT + path).headers["ETag"]
            clock.advance(30)
            directory.record(origin("O", "/x"), 60)
            headers = {"If-None-Match": before}
            assert client.get(ROOT + path, headers=headers).status_code == 304

    def test_two_workers_that_know_the_same_give_it_the_same_tag(self) -> None:
        tags = []
        for names in ("OPQ", "QOP"):
            other = Directory()
            for name in names:
                other.record(origin(name, "/x", f"/{name}"), 60)
            pages = Pages(lambda other=other: other.snapshot().servers)  # type: ignore[misc]
            tags.append(([page.digest for page in pages.get().values()], merged(pages.get(), None).listing.tag))
        assert tags[0] == tags[1]


class TestWriting:
    """That nothing is written twice is what makes the listings of a large federation bearable."""

    @pytest.fixture
    def pages(self, directory: Directory) -> Pages:
        return Pages(lambda: directory.snapshot().servers)

    def test_only_who_said_something_new_is_written_again(self, directory: Directory, pages: Pages) -> None:
        for server in (origin("A", "/x"), origin("B", "/x"), cache("C", "/x")):
            directory.record(server, 60)
        before = pages.get()
        directory.record(origin("B", "/y"), 60)
        after = pages.get()
        same = [one is other for one, other in zip(before.values(), after.values(), strict=True)]
        assert same == [True, False, True]
        assert pages.get() is after

    def test_a_filter_that_comes_or_goes_is_nothing_to_them(self, directory: Directory, pages: Pages) -> None:
        directory.record(origin("A", "/x"), 60)
        before, snapshot = pages.get(), directory.snapshot()
        directory.set_filtered(Filtered(frozenset({"A"}), 1))
        assert directory.snapshot() is not snapshot
        assert pages.get() is before

    def test_servers_that_serve_the_same_share_their_text(self, directory: Directory, pages: Pages) -> None:
        shared = (namespace("/x"), namespace("/z"), namespace("/y"))
        other = (shared[0], namespace("/w"), shared[2])
        for server in (cache("A", *shared), cache("B", *shared), cache("C", shared[0]), cache("D", *other)):
            directory.record(server, 60)
        a, b, c, d = pages.get().values()
        assert a.served is b.served
        assert a.served.prefixes == b'["/x","/z","/y"]'
        assert (c.served.prefixes, d.served.prefixes) == (b'["/x"]', b'["/x","/w","/y"]')
        assert b.served.listing() is a.served.listing()

    def test_a_namespace_is_written_once_for_all_servers_and_again_only_when_it_changes(
        self, directory: Directory, pages: Pages, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        written: list[str] = []
        real = ui_pages.namespace_head

        def counted(one: NamespaceAd) -> bytes:
            written.append(one.path)
            return real(one)

        monkeypatch.setattr(ui_pages, "namespace_head", counted)
        shared = (namespace("/x"), namespace("/y"))
        servers: list[ServerAd] = [cache(f"C{number}", *shared) for number in range(50)]
        for server in servers:
            directory.record(server, 60)
        listing = Once(pages.get, merged)
        for _ in range(3):
            assert len(json.loads(b"".join(listing.get().listing.pieces))) == 2
        assert written == ["/x", "/y"]
        before = listing.get()
        directory.record(cache("C7", *shared, status="warning"), 60)
        assert listing.get() is before
        directory.record(cache("C8", *shared, "/z"), 60)
        assert [one["path"] for one in json.loads(b"".join(listing.get().listing.pieces))] == ["/x", "/y", "/z"]
        assert written == ["/x", "/y", "/z"]

    @pytest.mark.parametrize("count", [0, 1, 31, 32, 33, 64, 65])
    def test_however_many_there_are_it_is_one_array(self, directory: Directory, pages: Pages, count: int) -> None:
        for number in range(count):
            directory.record(origin(f"O{number}", f"/{number:02}"), 60)
        listing = merged(pages.get(), None).listing
        body = b"".join(listing.pieces)
        assert [one["path"] for one in json.loads(body)] == [f"/{number:02}" for number in range(count)]
        assert listing.length == len(body)

    def test_downtimes_are_written_when_they_change(
        self, client: FlaskClient, known: Known, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        written: list[object] = []

        def counted(value: object) -> bytes:
            written.append(value)
            return rendered.to_bytes(value)

        monkeypatch.setattr(director_ui, "to_bytes", counted)
        for number in (1, 1, 2, 2):
            known.announced = tuple(Downtime(id=str(one)) for one in range(number))
            assert len(json.loads(client.get(f"{ROOT}/downtimes").data)) == number
        assert len(written) == 1 + 2

    @pytest.mark.parametrize(("number", "text"), [(1, b'"ioLoad":1,'), (1.0, b'"ioLoad":1.0,')])
    def test_numbers_that_are_equal_and_look_different_are_not_taken_for_each_other(
        self, number: float, text: bytes
    ) -> None:
        assert text in director_ui._told("", "OK", number, 1.0, 0)

    def test_facts_that_are_alike_are_told_once(self, client: FlaskClient, directory: Directory) -> None:
        director_ui._told.cache_clear()
        for number in range(20):
            directory.record(origin(f"O{number}", "/x"), 60)
        client.get(f"{ROOT}/servers")
        client.get(f"{ROOT}/servers")
        assert director_ui._told.cache_info().misses == 20  # `health` names each server here
        assert director_ui._told.cache_info().maxsize == director_ui.MAX_FACTS


def test_whom_to_turn_to(get: Get) -> None:
    assert get("/contact") == {"email": "a@example.org", "url": ""}


def test_every_listing_bears_a_slash_at_its_end(client: FlaskClient) -> None:
    for path in ("/servers/", "/namespaces/", "/downtimes/", "/contact/"):
        assert client.get(ROOT + path).status_code == 200
