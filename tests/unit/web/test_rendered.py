"""Laws of listings: a tag stands for its bytes, 304 is for who has them, one thread writes."""

import json
import threading
from collections.abc import Callable

import pytest
from flask import Flask, Response, request
from hypothesis import given
from hypothesis import strategies as st

from director_wsgi.errors import StillWriting
from director_wsgi.web.rendered import Once, Rendered, Same, answer, digest

pytestmark = pytest.mark.unit

LONG_S = 30.0


class TestTags:
    @given(st.lists(st.binary(max_size=8), max_size=5), st.lists(st.binary(max_size=8), max_size=5))
    def test_two_bodies_have_one_tag_if_and_only_if_they_are_the_same_bytes(
        self, one: list[bytes], other: list[bytes]
    ) -> None:
        assert (Rendered.of(one).tag == Rendered.of(other).tag) == (b"".join(one) == b"".join(other))

    def test_it_is_strong_and_of_the_grammar(self) -> None:
        tag = Rendered.of((b"x",)).tag
        assert tag[0] == tag[-1] == '"'
        assert len(bytes.fromhex(tag[1:-1])) == 16

    def test_a_known_digest_is_taken(self) -> None:
        known = digest((b"a", b"b"))
        assert Rendered.of((b"x",), known).tag == Rendered.of((b"ab",)).tag
        assert Rendered.of((b"x", b"yz"), known).length == 3

    @given(st.lists(st.integers(), max_size=5))
    def test_an_array(self, elements: list[int]) -> None:
        made = Rendered.array(str(element).encode() for element in elements)
        body = b"".join(made.pieces)
        assert json.loads(body) == elements
        assert made.length == len(body)


class World:
    """A listing behind Flask."""

    def __init__(self) -> None:
        self.body = Rendered.of((b"[1", b",2]"))
        app = Flask(__name__)

        @app.get("/")
        def listing() -> Response:
            return answer(request, self.body, status=299, headers=(("Warning", "299 - x"),))

        self.client = app.test_client()


class TestAnswers:
    @pytest.fixture
    def world(self) -> World:
        return World()

    def test_to_who_has_nothing(self, world: World) -> None:
        told = world.client.get("/")
        assert (told.status_code, told.data) == (299, b"[1,2]")
        assert told.headers["ETag"] == world.body.tag
        assert told.headers["Cache-Control"] == "no-cache"
        assert told.headers["Content-Length"] == "5"
        assert told.headers["Content-Type"] == "application/json; charset=utf-8"

    def test_a_head_says_the_same_without_the_body(self, world: World) -> None:
        told, whole = world.client.head("/"), world.client.get("/")
        assert (told.status_code, told.data) == (299, b"")
        assert sorted(told.headers) == sorted(whole.headers)

    @pytest.mark.parametrize("method", ["GET", "HEAD"])
    def test_who_has_it_is_told_so_and_gets_neither_body_nor_length(self, world: World, method: str) -> None:
        told = world.client.open("/", method=method, headers={"If-None-Match": f"W/{world.body.tag}"})
        assert (told.status_code, told.data) == (304, b"")
        assert sorted(told.headers) == [
            ("Cache-Control", "no-cache"),
            ("ETag", world.body.tag),
            ("Warning", "299 - x"),
        ]

    def test_who_wants_another_is_told_that_there_is_none(self, world: World) -> None:
        told = world.client.get("/", headers={"If-Match": '"x"'})
        assert (told.status_code, told.get_json()["status"]) == (412, "error")
        assert world.client.get("/", headers={"If-Match": world.body.tag}).data == b"[1,2]"

    def test_who_has_an_older_one_gets_the_new_one(self, world: World) -> None:
        old = world.body.tag
        world.body = Rendered.of((b"[]",))
        assert world.client.get("/", headers={"If-None-Match": old}).data == b"[]"

    def test_it_can_be_sent_again_and_again(self, world: World) -> None:
        assert {world.client.get("/").data for _ in range(3)} == {b"[1,2]"}


class Made:
    """Something that is replaced as a whole, and what follows from it: its text and how often that was made."""

    def __init__(self, *, patience_s: float = LONG_S) -> None:
        self.now: list[int] = [1]
        self.made: list[tuple[int, str | None]] = []
        self.during: Callable[[], object] = lambda: None
        self.once = Once(lambda: self.now, self.make, patience_s=patience_s)

    def make(self, now: list[int], before: str | None) -> str:
        self.made.append((now[0], before))
        self.during()
        return str(now[0])


class TestOnce:
    def test_it_is_made_once_for_each_and_told_what_was_before(self) -> None:
        world = Made()
        assert [world.once.get(), world.once.get()] == ["1", "1"]
        world.now = [2]
        assert [world.once.get(), world.once.get()] == ["2", "2"]
        world.now = [2]  # equal, but another
        assert world.once.get() == "2"
        assert world.made == [(1, None), (2, "1"), (2, "2")]

    def test_one_makes_it_while_many_wait(self) -> None:
        world = Made()
        begun, go_on = threading.Event(), threading.Event()

        def during() -> None:
            begun.set()
            assert go_on.wait(LONG_S)

        world.during = during
        got: list[str] = []
        threads = [threading.Thread(target=lambda: got.append(world.once.get())) for _ in range(8)]
        for thread in threads:
            thread.start()
        assert begun.wait(LONG_S)
        go_on.set()
        for thread in threads:
            thread.join(LONG_S)
        assert got == ["1"] * 8
        assert world.made == [(1, None)]

    def test_who_waits_too_long_takes_the_last_if_there_is_one(self) -> None:
        world = Made(patience_s=0.0)
        others: list[object] = []

        def meanwhile() -> None:
            """Another thread asks while this one is at it."""

            def ask() -> None:
                try:
                    others.append(world.once.get())
                except StillWriting as error:
                    others.append(type(error))

            thread = threading.Thread(target=ask)
            thread.start()
            thread.join(LONG_S)

        world.during = meanwhile
        assert world.once.get() == "1"
        world.now = [2]
        assert world.once.get() == "2"
        assert others == [StillWriting, "1"]

    def test_what_changes_while_it_is_made_is_made_next(self) -> None:
        world = Made()

        def changes() -> None:
            world.now = [2]
            world.during = lambda: None

        world.during = changes
        assert world.once.get() == "1"
        assert world.once.get() == "2"

    def test_a_failure_is_not_kept_and_keeps_nobody_out(self) -> None:
        world = Made()

        def fails() -> None:
            raise ValueError("once")

        world.during = fails
        with pytest.raises(ValueError, match="once"):
            world.once.get()
        world.during = lambda: None
        assert world.once.get() == "1"


def test_a_value_that_is_the_same_as_last_time_is_not_written_again() -> None:
    same: Same[list[int]] = Same(Rendered.json)
    first = same.of([1])
    assert same.of([1]) is first
    assert b"".join(same.of([2]).pieces) == b"[2]"
