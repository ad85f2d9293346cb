from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wordbrush.errors import SettingsError
from wordbrush.notation import drawn, parse_embeddings, parse_loras, parse_one_seed, parse_seeds
from wordbrush.settings import MAX_SEED


@pytest.mark.parametrize(
    ("text", "seeds"),
    [
        ("0", (0,)),
        ("1,2,5-8", (1, 2, 5, 6, 7, 8)),
        (" 3 , 1 ", (3, 1)),
        ("4-4", (4,)),
        ("2,1-3,2", (2, 1, 3)),
        (str(MAX_SEED), (MAX_SEED,)),
    ],
)
def test_lists_of_seeds(text: str, seeds: tuple[int, ...]) -> None:
    assert parse_seeds(text) == seeds


@pytest.mark.parametrize(
    "text", ["", ",", "1,", "a", "-1", "1-", "5-2", "1.5", "1 2", "0-10000", str(MAX_SEED + 1), "9" * 30, "1--2", "٣x"]
)
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(SettingsError, match="--seed"):
        parse_seeds(text)


@given(st.lists(st.integers(0, MAX_SEED), min_size=1, max_size=30, unique=True))
def test_what_is_written_is_read(seeds: list[int]) -> None:
    assert parse_seeds(",".join(map(str, seeds))) == tuple(seeds)


@pytest.mark.parametrize("text", ["-1", "-5", "3,-1", "-1-4", "random"])
def test_a_random_seed_is_told_how(text: str) -> None:
    """Minus one means "random" elsewhere; a list of seeds says what it means."""
    with pytest.raises(SettingsError, match="--seed random"):
        parse_seeds(text)


def test_random_seeds_are_drawn_once_each_and_in_their_place() -> None:
    first, two, fixed, last = parse_seeds(drawn("random, 2,5-5,random"))
    assert (two, fixed) == (2, 5)
    assert first != last
    assert all(0 <= seed < 2**32 for seed in (first, last))
    assert drawn("1,2,5-8") == "1,2,5-8"
    assert len({drawn("random") for _ in range(20)}) == 20


def test_one_seed_is_one() -> None:
    assert parse_one_seed("7") == 7
    with pytest.raises(SettingsError, match="several"):
        parse_one_seed("7,8")


def test_files_of_loras_have_scales() -> None:
    items = ["a.safetensors", "b.safetensors:0.8", "C:/c.safetensors:-2", "C:/d.safetensors", "e:f:1e1"]
    assert parse_loras(items) == (
        ("a.safetensors", 1.0),
        ("b.safetensors", 0.8),
        ("C:/c.safetensors", -2.0),
        ("C:/d.safetensors", 1.0),
        ("e:f", 10.0),
    )
    assert parse_loras([]) == ()


@pytest.mark.parametrize("item", ["", ":1", "a:101", "a:nan", "a:-inf"])
def test_other_loras_are_refused(item: str) -> None:
    with pytest.raises(SettingsError, match="--lora"):
        parse_loras([item])


def test_files_of_embeddings_have_words() -> None:
    whole = ("b.safetensors", r"C:\styles\c.safetensors", "x:y/d.safetensors", "odd:e.safetensors")
    assert parse_embeddings(["a.safetensors:moss", *whole]) == (("a.safetensors", "moss"), *whole)
    assert parse_embeddings(["a.safetensors:<cat toy>"]) == (("a.safetensors", "<cat toy>"),)
    assert parse_embeddings([]) == ()


@pytest.mark.parametrize("item", ["", ":moss", "a.safetensors:", "a.safetensors:  "])
def test_other_embeddings_are_refused(item: str) -> None:
    with pytest.raises(SettingsError, match="--embedding"):
        parse_embeddings([item])
