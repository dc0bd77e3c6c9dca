"""The `curl` lines that the demo prints: what to try, one thing at a time."""

import shlex
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from director_wsgi.demo.samples import AWKWARD_NAME


@dataclass(frozen=True, slots=True, kw_only=True)
class Suggestion:
    """One line for a shell, and what it shows."""

    shows: str
    line: str


def suggestions(director_url: str, ca_file: Path, token_file: Path) -> Iterator[Suggestion]:
    """The lines, in the order to try them; the first prints an object and nothing else.

    Args:
        director_url: Without a slash at its end.
        ca_file: Who signed every certificate.
        token_file: Holds a token for what is protected.
    """
    ca = f"--cacert {shlex.quote(str(ca_file))}"
    url = director_url
    # curl asks a proxy even for what is on loopback.
    curl = "curl --noproxy localhost" if _is_proxied() else "curl"

    def line(options: str, path: str) -> str:
        return f"{curl} {options} {ca} {shlex.quote(url + path)}"

    yield Suggestion(shows="read an object: the director redirects to a cache", line=line("-L", "/public/hello.txt"))
    yield Suggestion(
        shows="the redirect itself, from New York: Location, Link with every cache by distance, X-Pelican-*",
        line=line("-i -H 'X-Pelican-Coordinate: lat=40.71, long=-74.01'", "/public/hello.txt"),
    )
    yield Suggestion(
        shows="from Los Angeles the order is another",
        line=line("-i -H 'X-Pelican-Coordinate: lat=34.05, long=-118.24'", "/public/hello.txt"),
    )
    yield Suggestion(shows="why: the ranking, as JSON", line=line("-H 'X-Pelican-Debug: true'", "/public/hello.txt"))
    yield Suggestion(
        shows="straight from an origin; only San Diego has this one, and the director found out",
        line=line("-L", "/public/only-in-san-diego.txt?directread"),
    )
    yield Suggestion(shows="an awkward name", line=line("-L", f"/public/names/{quote(AWKWARD_NAME, safe='')}"))
    yield Suggestion(
        shows="one mebibyte, and where it came from",
        line=line("-L -o /dev/null -w '%{size_download} bytes from %{url_effective}\\n'", "/public/random.bin"),
    )
    yield Suggestion(shows="what an object is like", line=line("-L -I", "/public/random.bin"))
    yield Suggestion(shows="list a collection", line=line("-L -X PROPFIND -H 'Depth: 1'", "/public/"))
    yield Suggestion(
        shows="write an object, at the origin that takes writes",
        line=line(
            "-L -X PUT --data-binary 'Written by curl.' -w '%{http_code} from %{url_effective}\\n'", "/scratch/note.txt"
        ),
    )
    yield Suggestion(shows="and read it", line=line("-L", "/scratch/note.txt"))
    yield Suggestion(
        shows="read what is protected; the token travels in the redirect",
        line=line(f'-L -H "Authorization: Bearer $(cat {shlex.quote(str(token_file))})"', "/protected/secret.txt"),
    )
    yield Suggestion(
        shows="an object that nobody has: 404, from the director", line=line("-i", "/public/nothing-of-that-name")
    )
    yield Suggestion(shows="what clients discover", line=line("-s", "/.well-known/pelican-configuration"))
    yield Suggestion(shows="the directors of the federation", line=line("-s", "/api/v1.0/director/directors"))
    yield Suggestion(
        shows="its servers: each tested every 15 s (healthStatus), told so, and saying so (serverStatus)",
        line=line("-s", "/api/v1.0/director_ui/servers"),
    )
    yield Suggestion(shows="its namespaces", line=line("-s", "/api/v2.0/director/listNamespaces"))


def _is_proxied() -> bool:
    return "https" in urllib.request.getproxies() and not urllib.request.proxy_bypass("localhost")
