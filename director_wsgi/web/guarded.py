"""Doors that open to a bearer token.

Source: Pelican `token/token_verify.go:Verify`.
"""

from typing import Final, Protocol

from flask import Request

from director_wsgi.trust.tokens import TokenRefused

NO_TOKEN: Final = "Authentication is required but no token is present."  # noqa: S105, a sentence


class Door(Protocol):
    """Knows which tokens open it: a `trust.self_issued.Guard`."""

    def check(self, raw: str) -> None:
        """Let this token pass, or raise `TokenRefused`."""


def bearer_token(request: Request) -> str:
    """The token in the Authorization header; empty if there is none."""
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""


def refusal(door: Door, token: str) -> str | None:
    """Why this token does not open the door, as a sentence that holds nothing of it; None if it does."""
    if not token:
        return NO_TOKEN
    try:
        door.check(token)
    except TokenRefused as error:
        return f"Cannot verify token: {error}"
    return None
