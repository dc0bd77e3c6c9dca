"""Every numbered example of the contract and every number of the clients' checklist has a test that names it.

A test names a number in its own name (`test_e46_c74_…`, `test_c01_to_c04_…`) or in a comment or docstring of the test
(`# C-40`). `pytest -v` on this file lists the numbers; a failure lists what is missing.
"""

import ast
import io
import re
import tokenize
from collections import defaultdict
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[2]
"""Of the whole project: what takes a process or a real client is not tested here."""

EXAMPLES = (*range(1, 7), 9, 11, 12, *range(14, 20), *range(21, 33), 34, 35, 37, 38, 39, 42, 43, *range(45, 53))
"""The worked examples of the wire contract. There are no others: some numbers were never given."""

CHECKLIST = (*range(1, 5), *range(6, 10), *range(11, 42), 43, 44, *range(51, 55), 56, 60, 61, *range(70, 79))
"""What clients and servers were seen to need. The same holds of its numbers."""

ABSENT = {
    "E52": "several directors are not built yet: there is no registerDirector",
}
"""Numbers without a test on purpose, and why; docs/compatibility.md says so, too."""

NUMBERS = [f"E{number}" for number in EXAMPLES] + [f"C{number:02}" for number in CHECKLIST]


def numbers_in_name(name: str) -> Iterator[str]:
    """`test_e30_to_e33_and_c07` names E30, E31, E32, E33 and C07."""
    words = name.split("_")
    for at, word in enumerate(words):
        if not re.fullmatch(r"[ec]\d+", word):
            continue
        yield _number(word)
        if words[at + 1 : at + 2] == ["to"] and at + 2 < len(words) and words[at + 2][:1] == word[0]:
            yield from (_number(f"{word[0]}{one}") for one in range(int(word[1:]), int(words[at + 2][1:])))


def numbers_in_prose(text: str) -> Iterator[str]:
    """`E30` and `C-07`; `C1` without a hyphen is a cache."""
    for letter, digits in re.findall(r"\b(?:(E)|C-)(\d+)\b", text):
        yield _number(f"{letter or 'C'}{digits}")


def _number(word: str) -> str:
    number = int(word[1:])
    return f"E{number}" if word[0] in "eE" else f"C{number:02}"


# Most files name none, and most have none in a comment: it takes seconds to take all of them apart.
_ANYWHERE = re.compile(r"\b(?:E|C-)\d|_[ec]\d")
_IN_COMMENT = re.compile(r"#.*\b(?:E|C-)\d")


def named_in(source: str) -> Iterator[tuple[str, str]]:
    """The numbers that a file of tests names, each with the test that names it."""
    if not _ANYWHERE.search(source):
        return
    spans: list[tuple[int, int, str]] = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
            first = min([node.lineno, *(one.lineno for one in node.decorator_list)])
            spans.append((first, node.end_lineno or first, node.name))
            for number in (*numbers_in_name(node.name), *numbers_in_prose(ast.get_docstring(node) or "")):
                yield number, node.name
    if not _IN_COMMENT.search(source):
        return
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            test = next((name for first, last, name in spans if first <= token.start[0] <= last), "")
            for number in numbers_in_prose(token.string) if test else ():
                yield number, test


@cache
def covered() -> dict[str, set[str]]:
    """By number, the tests that name it."""
    found: dict[str, set[str]] = defaultdict(set)
    for file in sorted(TESTS.rglob("test_*.py")):
        if file != Path(__file__):
            for number, test in named_in(file.read_text()):
                found[number].add(f"{file.relative_to(TESTS)}::{test}")
    return found


@pytest.mark.parametrize("number", NUMBERS)
def test_every_number_is_tested_or_absent_on_purpose(number: str) -> None:
    tests = covered().get(number, set())
    if number in ABSENT:
        assert not tests, f"{number} has a test: it is not absent any more"
    else:
        assert tests, f"no test names {number}"


def test_no_test_names_a_number_that_does_not_exist() -> None:
    never_given = {"E33"}  # inside a range that a test names
    unknown = {number: tests for number, tests in covered().items() if number not in NUMBERS}
    assert unknown.keys() <= never_given, unknown


def test_how_a_test_names_a_number() -> None:
    source = '''
"""E1 in the docstring of a module names nothing."""
def test_e2_and_c03_to_c05_there():
    """As E7 and C-08, not C1 or E9x."""
    assert 1  # C-10
def helper_e6():  # E11
    pass
'''
    assert {number for number, _test in named_in(source)} == {"E2", "C03", "C04", "C05", "E7", "C08", "C10"}
