"""Where the programs of others are, and how they are run: bounded, without standard input, with a clean environment."""

import hashlib
import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NoReturn

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
CLIENTS_PYTHON = REPOSITORY / ".venv-clients" / "bin" / "python"
RUN_LIMIT_S = 60.0

_HTTP_PLUG_IN = """\
url = http://*;https://*
lib = libXrdClHttp.so
enable = true
"""


def program(name: str, *, package: str) -> str:
    """Return the path of a program; where it is missing, fail in CI and skip elsewhere.

    Args:
        name: The program's name.
        package: What to install for it, said in the reason.
    """
    found = shutil.which(name)
    if found is None:
        absent(f"{name} is not installed (Debian package {package})")
    return found


def clients_python() -> str:
    """Return the interpreter of the environment that holds the Python clients; fail or skip as `program` does."""
    if not CLIENTS_PYTHON.exists():
        absent("the environment of the Python clients is missing (make clients)")
    return str(CLIENTS_PYTHON)


def http_plug_in() -> str:
    """Return the configuration by which XRootD's client speaks HTTP; fail or skip as `program` does."""
    if not any(Path("/usr/lib").glob("*/libXrdClHttp-*.so")):
        absent("the HTTP plug-in of XRootD's client is not installed (Debian package xrootd-client-http-plugins)")
    return _HTTP_PLUG_IN


def trust_directory(ca: Path, directory: Path) -> Path:
    """Make a directory as davix looks for authorities in: of links named after the hashes of their subjects."""
    authorities = directory / "authorities"
    authorities.mkdir()
    (authorities / "ca.pem").write_bytes(ca.read_bytes())
    run([program("openssl", package="openssl"), "rehash", str(authorities)], home=directory)
    return authorities


def absent(what: str) -> NoReturn:
    """Fail in CI, where nothing may be left out; skip elsewhere."""
    if os.environ.get("CI", "").lower() in {"1", "true", "yes"}:
        pytest.fail(what)
    pytest.skip(what)


def run(
    arguments: Sequence[str],
    *,
    home: Path,
    environment: Mapping[str, str] | None = None,
    stdin: bytes = b"",
    expect: int | None = 0,
) -> subprocess.CompletedProcess[bytes]:
    """Run a program to its end, within a minute.

    Nothing of this process's environment is handed on but PATH: proxies, tokens and configuration files of whoever
    runs the tests must not decide their outcome.

    Args:
        arguments: Program and arguments.
        home: Its home directory, where it finds no configuration.
        environment: Further variables.
        stdin: What it reads.
        expect: The exit code it must have; None if any will do.
    """
    variables = {"PATH": os.environ["PATH"], "HOME": str(home), "LC_ALL": "C.UTF-8", **(environment or {})}
    done = subprocess.run(
        arguments, input=stdin, capture_output=True, env=variables, cwd=home, timeout=RUN_LIMIT_S, check=False
    )
    if expect is not None and done.returncode != expect:
        shown = f"{done.stdout[-2000:]!r}\n{done.stderr[-4000:].decode(errors='replace')}"
        pytest.fail(f"{' '.join(arguments)} ended with {done.returncode}, not {expect}:\n{shown}")
    return done


def sha256(data: bytes) -> str:
    """Return the digest that two copies of the same bytes share, in hexadecimal."""
    return hashlib.sha256(data).hexdigest()


def sha256_of(path: Path) -> str:
    """Return the digest of a file's bytes, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
