"""What is decided before a step begins: by the operator (`Policy`), and of one request (`Case`)."""

import random
from dataclasses import dataclass
from typing import NamedTuple

from director_wsgi.federation.models import Coordinate, ServerAd
from director_wsgi.federation.snapshot import Source
from director_wsgi.redirect.matching import Match
from director_wsgi.redirect.request import ObjectRequest


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """What the operator decides about redirects; Pelican's parameters of the same names, without their room."""

    web_url: str
    cache_sort_method: str = "distance"
    adaptive_truncate: int = 6
    ranking_seed: str = ""
    when_unknown: str = "redirect"
    filter_caches_in_error_state: bool = True
    check_origin_presence: bool = True
    check_cache_presence: bool = True
    assume_presence_at_single_origin: bool = True
    caches_pull_from_caches: bool = False

    @property
    def is_adaptive(self) -> bool:
        """Whether the order depends on more than places and dice."""
        return self.cache_sort_method == "adaptive"


class Case(NamedTuple):
    """One request, and what every step needs to know of it. A tuple: one is made for each request.

    Attributes:
        found: Who may serve it.
        client: The client's place.
        generator: Its dice.
        to_origins: Whether it is sent to origins; else to caches.
        to_caches: Whether caches are named; with cache chaining, before the origins.
        origins: Those that may serve it; if it goes to them, best first, as far as that can be told without asking.
        caches: Those that may be named, best first by the same measure; none, if none is to be named. Not more than are
            named, or looked at, if nobody wants to see all.
    """

    request: ObjectRequest
    found: Match
    client: Coordinate
    generator: random.Random
    to_origins: bool
    to_caches: bool
    origins: tuple[Source, ...]
    caches: tuple[ServerAd, ...]
