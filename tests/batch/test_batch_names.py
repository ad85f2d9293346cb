"""Names of results: one rule, whatever a manifest asks for."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wordbrush.batch.names import MOST_BYTES, folded, safe_name, suffixed


@pytest.mark.parametrize(
    ("asked", "got"),
    [
        ("zebra", "zebra"),
        ("a zebra on grass (2), v1.5", "a zebra on grass (2), v1.5"),
        ("../../etc/passwd", "_.._etc_passwd"),
        ("/etc/passwd", "_etc_passwd"),
        ("C:\\Windows\\x", "C__Windows_x"),
        ("a\0b\nc\x1b[0m", "a_b_c__0m"),
        (".hidden.", "hidden"),
        ("CON", "_CON"),
        ("nul.png", "_nul.png"),
        ("com1", "_com1"),
        ("COM10", "COM10"),
        ("  ", "item"),
        ("...", "item"),
        ("///", "item"),
        ("猫", "猫"),
        ("cafe\u0301", "caf\u00e9"),
        ("lone \ud800", "lone _"),
        ("-rf", "-rf"),
    ],
)
def test_every_name_becomes_one_that_all_systems_take(asked: str, got: str) -> None:
    assert safe_name(asked) == got
    assert safe_name(got) == got


@given(st.text(max_size=130))
def test_no_name_leaves_its_folder(text: str) -> None:
    name = safe_name(text)
    assert name
    assert not set(name) & set('/\\\0:*?"<>|\n\r')
    assert name.strip(" .") == name
    assert len(f"{suffixed(name, 'f' * 64)}.jpeg".encode()) <= 255
    assert len(name.encode()) <= MOST_BYTES
    assert safe_name(name) == name


def test_long_names_stay_apart() -> None:
    one, other = safe_name("é" * 300), safe_name("é" * 299 + "e")
    assert one != other
    assert len(one.encode()) <= MOST_BYTES


def test_names_that_some_system_takes_for_one_are_one() -> None:
    assert folded("Horse") == folded("hORSE")
    assert folded("ﬁn") == folded("FIN")
    assert folded("straße") == folded("STRASSE")
    assert folded("horse") != folded("hoarse")
