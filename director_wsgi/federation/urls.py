"""URLs of objects at servers."""

import re
from urllib.parse import quote

PATH_SAFE = "/$&+,:;=@"
"""What Go leaves as it is in a path, beside letters, digits, `_`, `.`, `-` and `~`."""

_SAFE = re.compile(rf"[A-Za-z0-9_.~{re.escape(PATH_SAFE)}-]*")


def quote_path(path: str) -> str:
    """A decoded object path as it stands in a URL.

    Everything outside Go's unescaped set becomes `%XX`, in upper case; other characters are encoded as UTF-8 first, and
    bytes that are no UTF-8 come back as they were (PEP 383).

    Source: Go `url.URL.String`.
    """
    return path if _SAFE.fullmatch(path) else quote(path, safe=PATH_SAFE, errors="surrogateescape")
