"""nginx in front of a director, with the configuration that `docs/deployment.md` shows."""

import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from director_wsgi.demo.certificates import TlsFiles
from tests.e2e.programs import REPOSITORY, program

CONFIGURATION = REPOSITORY / "docs" / "nginx.conf"

START_LIMIT_S = 10.0
STOP_LIMIT_S = 5.0

# What Debian's own nginx.conf says around it, but in the foreground and with everything in one directory. Two
# processes: each has idle connections of its own to the director.
_AROUND = """\
daemon off;
worker_processes 2;
{user}
pid {directory}/nginx.pid;
error_log {directory}/error.log warn;
events {{ worker_connections 768; }}
http {{
    client_body_temp_path {directory}/body;
    proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi;
    scgi_temp_path {directory}/scgi;
    include {directory}/director.conf;
}}
"""


def configuration(tls: TlsFiles, directory: Path, *, port: int, director_url: str) -> str:
    """Return the documented configuration with this machine's certificate, ports and directory in it.

    Raises:
        ValueError: It does not name exactly once what has to be replaced.
    """
    text = CONFIGURATION.read_text()
    for documented, here in (
        ("server 127.0.0.1:8444;", f"server {urlsplit(director_url).netloc};"),
        ("listen 443 ssl;", f"listen 127.0.0.1:{port} ssl;"),
        ("/etc/nginx/director.crt", str(tls.certificate)),
        ("/etc/nginx/director.key", str(tls.key)),
        ("/var/log/nginx/director.log", str(directory / "access.log")),
        ("/var/log/nginx/director-error.log", str(directory / "director-error.log")),
    ):
        if text.count(documented) != 1:
            raise ValueError(f"{CONFIGURATION.name} should have {documented} once")
        text = text.replace(documented, here)
    return text


@contextmanager
def nginx(tls: TlsFiles, directory: Path, *, door: socket.socket, director_url: str) -> Iterator[None]:
    """Run nginx until the block is left.

    Args:
        tls: Its certificate.
        directory: An empty one, for its configuration, its logs, and what it buffers in files.
        door: What it accepts connections from; listens already, so that the director can be told of it before.
        director_url: Where it passes requests on to.
    """
    executable = program("nginx", package="nginx")
    port = door.getsockname()[1]
    (directory / "director.conf").write_text(configuration(tls, directory, port=port, director_url=director_url))
    # Root's nginx would serve as a user who may not enter the directory.
    user = "user root root;" if os.geteuid() == 0 else ""
    (directory / "nginx.conf").write_text(_AROUND.format(directory=directory, user=user))
    door.setblocking(False)
    with (directory / "output.log").open("wb") as output:
        process = subprocess.Popen(
            [executable, "-p", str(directory), "-c", str(directory / "nginx.conf"), "-e", str(directory / "error.log")],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            # How nginx hands its sockets to its successor.
            env={"PATH": os.environ["PATH"], "NGINX": f"{door.fileno()};"},
            pass_fds=[door.fileno()],
            start_new_session=True,
        )
    try:
        _wait_until_ready(process, directory)
        yield
    finally:
        _stop(process)


def _wait_until_ready(process: subprocess.Popen[bytes], directory: Path) -> None:
    end = time.monotonic() + START_LIMIT_S
    while time.monotonic() < end and process.poll() is None:
        if Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split():
            return
        time.sleep(0.02)
    said = [(directory / name).read_text(errors="replace") for name in ("output.log", "error.log")]
    raise RuntimeError("nginx did not start:\n" + "".join(said))


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(STOP_LIMIT_S)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(STOP_LIMIT_S)
