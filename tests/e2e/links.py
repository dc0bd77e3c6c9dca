"""The `Link` header of a redirect, read strictly."""

import re
from dataclasses import dataclass
from urllib.parse import urlsplit

_ENTRY = re.compile(r'<([^<>]*)>; rel="duplicate"; pri=([1-9][0-9]*); depth=([0-9]+)')


@dataclass(frozen=True, slots=True)
class Link:
    """One source of an object."""

    url: str
    priority: int
    depth: int

    @property
    def server(self) -> str:
        """Scheme, host and port."""
        parts = urlsplit(self.url)
        return f"{parts.scheme}://{parts.netloc}"


def links_of(header: str) -> list[Link]:
    """Return the entries of a `Link` header, in order.

    It is cut at every comma, and an entry at every semicolon, as the Go client does: a URL that holds one of them bare
    would fall apart here as it does there.
    """
    links = []
    for entry in header.split(","):
        fields = [field.strip() for field in entry.split(";")]
        match = _ENTRY.fullmatch("; ".join(fields))
        assert match is not None, f"not an entry of Link: {entry}"
        assert len(fields) == 4, f"a bare semicolon in a URL of Link: {entry}"
        links.append(Link(match[1], int(match[2]), int(match[3])))
    return links
