"""The tokens by which servers recognise the director that tests them.

An origin believes the federation's issuer within `/pelican/monitoring`, and so does every server that takes a report;
both find the key through that issuer's openid-configuration, so that tests fail if a server cannot reach it.

Source: Pelican `server_utils/test_file_transfer.go:generateFileTestScitoken`, `director/origin_monitor.go`.
"""

from collections.abc import Sequence
from typing import Final, Protocol

LIFETIME_S: Final = 60.0

TRANSFER_SCOPE: Final = "storage.read:/ storage.modify:/"
REPORT_SCOPE: Final = "pelican.director_test_report"
REPORT_SUBJECT: Final = "director"


class Mints(Protocol):
    """The part of `trust.minting.Minter` that is needed here."""

    def mint(self, *, issuer: str, subject: str, audience: Sequence[str], scope: str, lifetime_s: float) -> str:
        """A signed token; raises NoSigningKey."""
        ...


class Tokens:
    """Makes tokens for tests and reports. Any thread.

    Args:
        minter: Signs them.
        federation_issuer: The discovery endpoint.
        web_url: Of this director.

    Attributes:
        issuers: In whose name a transfer may be asked for, the usual one first: origins that do not know of the
            federation may know this director.
    """

    def __init__(self, minter: Mints, *, federation_issuer: str, web_url: str) -> None:
        self._minter = minter
        self._web_url = web_url
        self.issuers = tuple(dict.fromkeys((federation_issuer, web_url)))

    def for_transfer(self, data_url: str, issuer: str) -> str:
        """To write, read and delete a test file at an origin.

        Raises:
            NoSigningKey: This director has no key.
        """
        return self._minter.mint(
            issuer=issuer,
            subject=self._web_url,
            audience=(data_url, data_url),
            scope=TRANSFER_SCOPE,
            lifetime_s=LIFETIME_S,
        )

    def for_report(self, web_url: str) -> str:
        """To tell a server how its test ended, or a cache which file to drop.

        Raises:
            NoSigningKey: This director has no key.
        """
        return self._minter.mint(
            issuer=self.issuers[0],
            subject=REPORT_SUBJECT,
            audience=(web_url,),
            scope=REPORT_SCOPE,
            lifetime_s=LIFETIME_S,
        )
