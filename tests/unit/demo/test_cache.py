import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path

import pytest
import urllib3

from director_wsgi.demo.cache import Cache
from director_wsgi.demo.copies import Copies
from director_wsgi.demo.upstream import UpstreamError
from director_wsgi.limits.deadline import Deadline
from tests.fakes import FakeClock
from tests.unit.demo.ask import asking, content


class FakeUpstream:
    """Answers as told, and remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str, str | None, dict[str, str]]] = []
        self.objects: dict[str, bytes] = {"/x": b"0123456789"}
        self.status = 200
        self.error: UpstreamError | None = None
        self.gate = threading.Event()
        self.gate.set()

    @contextmanager
    def ask(
        self, method: str, path: str, *, token: str | None, headers: Mapping[str, str], deadline: Deadline
    ) -> Iterator[urllib3.BaseHTTPResponse]:
        self.asked.append((method, path, token, dict(headers)))
        assert self.gate.wait(10)
        if self.error is not None:
            raise self.error
        body = b"" if method == "HEAD" else self.objects[path]
        described = {"Content-Length": str(len(self.objects[path])), "ETag": '"e"', "Content-Type": "text/x"}
        yield urllib3.HTTPResponse(
            BytesIO(body), described, status=self.status, preload_content=False, request_method=method
        )


@pytest.fixture
def upstream() -> FakeUpstream:
    return FakeUpstream()


@pytest.fixture
def cache(tmp_path: Path, upstream: FakeUpstream, clock: FakeClock) -> Cache:
    cache = Cache(Copies(tmp_path, clock=clock), clock=clock)
    cache.connect(upstream)
    return cache


def test_a_second_get_comes_from_the_copy_and_says_how_old_it_is(
    cache: Cache, upstream: FakeUpstream, clock: FakeClock
) -> None:
    assert content(cache.answer(asking("GET", "/x"))) == b"0123456789"
    clock.advance(3.0)
    second = cache.answer(asking("GET", "/x"))
    assert (content(second), second.header("Age"), second.header("ETag")) == (b"0123456789", "3", '"e"')
    assert len(upstream.asked) == 1


def test_a_range_is_served_out_of_the_whole(cache: Cache, upstream: FakeUpstream) -> None:
    response = cache.answer(asking("GET", "/x", headers={"Range": "bytes=2-3"}))
    assert (response.status, content(response)) == (206, b"23")
    assert upstream.asked == [("GET", "/x", None, {})]


def test_head_of_what_is_not_there_asks_and_stores_nothing(cache: Cache, upstream: FakeUpstream) -> None:
    for _ in range(2):
        response = cache.answer(asking("HEAD", "/x"))
        assert (response.status, response.length, response.header("Age")) == (200, 10, None)
    assert [method for method, *_ in upstream.asked] == ["HEAD", "HEAD"]


def test_head_of_a_copy_asks_nobody_and_says_its_age(cache: Cache, upstream: FakeUpstream) -> None:
    content(cache.answer(asking("GET", "/x")))
    response = cache.answer(asking("HEAD", "/x"))
    response.close()
    assert (response.status, response.length, response.header("Age")) == (200, 10, "0")
    assert len(upstream.asked) == 1


def test_equal_fetches_at_one_time_are_one(cache: Cache, upstream: FakeUpstream) -> None:
    upstream.gate.clear()
    with ThreadPoolExecutor(8) as clients:
        answers = [clients.submit(lambda: content(cache.answer(asking("GET", "/x")))) for _ in range(8)]
        upstream.gate.set()
        assert {answer.result(10) for answer in answers} == {b"0123456789"}
    assert len(upstream.asked) == 1


def test_a_copy_fetched_with_a_token_is_for_that_token_only(cache: Cache, upstream: FakeUpstream) -> None:
    content(cache.answer(asking("GET", "/x", authz="one")))
    upstream.status = 403
    assert cache.answer(asking("GET", "/x", authz="two")).status == 403
    assert cache.answer(asking("GET", "/x")).status == 403
    assert content(cache.answer(asking("GET", "/x", authz="one"))) == b"0123456789"
    assert [token for _, _, token, _ in upstream.asked] == ["one", "two", None]


def test_what_is_to_be_forgotten_is_fetched_again_and_tokens_keep_theirs(cache: Cache, upstream: FakeUpstream) -> None:
    for authz in ("", "t"):
        content(cache.answer(asking("GET", "/x", authz=authz)))
    cache.forget("/x")
    cache.forget("/never-there")
    for authz in ("", "t"):
        content(cache.answer(asking("GET", "/x", authz=authz)))
    assert [token for _, _, token, _ in upstream.asked] == [None, "t", None]


@pytest.mark.parametrize(("said", "told"), [(404, 404), (401, 401), (403, 403), (409, 409), (500, 502), (429, 502)])
@pytest.mark.parametrize("method", ["GET", "HEAD", "PROPFIND"])
def test_a_refusal_is_handed_on_and_not_remembered(
    cache: Cache, upstream: FakeUpstream, method: str, said: int, told: int
) -> None:
    upstream.status = said
    assert cache.answer(asking(method, "/x")).status == told
    upstream.status = 207 if method == "PROPFIND" else 200
    recovered = cache.answer(asking(method, "/x"))
    recovered.close()
    assert recovered.status == upstream.status


@pytest.mark.parametrize(("is_late", "status"), [(True, 504), (False, 502)])
def test_an_origin_that_cannot_be_asked_is_the_gateways_failure(
    cache: Cache, upstream: FakeUpstream, is_late: bool, status: int
) -> None:
    upstream.error = UpstreamError("gone", is_late=is_late)
    assert [cache.answer(asking("GET", "/x")).status for _ in range(2)] == [status, status]


def test_propfind_is_the_origins_with_the_depth_as_it_was(cache: Cache, upstream: FakeUpstream) -> None:
    upstream.status = 207
    response = cache.answer(asking("PROPFIND", "/x", headers={"Depth": "0"}))
    assert (response.status, response.body, response.header("Content-Type")) == (207, b"0123456789", "text/x")
    cache.answer(asking("PROPFIND", "/x"))
    assert [headers for *_, headers in upstream.asked] == [{"Depth": "0"}, {}]


def test_writes_are_refused(cache: Cache) -> None:
    assert cache.answer(asking("PUT", "/x")).status == 405


def test_without_a_director_there_is_nothing_to_serve(tmp_path: Path) -> None:
    assert Cache(Copies(tmp_path)).answer(asking("GET", "/x")).status == 503
