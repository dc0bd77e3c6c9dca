"""The director's keys, as a process has them: made once, followed while it runs, and no reason to end a service."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import jwt
import pytest

from director_wsgi.demo.certificates import Authority
from director_wsgi.demo.registry import Registration, Registry
from director_wsgi.demo.tokens import ADVERTISE, SigningKey
from director_wsgi.demo.wire import HttpsServer
from director_wsgi.trust.key_files import FIRST_NAME
from tests.process.child import SETTINGS, Child, get, hup, run, wait_until
from tests.process.conftest import ENVIRON
from tests.unit.trust.rings import LONG_AGO, add

pytestmark = pytest.mark.process

DIRECTOR = ("-c", str(SETTINGS), "-b", "127.0.0.1:0")
QUICK = (*DIRECTOR, "tests.process.quick_keys:application")
WORDS = [str(Path(sys.executable).with_name("director-wsgi")), "keys"]


def published(child: Child) -> list[str]:
    answer = child.ask(get("/.well-known/issuer.jwks"))
    assert answer.status == 200, answer.body
    return [key["kid"] for key in json.loads(answer.body)["keys"]]


def keys(folder: Path, *words: str) -> str:
    """What `director-wsgi keys` says of the director in a folder."""
    environ = {**ENVIRON, "PELICAN_CONFIGBASE": str(folder), "PATH": "/usr/bin:/bin"}
    ended = subprocess.run(
        [*WORDS, *words], cwd=folder, env=environ, capture_output=True, text=True, timeout=60, check=False
    )
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def test_a_first_key_is_made_and_stays(tmp_path: Path) -> None:
    with run(tmp_path, *DIRECTOR, environ=ENVIRON) as child:
        (first,) = published(child.wait_until_ready())
        assert f"Made a first issuer key: {tmp_path}/issuer-keys/{FIRST_NAME}" in child.output
        hup(child)
        assert published(child) == [first]
    with run(tmp_path, *DIRECTOR, environ=ENVIRON) as child:
        assert published(child.wait_until_ready()) == [first]
        assert "Made a first issuer key" not in child.output


def test_two_directors_that_start_at_once_have_the_same(tmp_path: Path, stack: ExitStack) -> None:
    environ = {**ENVIRON, "PELICAN_ISSUERKEYSDIRECTORY": str(tmp_path / "shared")}
    folders = [tmp_path / "one", tmp_path / "two"]
    for folder in folders:
        folder.mkdir()
    children = [stack.enter_context(run(folder, *DIRECTOR, environ=environ)) for folder in folders]
    (one,), (two,) = (published(child.wait_until_ready()) for child in children)
    assert one == two
    assert sum("Made a first issuer key" in child.output for child in children) == 1


def test_a_key_that_cannot_be_made_ends_the_start_with_one_message(tmp_path: Path) -> None:
    environ = {**ENVIRON, "PELICAN_ISSUERKEYSDIRECTORY": "/proc/none/keys"}  # not even root can make it
    with run(tmp_path, *DIRECTOR, environ=environ) as child:
        assert child.wait_for_end() != 0
        assert "director_wsgi: IssuerKeysDirectory: /proc/none/keys: there is no key yet" in child.output
        assert "Traceback" not in child.output


def test_a_broken_key_refuses_a_start_and_not_a_reload(tmp_path: Path) -> None:
    directory = add(tmp_path / "issuer-keys" / "b.pem").parent
    broken = directory / "a.pem"
    with run(tmp_path, *DIRECTOR, environ=ENVIRON) as child:
        before = published(child.wait_until_ready())
        broken.write_text("SECRET")
        hup(child)
        assert published(child) == before
        assert str(broken) in child.output
        assert "SECRET" not in child.output
    with run(tmp_path, *DIRECTOR, environ=ENVIRON) as child:
        assert child.wait_for_end() != 0
        assert f"director_wsgi: IssuerKeysDirectory: {broken}" in child.output
        assert "Traceback" not in child.output


def test_a_rotation_is_published_while_the_old_key_still_signs(tmp_path: Path, stack: ExitStack) -> None:
    tls = Authority(tmp_path).issue("registry")
    cache, registry = SigningKey(), Registry()
    registry.register(Registration(prefix="/caches/CACHE1", name="CACHE1", keys=(cache.jwk,)))
    serving = HttpsServer(registry, name="REGISTRY", tls=tls)
    stack.callback(serving.close)
    environ = {
        "PELICAN_FEDERATION_REGISTRYURL": serving.url,
        "PELICAN_SERVER_TLSCACERTIFICATEFILE": str(tls.ca),
    }
    add(tmp_path / "issuer-keys" / "issuer.pem")
    child = stack.enter_context(run(tmp_path, *QUICK, environ=environ)).wait_until_ready()
    (old,) = published(child)

    def signed_with() -> str:
        proof = cache.sign(issuer="x", subject="x", audience=["x"], scope=ADVERTISE, lifetime_s=60)
        asked = get("/api/v1.0/director/getFedToken?host=CACHE1&sType=Cache", f"Authorization: Bearer {proof}")
        answer = child.ask(asked)
        assert answer.status == 200, answer.body
        kid: str = jwt.get_unverified_header(json.loads(answer.body)["access_token"])["kid"]
        return kid

    wait_until(lambda: "fetched what caches may serve" in child.output, "the registry's table")
    assert signed_with() == old

    said = keys(tmp_path, "rotate")
    wait_until(lambda: len(published(child)) == 2, "the new key is published")
    (new,) = set(published(child)) - {old}
    assert f"added     {new}" in said
    assert signed_with() == old

    new_file = next(file for file in (tmp_path / "issuer-keys").iterdir() if file.name.startswith("0-issuer-"))
    # As if it had been there for long: nobody waits twenty minutes here.
    os.utime(new_file, (LONG_AGO, LONG_AGO))
    wait_until(lambda: signed_with() == new, "the new key signs")
    keys(tmp_path, "retire", old)
    wait_until(lambda: published(child) == [new], "the old key is published no more")
    assert signed_with() == new
