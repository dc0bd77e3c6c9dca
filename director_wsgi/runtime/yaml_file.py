"""Read a YAML document from which a configuration comes, without believing anything in it.

Only the syntax tree is made, never an object: scalars stay the strings that were written, and `2s`, `on` and `0x10` are
left to whoever knows what they should be. Size, depth and the number of values are bounded, aliases counted as often as
they are used.
"""

from collections.abc import Container, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import yaml

from director_wsgi.errors import ConfigError

MAX_BYTES: Final = 1 << 20
_MAX_DEPTH = 32
_MAX_VALUES = 50_000
_TAG = "tag:yaml.org,2002:"
_NULL = f"{_TAG}null"
_SCALARS = frozenset(_TAG + name for name in ("str", "bool", "int", "float", "timestamp", "value", "merge"))
_TOO_DEEP = "nested too deeply"


@dataclass(frozen=True, slots=True)
class Setting:
    """One value that somebody has set.

    Attributes:
        name: As written, sections joined by dots: `Director.StatTimeout`; or a variable of the environment.
        value: A string, a list of values, a dict of values by lower-case key, or None where nothing follows the name.
        source: `file:line`, `URL:line`, or the name of the variable.
    """

    name: str
    value: object = field(repr=False)  # it may be a secret
    source: str


def read_content(path: Path, shown: str) -> bytes:
    """What is in a file.

    Args:
        path: The file.
        shown: How messages call it.

    Raises:
        ConfigError: It cannot be read, or is too long.
    """
    try:
        # A pipe or a device could keep us waiting, or never end.
        if path.exists() and not path.is_file():
            raise ConfigError((f"{shown}: expected a file",))
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise ConfigError((f"{shown}: cannot be read: {error.strerror}",)) from None
    except ValueError:
        raise ConfigError((f"{shown!r}: expected the name of a file",)) from None
    if len(content) > MAX_BYTES:
        raise ConfigError((f"{shown}: longer than {MAX_BYTES} bytes",))
    return content


def parse_settings(content: bytes, shown: str, leaves: Container[str]) -> dict[str, Setting]:
    """Every value in a document.

    Args:
        content: All of it; whoever has read it has bounded its length.
        shown: How messages call it.
        leaves: Lower-case names below which nothing is a name of its own; a mapping found there is a value.

    Returns:
        The settings by lower-case name; empty for an empty document.

    Raises:
        ConfigError: It is not UTF-8, not YAML or not a mapping, nests too deeply, has too many values, or names
            something twice (upper and lower case do not differ).
    """
    root = _compose(_decode(content, shown), shown)
    if root is None or root.tag == _NULL:
        return {}
    if not isinstance(root, yaml.MappingNode):
        raise ConfigError((f"{shown}: expected a mapping of sections, such as `Federation:`, at the top",))
    walk = _Walk(shown)
    settings: dict[str, Setting] = {}
    for name, node, depth in walk.names(root, "", leaves, 1):
        setting = Setting(name, walk.value(node, depth), f"{shown}:{_line(node)}")
        earlier = settings.setdefault(name.lower(), setting)
        if earlier is not setting:
            walk.problems.append(
                f"{setting.source}: {name} has been set already, as {earlier.name} in {earlier.source}"
            )
    if walk.problems:
        raise ConfigError(tuple(walk.problems))
    return settings


def _decode(content: bytes, shown: str) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ConfigError((f"{shown}:{line}: expected UTF-8",)) from None


def _compose(text: str, shown: str) -> yaml.Node | None:
    try:
        node: yaml.Node | None = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise ConfigError(
            (f"{shown}:{mark.line + 1 if mark else 1}: not YAML: {error.problem or error.context}",)
        ) from None
    except RecursionError:
        raise ConfigError((f"{shown}: {_TOO_DEEP}",)) from None
    # A character that YAML forbids, or one beyond Unicode (`"\UFFFFFFFF"`), on which PyYAML's scanner trips.
    except (yaml.YAMLError, ValueError, OverflowError):
        raise ConfigError((f"{shown}: not YAML: a character that is not allowed",)) from None
    return node


def _line(node: yaml.Node) -> int:
    return int(node.start_mark.line) + 1


class _Walk:
    """One walk over a syntax tree. What is wrong and can be stepped over is collected in `problems`."""

    def __init__(self, shown: str) -> None:
        self.problems: list[str] = []
        self._shown = shown
        self._values = 0

    def names(
        self, mapping: yaml.MappingNode, prefix: str, leaves: Container[str], depth: int
    ) -> Iterator[tuple[str, yaml.Node, int]]:
        """Name, node and depth of everything below a mapping that is a value."""
        for key, node in self._entries(mapping, depth):
            name = prefix + key
            if isinstance(node, yaml.MappingNode) and name.lower() not in leaves:
                yield from self.names(node, f"{name}.", leaves, depth + 1)
            else:
                yield name, node, depth + 1

    def value(self, node: yaml.Node, depth: int) -> object:
        """A value as `Setting.value` describes it."""
        self._count(node, depth)
        if isinstance(node, yaml.MappingNode):
            return {key.lower(): self.value(one, depth + 1) for key, one in self._entries(node, depth)}
        if isinstance(node, yaml.SequenceNode) and node.tag == f"{_TAG}seq":
            return [self.value(one, depth + 1) for one in node.value]
        if node.tag == _NULL:
            return None
        if node.tag not in _SCALARS:
            self.problems.append(f"{self._shown}:{_line(node)}: the tag {node.tag} is not allowed")
        return str(node.value)

    def _entries(self, mapping: yaml.MappingNode, depth: int) -> Iterator[tuple[str, yaml.Node]]:
        """Keys and values; those of merged mappings (`<<`) first, unless they are set here too."""
        self._count(mapping, depth)
        own: dict[str, tuple[str, yaml.Node]] = {}
        merged: dict[str, tuple[str, yaml.Node]] = {}
        for key, node in mapping.value:
            if key.tag == f"{_TAG}merge":
                for name, one in self._merged(node, depth + 1):
                    merged.setdefault(name.lower(), (name, one))
            elif not isinstance(key, yaml.ScalarNode):
                self.problems.append(f"{self._shown}:{_line(key)}: expected a name before the colon")
            elif key.value.lower() in own:
                earlier, _ = own[key.value.lower()]
                self.problems.append(f"{self._shown}:{_line(key)}: {key.value!r} has been set already, as {earlier!r}")
            else:
                own[key.value.lower()] = (key.value, node)
        yield from (merged | own).values()

    def _merged(self, node: yaml.Node, depth: int) -> Iterator[tuple[str, yaml.Node]]:
        self._count(node, depth)
        for one in node.value if isinstance(node, yaml.SequenceNode) else [node]:
            if isinstance(one, yaml.MappingNode):
                yield from self._entries(one, depth + 1)
            else:
                self.problems.append(f"{self._shown}:{_line(one)}: expected a mapping after `<<`")

    def _count(self, node: yaml.Node, depth: int) -> None:
        self._values += 1
        if depth > _MAX_DEPTH:
            raise ConfigError((f"{self._shown}:{_line(node)}: {_TOO_DEEP}",))
        if self._values > _MAX_VALUES:
            raise ConfigError((f"{self._shown}:{_line(node)}: more than {_MAX_VALUES} values, aliases counted",))
