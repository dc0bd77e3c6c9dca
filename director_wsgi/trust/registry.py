"""The federation's registry: the questions a director asks it, as HTTP.

An answer, no answer, and an answer that cannot be used are three different things. Only the first may change what is
believed of a server: a registry that is down, overloaded or behind a proxy showing its own page says nothing about
anybody.

Source: Pelican `director/origin_api.go:checkNamespaceStatus`, `utils/registry_jwks/registry_jwks.go`,
`director/registry_periodic_query.go`, `director/director.go:downtimeNameAuthorized`,
`director/cache_ads.go:updateDowntimeFromRegistry`.
"""

import json
from collections.abc import Mapping
from typing import Any, Final, Protocol
from urllib.parse import quote, urlsplit

from director_wsgi.limits.deadline import Deadline
from director_wsgi.outbound.client import Answer, Failure, OutboundError
from director_wsgi.trust.keys import KeySet, NotAKeySet, parse_key_set

_API: Final = "/api/v1.0/registry"
_PREFIX_SAFE: Final = "/:@!$&'()*+,;="
_SMALL: Final = 64 << 10
_TABLE: Final = 16 << 20
_MAX_ROWS: Final = 20_000
_MAX_REASON = 200
_MAX_PREFIX: Final = 2048
_MAX_NAME: Final = 256
_ASK_LATER: Final = frozenset({408, 425, 429, 502, 503, 504})


class RegistryError(Exception):
    """The registry did not say what was asked; `str()` names no host.

    Attributes:
        is_general: Any other question would have ended so, too: nobody is there, it is overloaded, or somebody else
            answers in its place. Otherwise it may be this question's fault.
    """

    def __init__(self, message: str, *, is_general: bool = False) -> None:
        self.is_general = is_general
        super().__init__(message)


class NoAnswer(RegistryError):
    """It could not be reached in time, or says that it cannot answer now."""


class Closed(NoAnswer):
    """This side hung up: the director is ending."""


class BadAnswer(RegistryError):
    """It answered something else.

    Attributes:
        settles: The registry refused the question itself (4xx, in its own words, which are JSON), so what was believed
            before no longer holds. Otherwise the answer makes no sense, and proves nothing: many a proxy says 404 for
            a server that is away.
    """

    def __init__(self, message: str, *, settles: bool, is_general: bool = False) -> None:
        self.settles = settles
        super().__init__(message, is_general=is_general)


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
    """The questions, one call each. Safe between threads; remembers no answer.

    Every method raises `NoAnswer` or `BadAnswer`, and nothing else.
    """

    def __init__(self, client: Sender, url: str) -> None:
        """Know where to ask.

        Args:
            client: Keeps connections alive, so that many questions in a row cost one handshake.
            url: `Federation.RegistryUrl`.
        """
        self._client = client
        self._url = url.rstrip("/")
        self._base = self._url + _API
        self._knows_approvals = False  # until it has spoken of one; never unset

    @property
    def url(self) -> str:
        """Where it is asked; without a slash at the end."""
        return self._url

    @property
    def knows_approvals(self) -> bool:
        """Whether it has ever spoken of one."""
        return self._knows_approvals

    def has_spoken_of_approvals(self) -> None:
        """Take down that it has: somebody else has heard it."""
        self._knows_approvals = True

    def is_approved(self, prefix: str, deadline: Deadline) -> bool:
        """Whether an administrator approved the prefix.

        True, too, if the registry is too old to know of approvals, which is to say that it answers 404, and always has:
        one that has spoken of approvals before has not grown old since.
        """
        _quoted(prefix)
        answer = self._send(
            "POST", f"{self._base}/checkNamespaceStatus", deadline, body=json.dumps({"prefix": prefix}).encode()
        )
        if answer.status == 404:
            if self._knows_approvals:
                raise BadAnswer("the registry answered 404 to what it has answered before", settles=False)
            return True
        approved = _object(answer).get("approved")
        if not isinstance(approved, bool):
            raise BadAnswer("the registry's answer does not say whether the prefix is approved", settles=False)
        self._knows_approvals = True
        return approved

    def key_set(self, prefix: str, deadline: Deadline) -> KeySet:
        """The public keys registered for the prefix; two requests.

        An empty set is one; a set of keys none of which can be used is not.
        """
        issuer = self._base + _quoted(prefix)
        answer = self._send("GET", f"{issuer}/.well-known/openid-configuration", deadline)
        if answer.status == 404:
            url = f"{issuer}/.well-known/issuer.jwks"
        else:
            url = _jwks_uri(_object(answer), must_be_https=self._url.startswith("https:"))
        answer = _ok(self._send("GET", url, deadline))
        try:
            keys = parse_key_set(answer.body)
        except NotAKeySet as error:
            raise BadAnswer(f"the registry's key set cannot be read: {error}", settles=False) from None
        if not keys.keys and _json(answer.body)["keys"]:
            raise BadAnswer("the registry's key set holds no key that can be used", settles=False)
        return keys

    def registered_name(self, prefix: str, deadline: Deadline) -> str:
        """The name of the server registered under the prefix.

        A server that the registry does not know is told by 500, which cannot be told from trouble: `NoAnswer`.
        """
        name = _object(self._send("GET", f"{self._base}/server{_quoted(prefix)}", deadline)).get("name")
        if not isinstance(name, str) or not 0 < len(name) <= _MAX_NAME:
            raise BadAnswer("the registry's answer does not name the server", settles=False)
        return name

    def downtimes(self, deadline: Deadline) -> list[Any]:
        """Every downtime that the registry knows of, as it is: at most 20,000 JSON values of any kind."""
        answer = _ok(self._send("GET", f"{self._url}/api/v1.0/downtime", deadline, max_bytes=_TABLE))
        rows = _json(answer.body)
        if not isinstance(rows, list) or len(rows) > _MAX_ROWS:
            raise BadAnswer("the registry's list of downtimes cannot be read", settles=False)
        return rows

    def allowed_prefixes(self, deadline: Deadline) -> dict[str, frozenset[str]]:
        """Each restricted cache, as the registry names it, but in lower case, and the prefixes it may serve.

        The name is what follows `/caches/` in its registration: a host name or the name of a site.
        """
        answer = self._send("GET", f"{self._base}/caches/allowedPrefixes", deadline, max_bytes=_TABLE)
        rows = _object(answer)
        if len(rows) > _MAX_ROWS or not all(_is_list_of_strings(prefixes) for prefixes in rows.values()):
            raise BadAnswer("the registry's table of allowed prefixes cannot be read", settles=False)
        return {name.lower(): frozenset(prefixes) for name, prefixes in rows.items()}

    def _send(
        self, method: str, url: str, deadline: Deadline, *, body: bytes | None = None, max_bytes: int = _SMALL
    ) -> Answer:
        headers = {"Accept": "application/json"} | ({"Content-Type": "application/json"} if body else {})
        try:
            answer = self._client.send(method, url, deadline=deadline, headers=headers, body=body, max_bytes=max_bytes)
        except OutboundError as error:
            message = f"the registry could not be asked: {error.failure.value}"
            if error.failure is Failure.CLOSED:
                raise Closed(message) from None
            is_general = self._is_registry(url) and error.failure is not Failure.TOO_LARGE
            raise NoAnswer(message, is_general=is_general) from None
        if answer.status >= 500 or answer.status in _ASK_LATER:
            is_general = self._is_registry(url) and answer.status in _ASK_LATER
            raise NoAnswer(f"the registry answered {answer.status}", is_general=is_general)
        return answer

    def _is_registry(self, url: str) -> bool:
        """Whether that is its own address, and not where it says that keys are."""
        return url.startswith(f"{self._url}/")


def _quoted(prefix: str) -> str:
    """The prefix as part of a URL.

    Raises:
        BadAnswer: Nothing can be registered under it, so there is no need to ask.
    """
    if not prefix.startswith("/") or len(prefix) > _MAX_PREFIX:
        raise BadAnswer("the prefix does not begin with a slash, or is too long", settles=True)
    try:
        return quote(prefix, safe=_PREFIX_SAFE)
    except UnicodeEncodeError:  # half of a surrogate pair, as JSON allows
        raise BadAnswer("the prefix is not text", settles=True) from None


def _is_list_of_strings(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)


def _ok(answer: Answer) -> Answer:
    if answer.status == 200:
        return answer
    is_its_own = isinstance(_json(answer.body), dict)
    raise BadAnswer(
        f"the registry answered {answer.status}{_reason(answer.body)}",
        settles=is_its_own and 400 <= answer.status < 500,
        is_general=not is_its_own,
    )


def _object(answer: Answer) -> dict[str, Any]:
    value = _json(_ok(answer).body)
    if not isinstance(value, dict):
        raise BadAnswer("the registry's answer is not a JSON object", settles=False, is_general=value is None)
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


def _jwks_uri(configuration: Mapping[str, Any], *, must_be_https: bool) -> str:
    """Where the keys are, as the registry says. What is asked for under TLS leads nowhere without."""
    schemes = {"https"} if must_be_https else {"http", "https"}
    uri = configuration.get("jwks_uri")
    try:
        parts = urlsplit(uri) if isinstance(uri, str) else None
        is_usable = parts is not None and parts.scheme in schemes and bool(parts.hostname)
    except ValueError:
        is_usable = False
    if not isinstance(uri, str) or not is_usable:
        raise BadAnswer("the registry's openid-configuration has no usable jwks_uri", settles=False)
    return uri
