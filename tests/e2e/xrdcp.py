"""xrdcp, speaking HTTP.

Reading only: davix 0.8 follows no redirect of a PUT that it streams, and xrdcp ends with 0 all the same.
"""

import subprocess
from pathlib import Path

from tests.e2e.programs import http_plug_in, program, run, trust_directory


class Xrdcp:
    """Runs xrdcp with the HTTP plug-in, trusting one authority and nobody else."""

    def __init__(self, ca: Path, home: Path) -> None:
        self._program = program("xrdcp", package="xrootd-client")
        self._home = home
        plug_ins = home / "plug-ins"
        plug_ins.mkdir()
        (plug_ins / "http.conf").write_text(http_plug_in())
        self._environment = {
            "XRD_PLUGINCONFDIR": str(plug_ins),
            "X509_CERT_DIR": str(trust_directory(ca, home)),
            "XRD_LOGLEVEL": "Warning",
        }

    def __call__(self, source: str, target: str, *, expect: int | None = 0) -> subprocess.CompletedProcess[bytes]:
        """Copy, overwriting what is there."""
        return run(
            [self._program, "--allow-http", "--nopbar", "--force", source, target],
            home=self._home,
            environment=self._environment,
            expect=expect,
        )
