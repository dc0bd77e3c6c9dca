"""Laws of the list of namespaces: it is written when what origins serve changes, and at nothing else."""

import json

import pytest

from director_wsgi.federation.directory import Directory
from director_wsgi.federation.models import NamespaceAd
from director_wsgi.web import listings
from director_wsgi.web.rendered import Once
from tests.make import cache, namespace, origin

pytestmark = pytest.mark.unit


def test_it_is_written_when_what_origins_serve_changes() -> None:
    directory = Directory()
    namespaces = Once(lambda: directory.snapshot().servers, listings._namespaces)

    def paths() -> list[str]:
        wires = json.loads(b"".join(namespaces.get().listing.pieces))
        return [wire["path"] for wire in wires[:-1]]  # the last one is the director's own

    def advertised(path: str, **more: object) -> NamespaceAd:
        return NamespaceAd(path=path, wire=json.dumps({"path": path, **more}))

    directory.record(origin("O", advertised("/x")), 60)
    before = namespaces.get()
    directory.record(origin("O", advertised("/x"), status="warning"), 60)
    directory.record(cache("C", namespace("/x"), "/y"), 60)
    assert namespaces.get() is before
    assert paths() == ["/x"]
    directory.record(origin("A", advertised("/y")), 60)
    assert paths() == ["/y", "/x"]
    with_both = namespaces.get()
    directory.record(origin("O", advertised("/x", more=True)), 60)
    assert namespaces.get() is not with_both
