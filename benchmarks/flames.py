"""What a flame graph tells in a terminal: read back from the picture, so that both say the same.

The picture is py-spy's. Each frame is a rectangle below that of its caller, as wide as it was seen often, with its
name, file and line in a `<title>`; beside its place in the drawing stand the samples it was seen in, `fg:x` and `fg:w`.
"""

import html
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

LEAST = 0.005
"""Of the time; rooms that took less are not listed."""

_FRAME = re.compile(
    r"<title>(?P<title>[^<]*) \([\d,]+ samples?, [\d.]+%\)</title>"
    r'<rect [^>]*? y="(?P<y>\d+)"[^>]*? fg:x="(?P<x>\d+)" fg:w="(?P<width>\d+)"'
)
_PLACE = re.compile(r"(?P<function>.*) \((?P<file>[^()]*?)(?::\d+)?\)")
_PACKAGES = {"cachetools", "cryptography", "flask", "gunicorn", "jwt", "requests", "urllib3", "werkzeug"}

Function = tuple[str, str]
"""Its name and its file."""


class NoFramesError(Exception):
    """The file is no flame graph that can be read."""


@dataclass(frozen=True, slots=True)
class Frame:
    """One rectangle.

    Attributes:
        function: Whose; its file is empty for the root.
        depth: Distance from the top, in the picture's own measure.
        first: Number of its first sample.
        samples: How many it was seen in.
    """

    function: Function
    depth: int
    first: int
    samples: int

    def holds(self, other: "Frame") -> bool:
        """Whether `other`, which begins no earlier, is below this one."""
        return self.depth < other.depth and other.first < self.first + self.samples


@dataclass(frozen=True, slots=True)
class Share:
    """How much of the time a function took, of 1.

    Attributes:
        own: Without what it called.
        total: With it.
    """

    own: float
    total: float


def read(picture: str) -> list[Frame]:
    """The frames of a picture, callers before what they called.

    Raises:
        NoFramesError: There are none.
    """
    frames = []
    for found in _FRAME.finditer(picture):
        title = html.unescape(found["title"])
        place = _PLACE.fullmatch(title)
        frames.append(
            Frame(
                function=(place["function"], place["file"]) if place else (title, ""),
                depth=int(found["y"]),
                first=int(found["x"]),
                samples=int(found["width"]),
            )
        )
    if not frames:
        raise NoFramesError("there are no frames in the picture")
    return sorted(frames, key=lambda frame: (frame.first, frame.depth))


def functions(frames: Sequence[Frame]) -> dict[Function, Share]:
    """What each function took; while it calls itself, it counts once.

    Args:
        frames: As `read` gives them.
    """
    own: Counter[Function] = Counter()
    total: Counter[Function] = Counter()
    for frame, callers in _with_callers(frames):
        own[frame.function] += frame.samples
        if callers:
            own[callers[-1].function] -= frame.samples
        if all(caller.function != frame.function for caller in callers):
            total[frame.function] += frame.samples
    whole = max(frame.samples for frame in frames)
    return {one: Share(own[one] / whole, samples / whole) for one, samples in total.items() if one[1]}


def _with_callers(frames: Sequence[Frame]) -> Iterator[tuple[Frame, Sequence[Frame]]]:
    """Each frame with those above it, the root first."""
    above: list[Frame] = []
    for frame in frames:
        while above and not above[-1].holds(frame):
            above.pop()
        yield frame, above
        above.append(frame)


def rooms(shares: Mapping[Function, Share]) -> dict[str, float]:
    """What each room of the director and each package took itself, of 1; the largest first."""
    made: defaultdict[str, float] = defaultdict(float)
    for (_, file), share in shares.items():
        made[room_of(file)] += share.own
    return dict(sorted(made.items(), key=lambda one: one[1], reverse=True))


def room_of(file: str) -> str:
    """The room of the director, or the package, that a file belongs to."""
    parts = Path(file).parts
    if "director_wsgi" in parts:
        return ".".join(parts[parts.index("director_wsgi") : -1][:2])
    return next((part for part in parts[:-1] if part in _PACKAGES), "Python itself")


def summary(picture: str, *, most: int = 12) -> str:
    """A screen of text: where the time goes, by room and by function.

    Args:
        picture: The flame graph.
        most: So many functions.

    Raises:
        NoFramesError: See `read`.
    """
    shares = functions(read(picture))
    dearest = sorted(shares.items(), key=lambda one: one[1].own, reverse=True)[:most]
    return "\n".join(
        [
            "  by room, without what it calls",
            *(f"    {share:6.1%}  {room}" for room, share in rooms(shares).items() if share >= LEAST),
            "  by function, without and with what it calls",
            *(
                f"    {share.own:6.1%} {share.total:6.1%}  {function}  {'/'.join(Path(file).parts[-3:])}"
                for (function, file), share in dearest
            ),
        ]
    )
