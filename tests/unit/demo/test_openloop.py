import json
from dataclasses import asdict

import pytest

from director_wsgi.demo import openloop
from director_wsgi.demo.openloop import CUT_OFF, MALFORMED, Order, Outcome
from director_wsgi.demo.scene import Arrival


def read(head: bytes) -> Outcome:
    return openloop._read(head, 0.25, 0.01)


def test_a_redirect_is_told_with_its_destination() -> None:
    told = read(b"HTTP/1.1 307 Temporary Redirect\r\nServer: x\r\nLocation: http://127.0.0.1:1/a\r\nX: y\r\n\r\n")
    assert told == Outcome(307, 0.25, location="http://127.0.0.1:1/a", lateness_s=0.01)


@pytest.mark.parametrize("name", [b"location", b"LOCATION", b"Location"])
def test_a_fields_name_may_be_written_in_any_case(name: bytes) -> None:
    assert read(b"HTTP/1.1 307 R\r\n" + name + b":http://h/\r\n\r\n").location == "http://h/"


def test_a_field_whose_name_only_ends_like_it_is_not_taken() -> None:
    assert read(b"HTTP/1.1 200 OK\r\nContent-Location: http://h/\r\n\r\n").location == ""


@pytest.mark.parametrize(
    "head", [b"\r\n\r\n", b"HTTP/1.1 ok fine\r\n\r\n", b"SSH-2.0 200 x\r\n\r\n", b"HTTP/1.1 200\r\n\r\n"]
)
def test_what_is_not_http_is_no_answer(head: bytes) -> None:
    told = read(head)
    assert (told.status, told.failure) == (0, MALFORMED)


def test_an_order_arrives_in_the_child_as_it_was_given() -> None:
    order = Order(port=1, starts_at=2.5, timeout_s=10.0, arrivals=[Arrival(0.25, "/a"), Arrival(0.5, "/b")])
    assert openloop._parse(json.loads(json.dumps(asdict(order)))) == order


def test_an_outcome_comes_back_as_it_was() -> None:
    outcome = Outcome(0, 1.5, failure=CUT_OFF, lateness_s=0.1)
    assert Outcome(*json.loads(json.dumps(list(asdict(outcome).values())))) == outcome
