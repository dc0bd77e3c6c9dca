"""What is fetched from `Director.ConfigUrl`: which answers are documents, and what is sent to get them."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from requests.structures import CaseInsensitiveDict

from director_wsgi.limits.deadline import Deadline
from director_wsgi.outbound.client import Answer, Failure, OutboundError
from director_wsgi.runtime import private_file
from director_wsgi.runtime.parameters import Config
from director_wsgi.runtime.remote import COPY_NAME, FETCH_S, Document, Remote, read_copy, write_copy
from tests.fakes import FakeClock

pytestmark = pytest.mark.unit

URL = "https://config.example.org/director"
NEVER = Deadline(float("inf"))


def config(path: Path | None = None, **values: object) -> Config:
    sources = {"config_url": "pelican.yaml:3"}
    return Config(**{"registry_url": "", "config_url": URL, "state_location": path, "sources": sources} | values)


def answer(body: bytes = b"a: b", status: int = 200, **headers: str) -> Answer:
    named = {name.replace("_", "-"): value for name, value in headers.items() if value}
    return Answer(status, CaseInsensitiveDict({"Content-Length": str(len(body))} | named), body)


class Wire:
    """Answers one after the other, and what was sent."""

    def __init__(self, *answers: Answer | OutboundError) -> None:
        self.answers = list(answers)
        self.sent: list[Mapping[str, str]] = []
        self.deadlines: list[Deadline] = []

    def __call__(self, config: Config, headers: Mapping[str, str], deadline: Deadline) -> Answer:
        self.sent.append(headers)
        self.deadlines.append(deadline)
        said = self.answers.pop(0)
        if isinstance(said, OutboundError):
            raise said
        return said


@pytest.fixture
def remote(clock: FakeClock, wall: FakeClock) -> Callable[..., tuple[Remote, Wire]]:
    def make(*answers: Answer | OutboundError, jitter: float = 0.5) -> tuple[Remote, Wire]:
        wire = Wire(*answers)
        return Remote(clock=clock, wall=wall, jitter=lambda: jitter, send=wire), wire

    return make


Make = Callable[..., tuple[Remote, Wire]]


@pytest.mark.parametrize(
    ("said", "problem"),
    [
        (answer(status=204), "it answered 204"),
        (answer(status=302, Location="https://elsewhere.example.org/"), "it answered 302"),
        (answer(status=304), "it answered 304"),
        (answer(status=401), "it answered 401"),
        (answer(status=503), "it answered 503"),
        (answer(Content_Type="text/html; charset=utf-8"), "it answered with a page (HTML) instead of a document"),
        (answer(Content_Type="application/XHTML+xml"), "it answered with a page (HTML) instead of a document"),
        (answer(Content_Encoding="gzip"), "its answer is compressed, which nobody asked for"),
        (answer(b" \n"), "its answer is empty; expected at least `{}`"),
        (
            Answer(200, CaseInsensitiveDict({}), b"a: b"),
            "its answer does not say how long it is, and may have been cut off",
        ),
        (OutboundError(Failure.TIMED_OUT, "config.example.org:443: timed out"), "config.example.org:443: timed out"),
    ],
)
def test_what_is_no_document_is_said_and_the_one_before_stays(
    remote: Make, said: Answer | OutboundError, problem: str, caplog: pytest.LogCaptureFixture
) -> None:
    asked, _ = remote(answer(), said, said)
    before = asked.ask(config(), NEVER)
    for _ in range(2):
        assert asked.ask(config(), NEVER) is before
        assert str(asked.failure) == problem
    assert [record.getMessage() for record in caplog.records] == [
        f"Director.ConfigUrl = '{URL}' (pelican.yaml:3): {problem}"
    ]


@pytest.mark.parametrize(("status", "is_final"), [(400, True), (404, True), (408, False), (429, False), (500, False)])
def test_only_what_may_pass_is_worth_asking_again(remote: Make, status: int, is_final: bool) -> None:
    asked, _ = remote(answer(status=status))
    assert asked.ask(config(), NEVER) is None
    assert asked.failure is not None
    assert asked.failure.is_final == is_final


def test_in_chunks_is_whole_as_well(remote: Make) -> None:
    asked, _ = remote(Answer(200, CaseInsensitiveDict({"Transfer-Encoding": "chunked"}), b"a: b"))
    assert asked.ask(config(), NEVER) is not None


class TestUnchanged:
    def test_it_is_asked_for_by_what_the_server_said_of_it(self, remote: Make, wall: FakeClock) -> None:
        date = "Wed, 25 Nov 2026 07:00:00 GMT"
        asked, wire = remote(
            answer(ETag='W/"1"', Last_Modified=date), answer(b"", 304), answer(b"", 304, ETag='"2"'), answer(b"", 304)
        )
        first = asked.ask(config(), NEVER)
        wall.advance(5)
        for _ in range(3):
            later = asked.ask(config(), NEVER)
            assert later is not None
            assert later.is_as(first)
            assert later.at == wall()
        assert "If-None-Match" not in wire.sent[0]
        assert [sent["If-None-Match"] for sent in wire.sent[1:]] == ['W/"1"', 'W/"1"', '"2"']
        assert {sent["If-Modified-Since"] for sent in wire.sent[1:]} == {date}

    @pytest.mark.parametrize("etag", ["1", '"a b"', '"a"b"', '"' + 2000 * "x" + '"', '"\x01"'])
    def test_what_is_no_etag_is_not_sent_back(self, remote: Make, etag: str) -> None:
        asked, wire = remote(answer(ETag=etag, Last_Modified="a\x00b"), answer())
        for _ in range(2):
            asked.ask(config(), NEVER)
        assert set(wire.sent[1]) == {"Accept"}

    def test_of_another_url_it_is_not_asked(self, remote: Make) -> None:
        asked, wire = remote(answer(ETag='"1"'), answer())
        asked.ask(config(), NEVER)
        asked.ask(config(config_url=URL + "2"), NEVER)
        assert "If-None-Match" not in wire.sent[1]
        assert asked.known(config()) is None


class TestToken:
    def test_it_is_read_for_every_question(self, remote: Make, tmp_path: Path) -> None:
        file = tmp_path / "token"
        asked, wire = remote(answer(), answer())
        for token in ("abc.DEF-123_~+/==", "other"):
            file.write_text(f"{token}\n")
            asked.ask(config(config_token_file=file), NEVER)
            assert wire.sent[-1]["Authorization"] == f"Bearer {token}"

    @pytest.mark.parametrize("content", [b"", b"two words", b"a\nb", b"\xff", b"t" * 20_000, b"a\x00"])
    def test_what_is_no_token_is_not_sent_and_not_shown(
        self, remote: Make, tmp_path: Path, content: bytes, caplog: pytest.LogCaptureFixture
    ) -> None:
        file = tmp_path / "token"
        file.write_bytes(content)
        asked, wire = remote()
        asked.ask(config(config_token_file=file), NEVER)
        assert wire.sent == []
        assert str(asked.failure) == f"Director.ConfigTokenFile = {str(file)!r}: expected one bearer token"
        assert "two words" not in caplog.text

    def test_a_file_that_is_gone_is_said(self, remote: Make, tmp_path: Path) -> None:
        asked, _ = remote()
        asked.ask(config(config_token_file=tmp_path / "none"), NEVER)
        assert "cannot be read: No such file" in str(asked.failure)


@pytest.mark.parametrize(("jitter", "pause_s"), [(0.0, 4.0), (0.5, 5.0), (1.0, 6.0)])
def test_directors_do_not_ask_all_at_once(remote: Make, clock: FakeClock, jitter: float, pause_s: float) -> None:
    asked, _ = remote(answer(), jitter=jitter)
    assert asked.is_due(config())
    asked.ask(config(), NEVER)
    clock.advance(pause_s - 0.01)
    assert not asked.is_due(config())
    assert asked.is_due(config(config_url=URL + "2"))
    clock.advance(0.02)
    assert asked.is_due(config())


def test_no_question_takes_longer_than_its_bound(remote: Make) -> None:
    asked, wire = remote(answer(), answer())
    asked.ask(config(), NEVER)
    asked.ask(config(), Deadline.after(0.5))
    assert FETCH_S - 1 < wire.deadlines[0].remaining_s() <= FETCH_S
    assert wire.deadlines[1].remaining_s() <= 0.5


def test_a_question_that_somebody_ends_says_nothing_of_the_host(remote: Make, caplog: pytest.LogCaptureFixture) -> None:
    asked, _ = remote(answer(), OutboundError(Failure.CLOSED, "closed"))
    before = asked.ask(config(), NEVER)
    assert asked.ask(config(), NEVER) is before
    assert asked.failure is None
    assert caplog.text == ""


class TestCopy:
    DOCUMENT = Document(url=URL, body="Hostname: größe".encode(), etag='"1"', last_modified="now", at=5.0)

    def test_what_is_kept_is_found(self, tmp_path: Path) -> None:
        write_copy(config(tmp_path / "state"), self.DOCUMENT)
        assert read_copy(config(tmp_path / "state")) == self.DOCUMENT

    def test_bytes_that_are_no_text_come_back_as_they_were(self, tmp_path: Path) -> None:
        document = Document(url=URL, body=b"\xff\x00a", at=1.0)
        write_copy(config(tmp_path), document)
        assert read_copy(config(tmp_path)) == document

    def test_without_a_directory_there_is_none(self) -> None:
        write_copy(config(None), self.DOCUMENT)
        assert read_copy(config(None)) is None

    @pytest.mark.parametrize(
        "text",
        [
            *("", "[]", "{}", '{"body": 1}', "null", "[" * 50_000),
            json.dumps({"url": 1, "body": "", "etag": "", "last_modified": "", "at": 1}),
            json.dumps({"url": URL, "body": "", "etag": "", "last_modified": "", "at": "x"}),
            json.dumps({"url": URL, "body": "", "etag": "", "last_modified": "", "at": 1, "more": 1}),
        ],
    )
    def test_what_is_none_of_ours_is_not_believed(self, tmp_path: Path, text: str) -> None:
        private_file.write(tmp_path, COPY_NAME, text)
        assert read_copy(config(tmp_path)) is None

    def test_nor_what_others_may_write(self, tmp_path: Path) -> None:
        write_copy(config(tmp_path), self.DOCUMENT)
        (tmp_path / COPY_NAME).chmod(0o620)
        assert read_copy(config(tmp_path)) is None

    def test_its_content_is_in_no_repr(self) -> None:
        assert "größe" not in repr(self.DOCUMENT)
        assert "b'" not in repr(self.DOCUMENT)
