"""`director-wsgi keys`: which keys the director has, and how one takes another's place.

A running director follows the files by itself, so nothing here talks to it.
"""

import datetime as dt
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from director_wsgi.limits.deadline import WallClock, wall
from director_wsgi.runtime.config import Config
from director_wsgi.runtime.sources import load
from director_wsgi.trust.issuer import public_jwks
from director_wsgi.trust.key_files import NameTaken, add_key, loose_permissions, retire_key
from director_wsgi.trust.keyring import PUBLISHING_S, REFRESH_S, KeyOutlook, KeyRing
from director_wsgi.trust.tokens import LEEWAY_S

_HEADINGS: Final = ("KID", "ALGORITHM", "STATE", "FILE")


class KeysError(Exception):
    """It cannot be done; the text says why, and what can."""


def listed(environ: Mapping[str, str], cwd: Path, *, as_json: bool, wall: WallClock = wall) -> str:
    """Every key that is published, as a table or as JSON.

    Raises:
        ConfigError: The configuration, or a key, cannot be used.
    """
    config, ring = _opened(environ, cwd, wall)
    rows = [_row(one) for one in ring.outlook()] + _extra_rows(config)
    if as_json:
        return json.dumps(rows, indent=2)
    if not rows:
        return (
            f"There is no key. A director that starts makes one in {config.issuer_keys_directory}, "
            "and so does `director-wsgi keys rotate`."
        )
    lines = [_HEADINGS, *((row["kid"], row["algorithm"], _state(row), row["file"]) for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(_HEADINGS))]
    table = "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines
    )
    warning = loose_permissions(config.issuer_keys_directory)
    return table if warning is None else f"{table}\nwarning: {warning}"


def rotated(environ: Mapping[str, str], cwd: Path, *, wall: WallClock = wall) -> str:
    """Add a key that will sign; says what happens when.

    Raises:
        ConfigError: The configuration, or a key, cannot be used.
        KeysError: No key can be added.
    """
    config, ring = _opened(environ, cwd, wall)
    directory = config.issuer_keys_directory
    if directory is None:
        raise KeysError("IssuerKeysDirectory is not set, so there is no place for another key")
    before = ring.signing_key()
    try:
        file = add_key(directory, wall=wall)
    except NameTaken:
        raise KeysError("a key has been added within this second; see `director-wsgi keys`") from None
    except OSError as error:
        raise KeysError(f"{directory}: the key cannot be written: {error.strerror}") from None
    ring.refresh()
    added = next((one for one in ring.outlook() if one.key.source == file), None)
    if added is None:
        raise KeysError(f"{file} was written, but the keys cannot be read any more; see `director-wsgi keys`")
    said = [
        f"added     {added.key.kid} ({file})",
        f"published within {REFRESH_S:.0f} s by a director that runs, at /.well-known/issuer.jwks",
    ]
    if before is None:
        return "\n".join([*said, "signs     as soon as it is published: there is no other"])
    signs_at = added.since_at + PUBLISHING_S
    return "\n".join(
        [
            *said,
            f"signs     from {_time(signs_at)} on, when everybody has it; until then {before.kid} does",
            f"then      director-wsgi keys retire {before.kid}",
            f"          not before {_time(signs_at + _longest_life_s(config))}: until then tokens that it signed live",
        ]
    )


def retired(environ: Mapping[str, str], cwd: Path, wanted: str, *, wall: WallClock = wall) -> str:
    """Take a key out of use, and out of what is published.

    Args:
        environ: The environment.
        cwd: What relative names start from.
        wanted: Its kid, or the name of its file.
        wall: Unix seconds.

    Raises:
        ConfigError: The configuration, or a key, cannot be used.
        KeysError: There is no such key, or it must not be retired.
    """
    config, ring = _opened(environ, cwd, wall)
    outlook = ring.outlook()
    one = next((one for one in outlook if wanted in {one.key.kid, one.key.source.name, str(one.key.source)}), None)
    if one is None:
        if any(wanted == row["kid"] for row in _extra_rows(config)):
            raise KeysError(f"{wanted} stands in Server.IssuerJwks, {config.issuer_jwks}: take it out there")
        raise KeysError(f"there is no key {wanted}; see `director-wsgi keys`")
    if one.signs:
        raise KeysError(f"{one.key.kid} signs; `director-wsgi keys rotate` adds a key that will take its place")
    if one.key.source.parent != config.issuer_keys_directory:
        raise KeysError(f"{one.key.source} is IssuerKey: take it out of the configuration, or the file away")
    try:
        file = retire_key(one.key.source)
    except NameTaken as error:
        raise KeysError(f"{one.key.source.with_name(str(error))} exists already; move it away") from None
    except OSError as error:
        raise KeysError(f"{one.key.source}: cannot be renamed: {error.strerror}") from None
    said = [
        f"retired   {one.key.kid} ({file})",
        f"published no more within {REFRESH_S:.0f} s by a director that runs; to undo it, give the file its name again",
    ]
    ends_at = _tokens_end_at(one, outlook, config)
    if ends_at is not None and ends_at > wall():
        said.append(f"warning: tokens that it signed live until {_time(ends_at)}, and will be refused from now on")
    return "\n".join(said)


def _opened(environ: Mapping[str, str], cwd: Path, wall: WallClock) -> tuple[Config, KeyRing]:
    config = load(environ, cwd)
    ring = KeyRing(
        directory=config.issuer_keys_directory, single=config.issuer_key, extra=config.issuer_jwks, wall=wall
    )
    return config, ring


def _row(one: KeyOutlook) -> dict[str, Any]:
    return {
        "kid": one.key.kid,
        "algorithm": one.key.algorithm,
        "file": str(one.key.source),
        "signs": one.signs,
        "signs_at": None if one.signs_at is None else _time(one.signs_at),
    }


def _extra_rows(config: Config) -> list[dict[str, Any]]:
    """Those of `Server.IssuerJwks`, whose private halves are elsewhere."""
    keys: Any = public_jwks((), config.issuer_jwks)["keys"]
    return [
        {
            "kid": str(key.get("kid", "")),
            "algorithm": str(key.get("alg", "")),
            "file": str(config.issuer_jwks),
            "signs": False,
            "signs_at": None,
        }
        for key in keys
    ]


def _state(row: Mapping[str, Any]) -> str:
    if row["signs"]:
        return "signs"
    return f"published, will sign at {row['signs_at']}" if row["signs_at"] else "published only"


def _longest_life_s(config: Config) -> float:
    """Of the tokens that a director makes by itself. Those of `director-wsgi token` live as long as one likes."""
    return config.fed_token_lifetime_s + LEEWAY_S


def _tokens_end_at(one: KeyOutlook, outlook: tuple[KeyOutlook, ...], config: Config) -> float | None:
    """When the last token that this key may have signed ends; None if it has signed none."""
    if one.signs_at is not None:
        return None
    signing = next(other for other in outlook if other.signs)
    return signing.since_at + PUBLISHING_S + _longest_life_s(config)


def _time(at: float) -> str:
    return dt.datetime.fromtimestamp(at, dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
