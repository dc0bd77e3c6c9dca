"""The profiles run, and what they say in words is what the picture shows."""

import os
from pathlib import Path

import pytest

from benchmarks import flames, profiles

pytestmark = pytest.mark.process

YAMA = Path("/proc/sys/kernel/yama/ptrace_scope")


def frame(title: str, y: int, x: int, width: int) -> str:
    """A frame as py-spy 0.4 draws it."""
    return (
        f'<g><title>{title} ({width:,} samples, 1.00%)</title><rect x="0.0000%" y="{y}" width="1.0000%" height="15" '
        f'fill="rgb(227,0,7)" fg:x="{x}" fg:w="{width}"/><text x="0.2500%" y="126.50"></text></g>'
    )


# One thread's calls, by samples: route 1,000 -> (resolve 600 -> (link 100, resolve 200 -> link 50), write 300).
PICTURE = "".join(
    [
        frame("link (director_wsgi/redirect/headers.py:7)", 132, 450, 50),
        frame("all", 52, 0, 1000),
        frame("resolve (director_wsgi/redirect/resolver.py:1)", 84, 0, 600),
        frame("link (director_wsgi/redirect/headers.py:7)", 100, 0, 100),
        frame("resolve (director_wsgi/redirect/resolver.py:1)", 100, 300, 200),
        frame("write (gunicorn/http/wsgi.py:9)", 84, 600, 300),
        frame("blueprint.&lt;locals&gt;.answer (director_wsgi/web/redirects.py:3)", 68, 0, 1000),
    ]
)


def test_a_function_is_told_with_and_without_what_it_called() -> None:
    shares = flames.functions(flames.read(PICTURE))
    assert shares == {
        ("blueprint.<locals>.answer", "director_wsgi/web/redirects.py"): flames.Share(own=0.1, total=1.0),
        ("resolve", "director_wsgi/redirect/resolver.py"): flames.Share(own=0.45, total=0.6),
        ("link", "director_wsgi/redirect/headers.py"): flames.Share(own=0.15, total=0.15),
        ("write", "gunicorn/http/wsgi.py"): flames.Share(own=0.3, total=0.3),
    }
    assert sum(share.own for share in shares.values()) == pytest.approx(1)


def test_rooms_are_the_packages_of_the_director_and_others() -> None:
    shares = flames.functions(flames.read(PICTURE))
    assert list(flames.rooms(shares)) == ["director_wsgi.redirect", "gunicorn", "director_wsgi.web"]
    assert flames.rooms(shares)["director_wsgi.redirect"] == pytest.approx(0.6)
    assert flames.room_of("threading.py") == flames.room_of("<frozen runpy>") == "Python itself"
    assert flames.room_of("/usr/lib/python3/site-packages/flask/app.py") == "flask"
    assert flames.room_of("director_wsgi/app.py") == "director_wsgi"
    assert flames.room_of("director_wsgi/federation/store/sqlite.py") == "director_wsgi.federation"


def test_a_summary_names_the_dearest_first_and_no_more_than_was_asked_for() -> None:
    lines = flames.summary(PICTURE, most=2).splitlines()
    assert [line.split()[-1] for line in lines[-2:]] == ["director_wsgi/redirect/resolver.py", "gunicorn/http/wsgi.py"]


def test_another_picture_is_none() -> None:
    with pytest.raises(flames.NoFramesError):
        flames.read("<svg></svg>")


@pytest.mark.skipif(
    os.geteuid() != 0 and YAMA.exists() and YAMA.read_text().strip() != "0",
    reason="this system lets nobody but root look at another process",
)
def test_a_worker_under_load_is_drawn(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert profiles.main(["--only", "front", "--seconds", "1", "--folder", str(tmp_path)]) == 0
    told = capsys.readouterr().out
    assert "director_wsgi.redirect" in told
    picture = (tmp_path / "front.svg").read_text()
    assert flames.read(picture)
    assert str(tmp_path) not in picture
