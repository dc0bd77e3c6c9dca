"""The federation as Pelican's web interface, its command line and curious people read it.

What a server advertises is written once for each advertisement; what changes by the second (filters, health, load) is
read when the list is asked for. Lists go out piece by piece, since in a large federation they are tens of megabytes.

Source: Pelican `director/director_ui.go`.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from flask import Blueprint, Response, request

from director_wsgi.federation.models import ServerAd
from director_wsgi.federation.snapshot import Snapshot
from director_wsgi.web.responses import JSON, json_response, simple, to_json
from director_wsgi.web.ui_pages import Merged, Page, Pages, namespace_text

CHUNK_CHARACTERS = 65_536
"""About how much of a list goes out at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What is known of servers besides what they advertise. Asked at every listing, on handler threads; must not wait.

    Attributes:
        filtered: By name, why it is not chosen, in Pelican's words (`filteredType`); empty if it may be.
        downtimes: By name, its downtimes as JSON objects, whoever announced them; None: everybody's.
        health: What the director's own tests say of it, in Pelican's words (`healthStatus`).
        io_load: By data URL; None if it is not known.
        status_weight: By data URL, what it said of its own health lately and when, in Unix seconds; None if nothing.
    """

    filtered: Callable[[str], str]
    downtimes: Callable[[str | None], Sequence[object]]
    health: Callable[[ServerAd], str]
    io_load: Callable[[str], float | None]
    status_weight: Callable[[str], tuple[float, float] | None]


def blueprint(*, snapshot: Callable[[], Snapshot], facts: Facts, contact_email: str, contact_url: str) -> Blueprint:
    """The routes of this module.

    Where servers share a name, what is asked for by that name is told of the one that `servers` lists first.

    Args:
        snapshot: The federation now.
        facts: What else is known.
        contact_email: Whom to turn to; may be empty.
        contact_url: The same.
    """
    routes = Blueprint("director_ui", __name__, url_prefix="/api/v1.0/director_ui")
    get = partial(routes.get, strict_slashes=False)
    pages, merged = Pages(), Merged()

    def page_of(name: str) -> Page | None:
        wanted = name.removesuffix("/")
        return next((page for page in pages.of(snapshot()) if page.ad.name == wanted), None)

    @get("/servers")
    def servers() -> Response:
        wanted = request.args.get("server_type", "").lower()
        if wanted not in {"", "origin", "cache"}:
            return simple(400, "Invalid server type")
        return _streamed(
            f'{page.head},{_dynamic(page.ad, facts)},"namespacePrefixes":{page.prefixes}}}'
            for page in pages.of(snapshot())
            if wanted in {"", page.ad.kind.value.lower()}
        )

    @get("/servers/<anything:name>")
    def server(name: str) -> Response:
        page = page_of(name)
        if page is None:
            return simple(404, "Server not found")
        namespaces = ",".join(map(namespace_text, page.ad.namespaces))
        text = f'{page.head},{_dynamic(page.ad, facts)},"namespaces":[{namespaces}]}}'
        return Response(text.encode("utf-8", "replace"), headers=[("Content-Type", JSON)])

    @get("/servers/<anything:name>/namespaces")
    def namespaces_of(name: str) -> Response:
        page = page_of(name)
        return simple(404, "Server not found") if page is None else _streamed(map(namespace_text, page.ad.namespaces))

    @get("/servers/<anything:name>/downtimes")
    def downtimes_of(name: str) -> Response:
        return _streamed(map(to_json, facts.downtimes(name)))

    @get("/namespaces")
    def namespaces() -> Response:
        now = snapshot()
        return _streamed(merged.of(now, pages.of(now)))

    @get("/downtimes")
    def downtimes() -> Response:
        return _streamed(map(to_json, facts.downtimes(None)))

    @get("/contact")
    def contact() -> Response:
        return json_response({"email": contact_email, "url": contact_url})

    return routes


def _streamed(elements: Iterable[str]) -> Response:
    """A JSON array, sent as it is written."""
    return Response(_chunks(elements), headers=[("Content-Type", JSON)])


def _chunks(elements: Iterable[str]) -> Iterator[bytes]:
    parts, size = ["["], 0
    separator = ""
    for element in elements:
        parts += (separator, element)
        separator = ","
        size += len(element)
        if size >= CHUNK_CHARACTERS:
            yield "".join(parts).encode("utf-8", "replace")
            parts, size = [], 0
    parts.append("]")
    yield "".join(parts).encode("utf-8", "replace")


def _dynamic(ad: ServerAd, facts: Facts) -> str:
    """Members of a server's object that change while its advertisement does not, without the braces."""
    reason = facts.filtered(ad.name)
    load = facts.io_load(ad.data_url)
    weight, updated_at = facts.status_weight(ad.data_url) or (0.0, 0.0)
    members = {
        "filtered": reason != "",
        "filteredType": reason,
        "healthStatus": facts.health(ad),
        "ioLoad": load if load is not None and math.isfinite(load) else -1,
        "statusWeight": weight,
        "statusWeightLastUpdate": int(updated_at),
    }
    return to_json(members)[1:-1]
