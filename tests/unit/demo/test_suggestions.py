import shlex
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from director_wsgi.demo.samples import AWKWARD_NAME
from director_wsgi.demo.suggestions import suggestions

URL = "https://localhost:8444"


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY", "no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)


def lines() -> list[list[str]]:
    return [shlex.split(one.line) for one in suggestions(URL, Path("/a b/ca.crt"), Path("/a b/token"))]


def test_every_line_asks_the_director_and_trusts_the_authority() -> None:
    for words in lines():
        assert words[0] == "curl"
        assert words[words.index("--cacert") + 1] == "/a b/ca.crt"
        assert words[-1].startswith(f"{URL}/")


def test_the_first_line_follows_to_an_object_and_prints_nothing_but_it() -> None:
    first = lines()[0]
    assert "-L" in first
    assert "-i" not in first


def test_the_awkward_name_survives_shell_and_url() -> None:
    paths = [unquote(urlsplit(words[-1]).path) for words in lines()]
    assert f"/public/names/{AWKWARD_NAME}" in paths


def test_only_where_curl_would_ask_a_proxy_it_is_told_not_to(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not any("--noproxy" in words for words in lines())
    monkeypatch.setenv("https_proxy", "http://proxy.example.org:3128")
    assert all(words[1:3] == ["--noproxy", "localhost"] for words in lines())
    monkeypatch.setenv("no_proxy", "localhost")
    assert not any("--noproxy" in words for words in lines())
