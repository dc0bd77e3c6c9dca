"""Advertisements as bytes and back, for a store. Pure.

A byte that says which form it is, four for the length of what follows, then the advertisement without its namespaces,
then these, a line for each, both compressed JSON. A dataclass is the array of its fields, in their order; so a model
that gains, loses or moves a field needs a new `VERSION`. What another version wrote cannot be read and is not missed
for long: its sender comes again within a minute.

All caches of a federation advertise the same namespaces. Equal lines become one object, as in `federation.ads`, and a
line that is known is not parsed again. Nor is a list that is known as a whole, and one that was written a moment ago is
not put together again: for three thousand namespaces that would take 20 ms for each cache.
"""

import enum
import json
import struct
import types
import zlib
from collections.abc import Callable
from dataclasses import fields, is_dataclass
from typing import Any, Final, get_args, get_origin, get_type_hints
from weakref import WeakValueDictionary

from director_wsgi.federation.lists import LONG_BYTES, KnownLists, ListKey, interned
from director_wsgi.federation.models import NamespaceAd, ServerAd

VERSION: Final = 2
"""The first byte."""

MAX_TEXT_BYTES: Final = 128 << 20
"""What a body may be decompressed to: more than the largest advertisement that is accepted could become."""

_LEVEL: Final = 1  # higher ones cost thrice the time for a tenth of the size

_known: WeakValueDictionary[str, NamespaceAd] = WeakValueDictionary()
"""Namespaces by the line they were read from, for as long as anybody holds them."""

_HEAD: Final = struct.Struct(">BI")
"""The version, and the length of the advertisement without its namespaces."""

WRITTEN: Final = 4
"""Lists of namespaces whose bytes are kept to be written again."""

MAX_WRITTEN_CHARS: Final = 4 << 20
"""Text of the longest one that is: more than ten times what a large federation has."""

_Convert = Callable[[Any], Any]


class UnreadableBody(ValueError):
    """The bytes are no advertisement, or one in a form of another version."""


class _Written:
    """The lists of namespaces that were written last, by identity; caches share theirs. Any number of threads."""

    def __init__(self) -> None:
        self._bodies: dict[int, tuple[tuple[NamespaceAd, ...], bytes]] = {}  # replaced as a whole

    def body(self, namespaces: tuple[NamespaceAd, ...]) -> bytes:
        """The list as bytes."""
        known = self._bodies.get(id(namespaces))  # what is held here has its identity to itself
        if known is not None:
            return known[1]
        text = "\n".join([_dump(_pack_namespace(namespace)) for namespace in namespaces])
        body = zlib.compress(text.encode("ascii"), _LEVEL)
        if LONG_BYTES <= len(text) <= MAX_WRITTEN_CHARS:
            self._bodies = dict([*self._bodies.items(), (id(namespaces), (namespaces, body))][-WRITTEN:])
        return body


_written = _Written()
_read = KnownLists()


def encode_ad(ad: ServerAd) -> bytes:
    """The advertisement with all that it says; `decode_ad` gives an equal one back."""
    head = zlib.compress(_dump(_pack_head(ad)).encode("ascii"), _LEVEL)
    return _HEAD.pack(VERSION, len(head)) + head + _written.body(ad.namespaces)


def decode_ad(body: bytes) -> ServerAd:
    """Read what `encode_ad` made.

    Raises:
        UnreadableBody: It did not make this.
    """
    if body[:1] != bytes((VERSION,)):
        raise UnreadableBody("an advertisement in a form of another version")
    try:
        _version, length = _HEAD.unpack_from(body)
        start = _HEAD.size + length
        values = _unpack_head(json.loads(_decompressed(body[_HEAD.size : start])))
        return ServerAd(**values, namespaces=_list(body[start:]))
    except (ValueError, TypeError, KeyError, RecursionError, zlib.error, struct.error) as error:
        raise UnreadableBody(f"not an advertisement: {error}") from None


def _list(body: bytes) -> tuple[NamespaceAd, ...]:
    key = ListKey.of(body)
    known = _read.get(key)
    if known is not None:
        return known
    text = _decompressed(body).decode("ascii")
    namespaces = tuple(map(_namespace, text.split("\n"))) if text else ()
    if len(text) >= LONG_BYTES:
        _read.learn(key, namespaces)
    return namespaces


def _decompressed(data: bytes) -> bytes:
    decompressor = zlib.decompressobj()
    text = decompressor.decompress(data, MAX_TEXT_BYTES)
    if not decompressor.eof or decompressor.unused_data:
        raise ValueError("it is cut off, too long, or more follows")
    return text


def _namespace(line: str) -> NamespaceAd:
    known = _known.get(line)
    if known is None:
        known = _known.setdefault(line, interned(_unpack_namespace(json.loads(line))))
    return known


def _checked(wanted: type) -> _Convert:
    def check(value: Any) -> Any:
        if type(value) is not wanted:
            raise TypeError(f"expected {wanted.__name__}, not {type(value).__name__}")
        return value

    return check


def _number(value: Any) -> float:
    if type(value) not in {float, int}:
        raise TypeError(f"expected a number, not {type(value).__name__}")
    return float(value)


def _array(value: Any, length: int | None = None) -> list[Any]:
    if type(value) is not list or length not in {None, len(value)}:
        raise TypeError("expected an array" + ("" if length is None else f" of {length}"))
    return value


def _same(value: Any) -> Any:
    return value


def _converters(hint: Any) -> tuple[_Convert, _Convert]:
    """How a value of that type is packed, and how it is unpacked."""
    if hint is float:
        return _same, _number
    if hint in {str, int, bool}:
        return _same, _checked(hint)
    if is_dataclass(hint) and isinstance(hint, type):
        return _of_dataclass(hint)
    if isinstance(hint, type) and issubclass(hint, enum.Enum):
        return (lambda member: member.value), hint
    pack, unpack = _converters(get_args(hint)[0])
    if get_origin(hint) is tuple:
        if pack is _same:
            return list, lambda values: tuple([unpack(value) for value in _array(values)])
        return (
            lambda values: [pack(value) for value in values],
            lambda values: tuple([unpack(value) for value in _array(values)]),
        )
    if get_origin(hint) is types.UnionType:  # with None: there is no other in the models
        return (
            lambda value: None if value is None else pack(value),
            lambda value: None if value is None else unpack(value),
        )
    raise TypeError(f"cannot pack {hint}")


def _of_dataclass(cls: type, but: str = "") -> tuple[_Convert, _Convert]:
    """The same for a dataclass; `but` is a field to leave out, and then its values are unpacked to a dictionary."""
    hints = get_type_hints(cls)
    names = [field.name for field in fields(cls) if field.name != but]
    both = [_converters(hints[name]) for name in names]
    packing = [(name, pack) for name, (pack, _) in zip(names, both, strict=True)]
    unpacking = [(name, unpack) for name, (_, unpack) in zip(names, both, strict=True)]
    length = len(names)

    def pack_fields(value: Any) -> list[Any]:
        return [pack(getattr(value, name)) for name, pack in packing]

    def unpack_fields(values: Any) -> Any:
        pairs = zip(unpacking, _array(values, length), strict=True)
        found = {name: unpack(value) for (name, unpack), value in pairs}
        return found if but else cls(**found)

    return pack_fields, unpack_fields


_dump: Final = json.JSONEncoder(separators=(",", ":")).encode
_pack_head, _unpack_head = _of_dataclass(ServerAd, but="namespaces")
_pack_namespace, _unpack_namespace = _of_dataclass(NamespaceAd)
