"""Plays of `director-wsgi demo`, ended by Ctrl-C."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

LIMIT_S = 60.0


def living(marker: str) -> list[int]:
    """Processes with this in their environment, but for dead ones."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            state = (folder / "stat").read_text().rpartition(") ")[2][0]
            if state not in "ZX" and marker.encode() in (folder / "environ").read_bytes():
                found.append(int(folder.name))
    return found


def ended_by_ctrl_c(folder: Path, *arguments: str, until: str, environ: Mapping[str, str]) -> int:
    """Start a play, end it once it has said something, and see that nothing is left of it.

    Args:
        folder: An empty one, which it runs in.
        arguments: What follows `director-wsgi demo`.
        until: What it has to say.
        environ: Further variables of its environment.

    Returns:
        How many processes there were before the end.
    """
    temporary = folder / "tmp"
    temporary.mkdir()
    marker = f"TMPDIR={temporary}"
    output = folder / "output"
    with output.open("wb") as written:
        process = subprocess.Popen(
            [Path(sys.executable).with_name("director-wsgi"), "demo", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=written,
            stderr=subprocess.STDOUT,
            cwd=folder,
            env={**os.environ, "TMPDIR": str(temporary), **environ},
            start_new_session=True,
        )
    try:
        end = time.monotonic() + LIMIT_S
        while until not in output.read_text():
            assert process.poll() is None, output.read_text()
            assert time.monotonic() < end, output.read_text()
            time.sleep(0.05)
        processes = len(living(marker))
        process.send_signal(signal.SIGINT)
        assert process.wait(LIMIT_S) == 0
        assert output.read_text().endswith("Ended; nothing is left.\n")
        assert living(marker) == []
        assert list(temporary.iterdir()) == []
        assert not list(folder.glob("*.svg"))
    finally:
        for pid in living(marker):
            os.kill(pid, signal.SIGKILL)
        process.wait()
    return processes
