import pytest

from director_wsgi.limits.deadline import Deadline
from director_wsgi.outbound.client import Answer, Cancellation, Failure, OutboundError
from director_wsgi.stat.evidence import Evidence, Presence, Reason
from director_wsgi.stat.head import REASON_OF, head, read
from tests.unit.stat.fakes import Servers, present


def ask(servers: Servers, path: str = "/x", bearer: str | None = None) -> Evidence:
    return head(
        servers.client(1),
        "https://a.test:8443",
        path,
        bearer=bearer,
        deadline=Deadline.after(10),
        cancellation=Cancellation(),
    )


def served(answer: Answer | OutboundError) -> Servers:
    servers = Servers()
    servers.answers["a"] = answer
    return servers


@pytest.mark.parametrize(
    ("status", "presence", "reason"),
    [
        (404, Presence.ABSENT, None),
        (401, Presence.DENIED, None),
        (403, Presence.DENIED, None),
        (300, Presence.UNKNOWN, Reason.REDIRECTED),
        (302, Presence.UNKNOWN, Reason.REDIRECTED),
        (307, Presence.UNKNOWN, Reason.REDIRECTED),
        (399, Presence.UNKNOWN, Reason.REDIRECTED),
        (204, Presence.UNKNOWN, Reason.FAILED),
        (206, Presence.UNKNOWN, Reason.FAILED),
        (400, Presence.UNKNOWN, Reason.FAILED),
        (410, Presence.UNKNOWN, Reason.FAILED),
        (429, Presence.UNKNOWN, Reason.FAILED),
        (500, Presence.UNKNOWN, Reason.FAILED),
        (503, Presence.UNKNOWN, Reason.FAILED),
        (999, Presence.UNKNOWN, Reason.FAILED),
    ],
)
def test_only_404_is_an_absence_and_only_401_and_403_are_refusals(status, presence, reason):
    answer = Answer(status, {"Content-Length": "5"}, b"")
    assert read(answer) == Evidence(presence=presence, reason=reason, status=status)


@pytest.mark.parametrize(("length", "length_bytes"), [("0", 0), ("5", 5), (" 5 ", 5), (str(2**63 - 1), 2**63 - 1)])
def test_200_with_a_length_is_a_presence(length, length_bytes):
    evidence = read(Answer(200, {"Content-Length": length}, b""))
    assert evidence == Evidence(presence=Presence.PRESENT, status=200, length_bytes=length_bytes)


@pytest.mark.parametrize(
    "length", ["", "-1", "+5", "5.0", "5, 5", "0x5", "1_0", "five", "٥", str(2**63), "9" * 20, "9" * 5000]
)
def test_200_with_a_length_that_is_none_says_nothing(length):
    assert read(Answer(200, {"Content-Length": length}, b"")) == Evidence.unknown(Reason.NO_LENGTH, 200)


def test_200_without_a_length_says_nothing():
    assert read(Answer(200, {}, b"")) == Evidence.unknown(Reason.NO_LENGTH, 200)


@pytest.mark.parametrize(("age", "age_s"), [("0", 0), ("17", 17), ("-1", None), ("soon", None), ("1.5", None)])
def test_age_is_told_if_it_is_a_whole_number(age, age_s):
    assert read(Answer(200, {"Content-Length": "5", "Age": age}, b"")).age_s == age_s


@pytest.mark.parametrize("failure", list(Failure))
def test_every_failure_of_an_exchange_is_an_unknown_with_a_reason(failure):
    assert ask(served(OutboundError(failure))) == Evidence.unknown(REASON_OF[failure])


@pytest.mark.parametrize(
    ("path", "url"),
    [
        ("/a/b", "https://a.test:8443/a/b"),
        ("/a b%#?", "https://a.test:8443/a%20b%25%23%3F"),
        ("/ü", "https://a.test:8443/%C3%BC"),
        ("/$&+,:;=@~", "https://a.test:8443/$&+,:;=@~"),
        ("/\udcff", "https://a.test:8443/%FF"),
    ],
)
def test_the_path_is_quoted_behind_the_base_url(path, url):
    servers = served(present())
    ask(servers, path)
    assert [call.url for call in servers.calls] == [url]


def test_the_token_is_sent_as_it_came():
    servers = served(present())
    ask(servers, bearer="a.b-c_d~e+f/g=")
    assert servers.calls[0].headers["Authorization"] == "Bearer a.b-c_d~e+f/g="


def test_nothing_but_the_question_is_sent_for_the_public():
    """Above all no wish for a digest, which may cost the server a read of the whole object."""
    servers = served(present())
    ask(servers)
    assert servers.calls[0].headers == {}


def test_what_is_no_token_but_can_stand_in_a_header_is_the_servers_to_judge():
    servers = served(present())
    ask(servers, bearer="Basic dTpw")
    assert servers.calls[0].headers == {"Authorization": "Bearer Basic dTpw"}


@pytest.mark.parametrize("bearer", ["", " ", " a", "a ", "a\tb", "a\r\nX-Evil: 1", "a\0", "ü", "\udcff", "a\n"])
def test_with_a_token_that_cannot_stand_in_a_header_nobody_is_asked(bearer):
    servers = served(present())
    assert ask(servers, bearer=bearer) == Evidence.unknown(Reason.NOT_ASKED)
    assert servers.calls == []
