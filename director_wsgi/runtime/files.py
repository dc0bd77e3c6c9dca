"""Files that a configuration names: are they there, and are they what they should be?"""

import os
import ssl
from pathlib import Path


def complaint(path: Path, *, directory: bool) -> str:
    """Why a file, or a directory, cannot be used; empty if it can."""
    noun = "directory" if directory else "file"
    try:
        found = path.is_dir() if directory else path.is_file()
        if not found:
            return f"expected a {noun}, this is something else" if path.exists() else f"there is no such {noun}"
    except OSError as error:
        return f"expected a {noun}; {error.strerror}"
    if not os.access(path, os.R_OK | (os.X_OK if directory else 0)):
        return f"this user may not read that {noun}"
    return ""


def exists(path: Path) -> bool:
    """Whether there is anything by that name that this user can see."""
    try:
        return path.exists()
    except OSError:
        return False


def certificate_complaint(chain: Path, key: Path) -> str:
    """Why a certificate and a key cannot serve TLS; empty if they can."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        # The password keeps OpenSSL from asking for one on the terminal.
        context.load_cert_chain(chain, key, password="-")  # noqa: S106, it opens nothing
    except (ssl.SSLError, OSError) as error:
        return f"expected a certificate and its unencrypted key, both PEM; {_reason(error)}"
    return ""


def authorities_complaint(authorities: Path) -> str:
    """Why a file cannot serve as certificate authorities; empty if it can."""
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(authorities)
    except (ssl.SSLError, OSError) as error:
        return f"expected certificates (PEM); {_reason(error)}"
    return ""


def _reason(error: OSError) -> str:
    if isinstance(error, ssl.SSLError) and error.reason:
        return error.reason.lower().replace("_", " ")
    return error.strerror or "OpenSSL cannot read them"
