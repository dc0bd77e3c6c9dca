"""Which names a configuration may use, in files and in the environment."""

import difflib
import re
from collections.abc import Iterator
from typing import Final

from director_wsgi.runtime.parameters import PARAMETERS
from director_wsgi.runtime.rows import variable_of

INERT: Final = (
    "Director.DbLocation",
    "Director.EnableBroker",
    "Director.EnableOIDC",
    "Director.MaxMindKeyFile",
    "Director.MaxStatResponse",
    "Director.MetadataComparisonInterval",
    "Director.MinStatResponse",
)
"""Pelican's other parameters of a director; they have no effect here."""


def _known() -> Iterator[str]:
    for one in PARAMETERS:
        yield one.row.name
        if one.row.formerly:
            yield one.row.formerly
    yield from INERT


BY_LOWER_NAME: Final = {name.lower(): name for name in _known()}
"""Pelican's spelling of every name that is known, by its lower-case form."""

BY_VARIABLE: Final = {variable_of(name): name for name in BY_LOWER_NAME.values()}
"""Pelican's name for every variable of the environment that is known."""

SECTIONS: Final = frozenset(one.row.name.partition(".")[0].lower() for one in PARAMETERS if "." in one.row.name)
"""Lower-case names that must be mappings."""

# A Kubernetes service or a Docker link called `pelican-director` sets these in every container beside it.
_SERVICE_LINK = re.compile(
    r"PELICAN_DIRECTOR(_\w+)?_(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT(_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)?)\Z"
)


def is_misspelt(name: str) -> bool:
    """Whether an unknown name can only be a mistake: under `Director.`, every name is known."""
    return name.lower().startswith("director.")


def is_misspelt_variable(variable: str) -> bool:
    """The same for an unknown variable of the environment."""
    return variable.startswith("PELICAN_DIRECTOR_") and not _SERVICE_LINK.match(variable)


def nearest(name: str) -> str:
    """The known name, or variable, that a misspelt one most probably means; there always is one."""
    known = BY_VARIABLE if name.startswith("PELICAN_") else BY_LOWER_NAME
    wanted = name if known is BY_VARIABLE else name.lower()
    found = difflib.get_close_matches(wanted, known, n=1, cutoff=0.0)[0]
    return found if known is BY_VARIABLE else BY_LOWER_NAME[found]
