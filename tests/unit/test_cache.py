"""The cache bounded in bytes."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from wordbrush.engine.store import Cache


def test_what_is_put_is_found_under_its_kind_and_key() -> None:
    cache = Cache(100)
    cache.put("latent", ("a", 1), "x", 10)
    assert cache.get("latent", ("a", 1)) == "x"
    assert cache.get("contrast", ("a", 1)) is None
    assert cache.get("latent", ("a", 2)) is None


def test_the_least_recently_used_goes_first() -> None:
    cache = Cache(30)
    for key in "abc":
        cache.put("contrast", key, key, 10)
    assert cache.get("contrast", "a") == "a"
    cache.put("contrast", "d", "d", 10)
    assert [cache.get("contrast", key) for key in "abcd"] == ["a", None, "c", "d"]
    assert cache.memory().dropped == 1


def test_a_value_put_again_replaces_the_old_one_and_its_size() -> None:
    cache = Cache(100)
    cache.put("trajectory", "a", 1, 60)
    cache.put("trajectory", "a", 2, 80)
    assert cache.get("trajectory", "a") == 2
    assert cache.memory().held == 80
    assert cache.memory().dropped == 0


def test_a_value_larger_than_the_limit_stays_until_the_next_one() -> None:
    cache = Cache(10)
    cache.put("latent", "big", 1, 1000)
    assert cache.get("latent", "big") == 1
    assert cache.memory().held == 1000
    cache.put("latent", "small", 2, 5)
    assert cache.get("latent", "big") is None
    assert cache.memory().held == 5


def test_memory_is_told_by_kind() -> None:
    cache = Cache(1000)
    cache.put("latent", 0, None, 1)
    cache.put("contrast", 0, None, 20)
    cache.put("contrast", 1, None, 30)
    memory = cache.memory()
    assert (memory.held, memory.limit, memory.dropped) == (51, 1000, 0)
    assert memory.entries == {"latent": 1, "contrast": 50}


@given(st.integers(1, 50), st.lists(st.tuples(st.integers(0, 5), st.integers(0, 30)), max_size=40))
def test_the_limit_holds_and_the_newest_is_always_there(limit: int, puts: list[tuple[int, int]]) -> None:
    cache = Cache(limit)
    for key, size in puts:
        cache.put("contrast", key, (key, size), size)
        assert cache.get("contrast", key) == (key, size)
        memory = cache.memory()
        assert memory.held <= max(limit, size)
        assert memory.held == sum(memory.entries.values())
