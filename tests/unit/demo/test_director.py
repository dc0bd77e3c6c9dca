from pathlib import Path

import pytest

from director_wsgi.demo.certificates import TlsFiles
from director_wsgi.demo.director import environment

TLS = TlsFiles(certificate=Path("/x/d.crt"), key=Path("/x/d.key"), ca=Path("/x/ca.crt"))


def test_what_the_person_has_set_for_a_director_or_for_gunicorn_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PELICAN_DIRECTOR_STATTIMEOUT", "DIRECTOR_WSGI_CONFIG", "GUNICORN_CMD_ARGS", "WEB_CONCURRENCY"):
        monkeypatch.setenv(name, "nonsense")
    monkeypatch.setenv("LANG", "C.UTF-8")
    variables = environment(Path("/x"), url="https://localhost:4711", registry_url="https://localhost:1", tls=TLS)
    assert "nonsense" not in variables.values()
    assert variables["LANG"] == "C.UTF-8"
    assert variables["PELICAN_SERVER_WEBPORT"] == "4711"
