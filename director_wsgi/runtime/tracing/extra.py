"""What the extra `tracing` installs: is it there?"""

from importlib.util import find_spec
from typing import Final

PIP: Final = "pip install 'director-wsgi[tracing]'"


def is_installed() -> bool:
    """Whether spans can be written. Imports none of it."""
    try:
        return find_spec("opentelemetry.proto") is not None and find_spec("google.protobuf") is not None
    except ModuleNotFoundError:  # not even what they are in
        return False
