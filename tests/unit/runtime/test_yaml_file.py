"""The YAML file: nothing in it is believed."""

import os
from collections.abc import Container
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from director_wsgi.errors import ConfigError
from director_wsgi.runtime.yaml_file import MAX_BYTES, Setting, parse_settings, read_content

LEAVES = {"director.stattimeout", "geoipoverrides"}


def read_settings(path: Path, shown: str, leaves: Container[str]) -> dict[str, Setting]:
    return parse_settings(read_content(path, shown), shown, leaves)


def read(tmp_path: Path, content: str | bytes) -> dict[str, object]:
    file = tmp_path / "pelican.yaml"
    file.write_bytes(content.encode() if isinstance(content, str) else content)
    return {name: setting.value for name, setting in read_settings(file, "pelican.yaml", LEAVES).items()}


def problems(tmp_path: Path, content: str | bytes) -> tuple[str, ...]:
    with pytest.raises(ConfigError) as caught:
        read(tmp_path, content)
    return caught.value.problems


def test_sections_and_names_are_joined_by_dots_and_lower_case(tmp_path: Path) -> None:
    assert read(tmp_path, "Director: {StatTimeout: 2s}\nTLSSkipVerify: true") == {
        "director.stattimeout": "2s",
        "tlsskipverify": "true",
    }


def test_a_dotted_name_is_the_same_as_a_section(tmp_path: Path) -> None:
    assert read(tmp_path, "Director.StatTimeout: 2s") == {"director.stattimeout": "2s"}


def test_a_setting_keeps_its_spelling_and_its_line(tmp_path: Path) -> None:
    file = tmp_path / "x"
    file.write_text("# first\nDirector:\n  statTimeout: 2s\n")
    setting = read_settings(file, "shown.yaml", LEAVES)["director.stattimeout"]
    assert (setting.name, setting.source) == ("Director.statTimeout", "shown.yaml:3")


@pytest.mark.parametrize("text", ["2s", "yes", "0x10", "1_000", "2024-01-01", "2024-99-99", "1:30", ".inf", "="])
def test_a_scalar_stays_what_was_written(tmp_path: Path, text: str) -> None:
    """YAML 1.1 would make a number of 1:30 and an exception of 2024-99-99."""
    assert read(tmp_path, f"x: {text}") == {"x": text}


@pytest.mark.parametrize("text", ["", "~", "null"])
def test_nothing_is_none(tmp_path: Path, text: str) -> None:
    assert read(tmp_path, f"x: {text}") == {"x": None}


def test_a_mapping_under_a_leaf_is_a_value(tmp_path: Path) -> None:
    assert read(tmp_path, "GeoIPOverrides: [{IP: 1.2.3.4, Coordinate: {Lat: 1}}]\nDirector: {StatTimeout: {A: 1}}") == {
        "geoipoverrides": [{"ip": "1.2.3.4", "coordinate": {"lat": "1"}}],
        "director.stattimeout": {"a": "1"},
    }


def test_aliases_and_merged_mappings_are_followed(tmp_path: Path) -> None:
    content = "Base: &b {A: 1, B: 2}\nOne:\n  <<: *b\n  b: 3\nTwo:\n  <<: [{C: 4}, *b]\nThree: *b\n"
    assert read(tmp_path, content) == {
        "base.a": "1", "base.b": "2",
        "one.a": "1", "one.b": "3",
        "two.c": "4", "two.a": "1", "two.b": "2",
        "three.a": "1", "three.b": "2",
    }  # fmt: skip


@pytest.mark.parametrize("content", ["", "# only a comment\n", "---\n", "\ufeff"])
def test_an_empty_file_sets_nothing(tmp_path: Path, content: str) -> None:
    assert read(tmp_path, content) == {}


def test_a_byte_order_mark_is_no_part_of_a_name(tmp_path: Path) -> None:
    assert read(tmp_path, "\ufeffx: 1") == {"x": "1"}


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("- a\n- b", "expected a mapping of sections"),
        ("text", "expected a mapping of sections"),
        ("a: [1", "pelican.yaml:1: not YAML"),
        ("a: 1\nb: *unknown", "pelican.yaml:2: not YAML"),
        ("a: 1\n--- \nb: 2", "not YAML"),
        (b"a: 1\nb: \xff\xfe", "pelican.yaml:2: expected UTF-8"),
        ("a: \x07", "a character that is not allowed"),
        ('a: "\\UFFFFFFFF"', "a character that is not allowed"),
        ("Director: {x: 1}\ndirector: {y: 1}", "pelican.yaml:2: 'director' has been set already, as 'Director'"),
        ("Director: {x: 1, X: 2}", "'X' has been set already, as 'x'"),
        ("Director: {x: 1}\nDirector.x: 2", "Director.x has been set already, as Director.x in pelican.yaml:1"),
        ("a: !!python/object/apply:os.system [id]", "the tag tag:yaml.org,2002:python/object/apply:os.system"),
        ("a: !custom x", "the tag !custom is not allowed"),
        ("a: !!binary aGk=", "is not allowed"),
        ("[a, b]: 1", "expected a name before the colon"),
        ("<<: 3", "expected a mapping after `<<`"),
        ("a: &a {b: *a}", "nested too deeply"),
        ("a: &a\n  <<: *a", "nested too deeply"),
        ("a: &a [*a]", "nested too deeply"),
        ("a: " + "[" * 100_000, "nested too deeply"),
        ("a: " + "{b: " * 40 + "1" + "}" * 40, "nested too deeply"),
        ("x" * (MAX_BYTES + 1), "longer than 1048576 bytes"),
    ],
)
def test_a_broken_file_gives_a_sentence(tmp_path: Path, content: str | bytes, sentence: str) -> None:
    assert sentence in problems(tmp_path, content)[0]


@pytest.mark.parametrize("shape", ["[{}]", "{{{}}}"])
def test_an_alias_bomb_is_counted_out(tmp_path: Path, shape: str) -> None:
    """Ten aliases of ten aliases … are a billion values in half a kilobyte."""
    lines = ["a0: &a0 [x]" if shape == "[{}]" else "a0: &a0 {x: 1}"]
    for level in range(1, 10):
        aliases = ", ".join(f"*a{level - 1}" if shape == "[{}]" else f"k{n}: *a{level - 1}" for n in range(10))
        lines.append(f"a{level}: &a{level} {'[' if shape == '[{}]' else '{'}{aliases}{']' if shape == '[{}]' else '}'}")
    assert "more than 50000 values, aliases counted" in problems(tmp_path, "\n".join(lines))[0]


def test_a_bomb_of_merged_mappings_is_counted_out(tmp_path: Path) -> None:
    lines = ["a0: &a0 {x: 1}"]
    lines += [f"a{n}: &a{n}\n  <<: [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 10)]
    assert "more than 50000 values" in problems(tmp_path, "\n".join(lines))[0]


def test_every_name_set_twice_is_reported(tmp_path: Path) -> None:
    assert len(problems(tmp_path, "a: 1\nA: 2\nb: 1\nB: 2")) == 2


def test_a_missing_file_gives_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"^shown: cannot be read: No such file"):
        read_settings(tmp_path / "none", "shown", LEAVES)


def test_what_is_no_file_is_not_opened(tmp_path: Path) -> None:
    """A pipe that nobody writes to would keep us waiting for ever."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for path in (pipe, tmp_path):
        with pytest.raises(ConfigError, match=r"^shown: expected a file$"):
            read_settings(path, "shown", LEAVES)


def test_a_name_with_nul_gives_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"^.?shown.?: "):
        read_settings(tmp_path / "a\x00b", "shown", LEAVES)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=200)
@given(st.binary(max_size=60) | st.text("{}[]:,-&*!<a1'\" \n#|>?%@", max_size=40).map(str.encode))
def test_any_bytes_are_settings_or_a_config_error(tmp_path: Path, content: bytes) -> None:
    try:
        found = read(tmp_path, content)
    except ConfigError as error:
        assert error.problems  # noqa: PT017, either is right
    else:
        assert all(name == name.lower() for name in found)


def test_what_is_set_is_in_no_repr() -> None:
    assert repr(Setting("Director.RankingSeed", "hush", "pelican.yaml:1")).count("hush") == 0
