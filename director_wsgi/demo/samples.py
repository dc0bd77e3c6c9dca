"""What is in the demo: who serves which namespace, from where, and the objects themselves."""

import random
from collections.abc import Mapping
from dataclasses import dataclass, field

from director_wsgi.demo.origin import Export

AWKWARD_NAME = "50 % of #1? 木星, Ümlaut & Söhne; v2.txt"
"""Everything that has to be percent-encoded in one place or another, or must not be."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OriginSample:
    """An origin to be.

    Attributes:
        place: Latitude and longitude in degrees.
        objects: Decoded object path to content.
    """

    name: str
    place: tuple[float, float]
    exports: tuple[Export, ...]
    objects: Mapping[str, bytes] = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheSample:
    """A cache to be; empty at first."""

    name: str
    place: tuple[float, float]


PUBLIC = Export(prefix="/public")
SCRATCH = Export(prefix="/scratch", writes=True)
PROTECTED = Export(prefix="/protected", public_reads=False)

RANDOM_BYTES = random.Random(20260101).randbytes(1 << 20)
"""One mebibyte that nothing can compress, the same in every run."""

_HELLO = b"Hello! These bytes came from an origin, by way of the director and a cache.\n"

ORIGINS = (
    OriginSample(
        name="ORIGIN-MADISON",
        place=(43.07, -89.40),
        exports=(PUBLIC, SCRATCH),
        objects={
            "/public/hello.txt": _HELLO,
            "/public/only-in-madison.txt": b"Only the origin in Madison has this.\n",
            "/public/random.bin": RANDOM_BYTES,
            f"/public/names/{AWKWARD_NAME}": b"An awkward name is a name like any other.\n",
            "/scratch/readme.txt": b"Everybody may write here.\n",
        },
    ),
    OriginSample(
        name="ORIGIN-SAN-DIEGO",
        place=(32.88, -117.24),
        exports=(PUBLIC, PROTECTED),
        objects={
            "/public/hello.txt": _HELLO,
            "/public/only-in-san-diego.txt": b"Only the origin in San Diego has this.\n",
            "/protected/secret.txt": b"Only those with a token read this.\n",
        },
    ),
)

CACHES = (
    CacheSample(name="CACHE-CHICAGO", place=(41.88, -87.63)),
    CacheSample(name="CACHE-NEW-YORK", place=(40.71, -74.01)),
    CacheSample(name="CACHE-LOS-ANGELES", place=(34.05, -118.24)),
)
