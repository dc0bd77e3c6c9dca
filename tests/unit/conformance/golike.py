"""Reads JSON as strictly as Go's decoder does, and complains about members that nobody described."""

import datetime as dt
from typing import Any

TEXT, BOOL, INT, UINT, NUMBER, TIME = "string", "bool", "int64", "uint64", "float64", "time.Time"

Shape = Any
"""One of the words above; `[shape]` for a slice, which may be null; a dictionary for a struct."""


def decode(value: object, shape: Shape, where: str = "$") -> None:
    """Fail if a Go program could not read `value` into a variable of this shape, or would miss a member."""
    if isinstance(shape, list):
        if value is not None:
            assert isinstance(value, list), f"{where}: {value!r} is no slice"
            for index, element in enumerate(value):
                decode(element, shape[0], f"{where}[{index}]")
    elif isinstance(shape, dict):
        assert isinstance(value, dict), f"{where}: {value!r} is no struct"
        assert value.keys() == shape.keys(), f"{where}: {value.keys() ^ shape.keys()}"
        for name, inner in shape.items():
            decode(value[name], inner, f"{where}.{name}")
    else:
        assert _is(value, shape), f"{where}: {value!r} is no {shape}"


def could_read(value: object, shape: Shape) -> bool:
    """Whether Go's decoder would take `value` as it comes from strangers.

    Members may be missing or null, their case does not matter, and those that nobody knows are skipped.
    """
    if value is None:
        return True
    if isinstance(shape, list):
        return isinstance(value, list) and all(could_read(element, shape[0]) for element in value)
    if isinstance(shape, dict):
        inner = {name.casefold(): one for name, one in shape.items()}
        return isinstance(value, dict) and all(
            could_read(one, inner[name.casefold()]) for name, one in value.items() if name.casefold() in inner
        )
    return _is(value, shape)


def _is(value: object, word: str) -> bool:
    match word:
        case "string":
            return isinstance(value, str)
        case "bool":
            return isinstance(value, bool)
        case "int64":
            return type(value) is int and -(2**63) <= value < 2**63
        case "uint64":
            return type(value) is int and 0 <= value < 2**64
        case "float64":
            return type(value) in {int, float} and value == value
        case _:
            return isinstance(value, str) and dt.datetime.fromisoformat(value).tzinfo is not None


CAPABILITIES = dict.fromkeys(("PublicRead", "Read", "Write", "Listing", "FallBackRead", "Copies"), BOOL)

DOWNTIME = {
    **dict.fromkeys(
        ("id", "serverName", "serverId", "createdBy", "updatedBy", "source", "class", "description", "severity"), TEXT
    ),
    **dict.fromkeys(("startTime", "endTime", "createdAt", "updatedAt"), INT),
}
"""A downtime, but for `deletedAt`, which may be null."""

SERVER = {
    **dict.fromkeys(("name", "serverId", "registryPrefix", "version", "type", "storageType"), TEXT),
    "disableDirectorTest": BOOL,
    **dict.fromkeys(("authUrl", "brokerUrl", "url", "webUrl"), TEXT),
    **dict.fromkeys(("latitude", "longitude"), NUMBER),
    "coordinate": {"Lat": NUMBER, "Long": NUMBER, "AccuracyRadius": UINT, "Source": TEXT, "FromTTLCache": BOOL},
    "capabilities": CAPABILITIES,
    "filtered": BOOL,
    "filteredType": TEXT,
    "downtimes": [DOWNTIME],
    "fromTopology": BOOL,
    "healthStatus": TEXT,
    "serverStatus": TEXT,
    "ioLoad": NUMBER,
    "statusWeight": NUMBER,
    "statusWeightLastUpdate": INT,
}

NAMESPACE = {
    "path": TEXT,
    "capabilities": CAPABILITIES,
    "tokenGeneration": [{"strategy": TEXT, "vaultServer": TEXT, "maxScopeDepth": UINT, "issuer": TEXT}],
    "tokenIssuer": [{"basePaths": [TEXT], "restrictedPaths": [TEXT], "issuer": TEXT}],
    "fromTopology": BOOL,
}

DIRECTOR = {
    "name": TEXT,
    "startTime": INT,
    "instanceID": TEXT,
    "generationID": UINT,
    "version": TEXT,
    "expiry": TIME,
    "advertise_url": TEXT,
}

TARGET = {
    "targets": [TEXT],
    "labels": dict.fromkeys(
        (
            "server_type",
            "server_name",
            "server_auth_url",
            "server_url",
            "server_web_url",
            "server_lat",
            "server_long",
        ),
        TEXT,
    ),
}

URL = {
    **dict.fromkeys(
        ("Scheme", "Opaque", "Host", "Path", "RawPath", "RawQuery", "Fragment", "RawFragment"),
        TEXT,
    ),
    "User": {},
    **dict.fromkeys(("OmitHost", "ForceQuery"), BOOL),
}

NAMESPACE_AD = {
    "Caps": CAPABILITIES,
    "path": TEXT,
    "token-generation": [{"strategy": TEXT, "vault-server": TEXT, "max-scope-depth": UINT, "issuer": URL}],
    "token-issuer": [{"base-paths": [TEXT], "restricted-paths": [TEXT], "issuer": URL}],
    "from-topology": BOOL,
}
"""A namespace as it is advertised and listed: an issuer is an object."""
