"""The federation's registry: the questions a director asks it, as HTTP.

An answer, no answer, and an answer that cannot be used are three different things. Only the first may change what is
believed of a server: a registry that is down, overloaded or behind a proxy showing its own page says nothing about
anybody.

Source: Pelican `director/origin_api.go:checkNamespaceStatus`, `utils/registry_jwks/registry_jwks.go`,
`director/registry_periodic_query.go`.
"""

import json
from collections.abc import Mapping
from typing import Any, Final, Protocol
from urllib.parse import quote, urlsplit

from director_wsgi.limits.deadline import Deadline
from director_wsgi.outbound.client import Answer, OutboundError
from director_wsgi.trust.keys import KeySet, NotAKeySet, parse_key_set

_API: Final = "/api/v1.0/registry"
_PREFIX_SAFE: Final = "/:@!$&'()*+,;="
_SMALL: Final = 256 << 10
_TABLE: Final = 16 << 20
_MAX_REASON = 200
_ASK_LATER: Final = frozenset({408, 425, 429})


class RegistryError(Exception):
    """The registry did not say what was asked; `str()` names no host."""


class NoAnswer(RegistryError):
    """It could not be reached in time, or says that it cannot answer now."""


class BadAnswer(RegistryError):
    """It answered something else.

    Attributes:
        settles: It refused the question itself (4xx), so what was believed before no longer holds. Otherwise the answer
            makes no sense, and proves nothing.
    """

    def __init__(self, message: str, *, settles: bool) -> None:
        self.settles = settles
        super().__init__(message)


class Sender(Protocol):
    """What is needed of `outbound.client.HttpClient`."""

    def send(
        self,
        method: str,
        url: str,
        *,
        deadline: Deadline,
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
        max_bytes: int = ...,
    ) -> Answer:
        """One exchange; any status is an answer."""
        ...


class Registry:
    """The questions, one call each. Safe between threads; remembers nothing.

    Every method raises `NoAnswer` or `BadAnswer`, and nothing else.
    """

    def __init__(self, client: Sender, url: str) -> None:
        """Know where to ask.

        Args:
            client: Keeps connections alive, so that many questions in a row cost one handshake.
            url: `Federation.RegistryUrl`.
        """
        self._client = client
        self._base = url.rstrip("/") + _API

    def is_approved(self, prefix: str, deadline: Deadline) -> bool:
        """Whether an administrator approved the prefix; true if the registry is too old to know of approvals."""
        answer = self._send(
            "POST", f"{self._base}/checkNamespaceStatus", deadline, body=json.dumps({"prefix": prefix}).encode()
        )
        if answer.status == 404:
            return True
        approved = _object(answer).get("approved")
        if not isinstance(approved, bool):
            raise BadAnswer("the registry's answer does not say whether the prefix is approved", settles=False)
        return approved

    def key_set(self, prefix: str, deadline: Deadline) -> KeySet:
        """The public keys registered for the prefix; two requests."""
        issuer = self._base + quote(prefix, safe=_PREFIX_SAFE)
        answer = self._send("GET", f"{issuer}/.well-known/openid-configuration", deadline)
        url = f"{issuer}/.well-known/issuer.jwks" if answer.status == 404 else _jwks_uri(_object(answer))
        answer = _ok(self._send("GET", url, deadline))
        try:
            return parse_key_set(answer.body)
        except NotAKeySet as error:
            raise BadAnswer(f"the registry's key set cannot be read: {error}", settles=False) from None

    def allowed_prefixes(self, deadline: Deadline) -> dict[str, frozenset[str]]:
        """Host name of each restricted cache, in lower case, and the prefixes it may serve."""
        answer = self._send("GET", f"{self._base}/caches/allowedPrefixes", deadline, max_bytes=_TABLE)
        table: dict[str, frozenset[str]] = {}
        for host, prefixes in _object(answer).items():
            if not isinstance(prefixes, list) or not all(isinstance(prefix, str) for prefix in prefixes):
                raise BadAnswer("the registry's table of allowed prefixes cannot be read", settles=False)
            table[host.lower()] = frozenset(prefixes)
        return table

    def _send(
        self, method: str, url: str, deadline: Deadline, *, body: bytes | None = None, max_bytes: int = _SMALL
    ) -> Answer:
        headers = {"Accept": "application/json"} | ({"Content-Type": "application/json"} if body else {})
        try:
            answer = self._client.send(method, url, deadline=deadline, headers=headers, body=body, max_bytes=max_bytes)
        except OutboundError as error:
            raise NoAnswer(f"the registry could not be asked: {error.failure.value}") from None
        if answer.status >= 500 or answer.status in _ASK_LATER:
            raise NoAnswer(f"the registry answered {answer.status}")
        return answer


def _ok(answer: Answer) -> Answer:
    if answer.status != 200:
        reason = f"the registry answered {answer.status}{_reason(answer.body)}"
        raise BadAnswer(reason, settles=400 <= answer.status < 500)
    return answer


def _object(answer: Answer) -> dict[str, Any]:
    value = _json(_ok(answer).body)
    if not isinstance(value, dict):
        raise BadAnswer("the registry's answer is not a JSON object", settles=False)
    return value


def _json(body: bytes) -> Any:
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None


def _reason(body: bytes) -> str:
    """What an error answer says for itself, if it can be shown."""
    value = _json(body)
    said = (value.get("msg") or value.get("error")) if isinstance(value, dict) else None
    if not isinstance(said, str):
        return ""
    return ": " + "".join(character for character in said[:_MAX_REASON] if character.isprintable())


def _jwks_uri(configuration: Mapping[str, Any]) -> str:
    """Where the keys are, as the registry says."""
    uri = configuration.get("jwks_uri")
    try:
        parts = urlsplit(uri) if isinstance(uri, str) else None
        is_usable = parts is not None and parts.scheme in {"http", "https"} and bool(parts.hostname)
    except ValueError:
        is_usable = False
    if not isinstance(uri, str) or not is_usable:
        raise BadAnswer("the registry's openid-configuration has no usable jwks_uri", settles=False)
    return uri
