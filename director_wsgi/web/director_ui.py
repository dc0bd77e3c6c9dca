"""The federation as Pelican's web interface, its command line and curious people read it.

What a server advertises is written once for each advertisement; what changes by the second (filters, health, load) is
read when the list is asked for, and told once for all that are alike. The list of servers, tens of megabytes in a large
federation, is never put together as a whole: its tag is made from the digests of its parts.

Source: Pelican `director/director_ui.go`.
"""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Final

from flask import Blueprint, Response, request

from director_wsgi.federation.downtimes import Downtime
from director_wsgi.federation.models import ServerAd
from director_wsgi.federation.snapshot import Snapshot
from director_wsgi.web.rendered import Once, Rendered, Same, answer, digest, to_bytes
from director_wsgi.web.responses import simple
from director_wsgi.web.ui_pages import Page, Pages, merged

MAX_FACTS: Final = 4_096
"""How many different facts are kept as text, of 200 bytes or so: those of all servers, as a rule."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What is known of servers besides what they advertise. Asked at every listing, on handler threads; must not wait.

    Attributes:
        filtered: By name, why it is not chosen, in Pelican's words (`filteredType`); empty if it may be.
        downtimes: By name, its downtimes, whoever announced them; None: everybody's.
        health: What the director's own tests say of it, in Pelican's words (`healthStatus`).
        io_load: By data URL; None if it is not known.
        status_weight: By data URL, what it said of its own health lately and when, in Unix seconds; None if nothing.
    """

    filtered: Callable[[str], str]
    downtimes: Callable[[str | None], tuple[Downtime, ...]]
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
    pages = Pages(lambda: snapshot().servers)
    all_namespaces = Once(pages.get, merged)
    told_contact = Rendered.json({"email": contact_email, "url": contact_url})
    all_downtimes = Same(_downtimes)

    def page_of(name: str) -> Page | None:
        return pages.named(name.removesuffix("/"))

    @get("/servers")
    def servers() -> Response:
        wanted = request.args.get("server_type", "").lower()
        if wanted not in {"", "origin", "cache"}:
            return simple(400, "Invalid server type")
        shown = [page for page in pages.get().values() if not wanted or wanted == page.ad.kind.value.lower()]
        return answer(request, _list(shown, facts))

    @get("/servers/<anything:name>")
    def server(name: str) -> Response:
        page = page_of(name)
        return simple(404, "Server not found") if page is None else answer(request, _detail(page, facts))

    @get("/servers/<anything:name>/namespaces")
    def namespaces_of(name: str) -> Response:
        page = page_of(name)
        return simple(404, "Server not found") if page is None else answer(request, page.served.listing())

    @get("/servers/<anything:name>/downtimes")
    def downtimes_of(name: str) -> Response:
        return answer(request, _downtimes(facts.downtimes(name)))

    @get("/namespaces")
    def namespaces() -> Response:
        return answer(request, all_namespaces.get().listing)

    @get("/downtimes")
    def downtimes() -> Response:
        return answer(request, all_downtimes.of(facts.downtimes(None)))

    @get("/contact")
    def contact() -> Response:
        return answer(request, told_contact)

    return routes


def _list(pages: Iterable[Page], facts: Facts) -> Rendered:
    """The list of these servers. Its text is shared with all that are made of the same."""
    pieces: list[bytes] = []
    digests: list[bytes] = []
    separator = b"["
    for page in pages:
        changing = _changing(page.ad, facts)
        digests += (page.digest, changing)
        pieces += (separator, page.head, changing, b',"namespacePrefixes":', page.served.prefixes)
        separator = b"},"
    pieces.append(b"}]" if pieces else b"[]")
    return Rendered.of(pieces, digest(digests))


def _detail(page: Page, facts: Facts) -> Rendered:
    """One server, with its namespaces."""
    changing, namespaces = _changing(page.ad, facts), page.served.listing()
    pieces = (page.head, changing, b',"namespaces":', *namespaces.pieces, b"}")
    return Rendered.of(pieces, digest((page.digest, changing, namespaces.tag.encode())))


def _downtimes(announced: tuple[Downtime, ...]) -> Rendered:
    return Rendered.array(to_bytes(downtime.wire()) for downtime in announced)


def _changing(ad: ServerAd, facts: Facts) -> bytes:
    """What changes while the advertisement does not, as it goes on behind a page's head."""
    weight, updated_at = facts.status_weight(ad.data_url) or (0.0, 0.0)
    return _told(facts.filtered(ad.name), facts.health(ad), facts.io_load(ad.data_url), weight, int(updated_at))


@lru_cache(MAX_FACTS, typed=True)
def _told(filtered: str, health: str, load: float | None, weight: float, updated_at: int) -> bytes:
    members = {
        "filtered": filtered != "",
        "filteredType": filtered,
        "healthStatus": health,
        "ioLoad": load if load is not None and math.isfinite(load) else -1,
        "statusWeight": weight,
        "statusWeightLastUpdate": updated_at,
    }
    return b"," + to_bytes(members)[1:-1]
