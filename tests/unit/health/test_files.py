import pytest

from director_wsgi.health import files

AT = 1769257019.9


def test_times_are_those_of_go_in_utc_and_whole_seconds():
    assert files.stamp(AT) == "2026-01-24T12:16:59Z"
    assert files.stamp(0) == "1970-01-01T00:00:00Z"


def test_the_names_of_files_are_those_that_servers_expect():
    name = "director-test-2026-01-24T12:16:59Z.txt"
    assert files.path_at_origin(AT) == f"/pelican/monitoring/directorTest/{name}"
    assert (
        files.path_at_cache(AT, "d.example.org") == f"/pelican/monitoring/directorTest/d.example.org/2026-01-24/{name}"
    )


@pytest.mark.parametrize(
    ("body", "holds"),
    [(files.CONTENT, True), (files.CONTENT + b"\n", True), (files.CONTENT + b"\n\n", False), (b"", False)],
)
def test_one_newline_does_not_matter(body, holds):
    assert files.is_content(body) is holds
