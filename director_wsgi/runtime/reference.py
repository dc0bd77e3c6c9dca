"""The table of parameters, and the values of one configuration, for people to read."""

from collections.abc import Iterator
from itertools import groupby

from director_wsgi.runtime import kinds
from director_wsgi.runtime.names import INERT
from director_wsgi.runtime.parameters import PARAMETERS, Config, Parameter

_HEADINGS = {
    "Federation": "The federation",
    "Director": "The director",
    "Server": "The server",
    "Tracing": "Tracing",
    "": "Keys, places and the rest",
}


def markdown() -> str:
    """Every parameter, as Markdown: one table per section, and the names that are accepted without effect."""
    lines: list[str] = []
    for section, heading in _HEADINGS.items():
        lines += [f"## {heading}", "", *_table(section), ""]
    lines += ["## Accepted without effect", "", *_inert(), ""]
    lines += ["And everything else that is set outside of `Director` (`Origin`, `Cache`, `Xrootd`, `Lotman`, …)."]
    return "\n".join(lines) + "\n"


def _inert() -> Iterator[str]:
    yield "| Names | Why |"
    yield "|---|---|"
    for reason, entries in groupby(INERT, key=lambda name: INERT[name]):
        yield f"| {', '.join(f'`{name}`' for name in entries)} | {reason} |"


def _section(parameter: Parameter) -> str:
    section = parameter.row.name.partition(".")[0]
    return section if section in _HEADINGS else ""


def _table(section: str) -> Iterator[str]:
    yield "| Name | Type | Default | Allowed | Change | Meaning |"
    yield "|---|---|---|---|---|---|"
    for one in PARAMETERS:
        if _section(one) == section:
            name = f"`{one.row.name}`" + (" (ours)" if one.row.ours else "")
            change = "live" if one.row.live else "restart"
            cells = (name, one.row.kind.name, one.shown_default, _allowed(one), change, _meaning(one))
            yield "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _allowed(parameter: Parameter) -> str:
    row = parameter.row
    if row.check is None:
        must_exist = row.kind in {kinds.FILE, kinds.DIRECTORY} and not row.may_be_missing
        return "an existing one" if must_exist else ""
    return row.check.text + ("; else the default" if row.forgiving else "")


def _meaning(parameter: Parameter) -> str:
    row = parameter.row
    return row.help + (f" Replaces `{row.formerly}`." if row.formerly else "")


def values(config: Config) -> Iterator[str]:
    """One line per parameter: its name, its value, and where that comes from. No file is opened."""
    for one in PARAMETERS:
        value = getattr(config, one.attribute)
        source = config.sources.get(one.attribute) or ("derived" if _is_derived(one, value) else "default")
        yield f"{one.row.name} = {one.row.shown(value)}  # {source}"


def _is_derived(parameter: Parameter, value: object) -> bool:
    return bool(parameter.row.default_text) and value != parameter.default
