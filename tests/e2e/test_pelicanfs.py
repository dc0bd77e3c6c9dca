"""pelicanfs, Pelican's own Python client, as a process of its own environment."""

from urllib.parse import quote

import pytest

from tests.e2e.federation import AWKWARD_NAME, QUESTION_NAME, TREE, Federation
from tests.e2e.pelicanfs_client import PelicanFS
from tests.e2e.programs import sha256, sha256_of


@pytest.fixture(scope="module")
def pelicanfs(federation: Federation) -> PelicanFS:
    return PelicanFS(federation.director_url, federation.ca, federation.home)


def shown(data: bytes) -> dict[str, object]:
    return {"bytes": len(data), "sha256": sha256(data)}


def test_ls_names_what_is_in_a_collection(pelicanfs: PelicanFS) -> None:
    (listing,) = pelicanfs.ask(("ls", "/shared/tree"))
    found = {(entry["name"].rstrip("/"), entry["type"]) for entry in listing}
    assert found == {
        ("/shared/tree/one.txt", "file"),
        ("/shared/tree/two.txt", "file"),
        ("/shared/tree/branch", "directory"),
    }


def test_info_tells_size_and_kind(pelicanfs: PelicanFS, federation: Federation) -> None:
    (info,) = pelicanfs.ask(("info", "/shared/tree/one.txt"))
    assert (info["name"], info["type"]) == ("/shared/tree/one.txt", "file")
    assert info["size"] == len(TREE["/shared/tree/one.txt"])


def test_walk_visits_the_whole_tree(pelicanfs: PelicanFS, federation: Federation) -> None:
    (steps,) = pelicanfs.ask(("walk", "/shared/tree"))
    found = {f"{where.rstrip('/')}/{name}" for where, _, names in steps for name in names}
    assert found == set(TREE)


def test_cat_brings_every_byte_of_a_large_object(pelicanfs: PelicanFS, federation: Federation) -> None:
    (content,) = pelicanfs.ask(("cat", "/shared/large.bin"))
    assert content == {"bytes": len(federation.large), "sha256": federation.large_sha256}


def test_get_writes_the_same_bytes_to_a_file(pelicanfs: PelicanFS, federation: Federation) -> None:
    target = federation.home / "pelicanfs.bin"
    pelicanfs.ask(("get", "/shared/large.bin", str(target)))
    assert sha256_of(target) == federation.large_sha256


def test_cat_of_a_name_with_everything_in_it(pelicanfs: PelicanFS, federation: Federation) -> None:
    path = f"/shared/names/{AWKWARD_NAME}"
    (content,) = pelicanfs.ask(("cat", quote(path)))
    assert content == shown(federation.south.read(path) or b"")


def test_cat_of_a_name_with_a_question_mark(pelicanfs: PelicanFS, federation: Federation) -> None:
    (content,) = pelicanfs.ask(("cat", quote(f"/dav/{QUESTION_NAME}")))
    assert content == shown(federation.dav_objects[QUESTION_NAME])


def test_cat_goes_through_the_cache(pelicanfs: PelicanFS, federation: Federation) -> None:
    path = quote(f"/cached/{AWKWARD_NAME}")
    content, servers = pelicanfs.ask(("cat", path), ("servers_used", path))
    assert content == shown(federation.north.read(f"/cached/{AWKWARD_NAME}") or b"")
    assert servers
    assert all(url.startswith(f"{federation.cache_url}/") for url in servers)


def test_direct_read_goes_to_the_origin(pelicanfs: PelicanFS, federation: Federation) -> None:
    path = f"/cached/{AWKWARD_NAME}"
    (content,) = pelicanfs.ask(("cat", quote(path)), direct_reads=True)
    assert content == shown(federation.north.read(path) or b"")


@pytest.mark.parametrize("holder", ["north", "south"])
def test_object_at_one_of_two_origins_is_found_there(pelicanfs: PelicanFS, federation: Federation, holder: str) -> None:
    path = f"/shared/only-{holder}.txt"
    (content,) = pelicanfs.ask(("cat", path))
    assert content == shown(getattr(federation, holder).read(path))


def test_put_writes_to_the_origin_of_the_namespace(
    pelicanfs: PelicanFS, federation: Federation, rng_bytes: bytes
) -> None:
    """It asks by GET where to put, so an object that does not exist yet has to be redirected to its only origin."""
    source = federation.home / "pelicanfs-put.bin"
    source.write_bytes(rng_bytes)
    path = "/scratch/put/by pelicanfs.bin"
    _, content = pelicanfs.ask(("put", str(source), quote(path)), ("cat", quote(path)))
    assert federation.north.read(path) == rng_bytes
    assert content == shown(rng_bytes)


def test_object_of_no_origin_is_not_found(pelicanfs: PelicanFS) -> None:
    answers = pelicanfs.ask(("cat", "/shared/no such object"), direct_reads=True)
    assert answers == ["NoAvailableSource()"]
