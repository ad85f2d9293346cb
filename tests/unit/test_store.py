"""The store bounded in bytes."""

from __future__ import annotations

from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from wordbrush.engine.store import Store


@dataclass(frozen=True)
class Sized:
    """A value that says its size."""

    name: object
    nbytes: int


def test_what_is_put_is_found_under_its_kind_and_key() -> None:
    store = Store(100)
    store.put(("latent", "a", 1), Sized("x", 10))
    assert store.get(("latent", "a", 1)) == Sized("x", 10)
    assert store.get(("contrast", "a", 1)) is None
    assert store.get(("latent", "a", 2)) is None


def test_the_least_recently_used_goes_first() -> None:
    store = Store(30)
    for key in "abc":
        store.put(("contrast", key), Sized(key, 10))
    assert store.get(("contrast", "a")) == Sized("a", 10)
    store.put(("contrast", "d"), Sized("d", 10))
    assert [store.get(("contrast", key)) is not None for key in "abcd"] == [True, False, True, True]
    assert store.memory().dropped == 1


def test_a_value_put_again_replaces_the_old_one_and_its_size() -> None:
    store = Store(100)
    store.put(("trajectory", "a"), Sized(1, 60))
    store.put(("trajectory", "a"), Sized(2, 80))
    assert store.get(("trajectory", "a")) == Sized(2, 80)
    assert store.memory().held == 80
    assert store.memory().dropped == 0


def test_a_value_larger_than_the_limit_stays_until_the_next_one() -> None:
    store = Store(10)
    store.put(("latent", "big"), Sized(1, 1000))
    assert store.get(("latent", "big")) == Sized(1, 1000)
    assert store.memory().held == 1000
    store.put(("latent", "small"), Sized(2, 5))
    assert store.get(("latent", "big")) is None
    assert store.memory().held == 5


def test_memory_is_told_by_kind() -> None:
    store = Store(1000)
    for key, size in ((("latent",), 1), (("contrast", 0), 20), (("contrast", 1), 30)):
        store.put(key, Sized(key, size))
    memory = store.memory()
    assert (memory.held, memory.limit, memory.dropped) == (51, 1000, 0)
    assert memory.entries == {"latent": 1, "contrast": 50}


@given(st.integers(1, 50), st.lists(st.tuples(st.integers(0, 5), st.integers(0, 30)), max_size=40))
def test_the_limit_holds_and_the_newest_is_always_there(limit: int, puts: list[tuple[int, int]]) -> None:
    store = Store(limit)
    for key, size in puts:
        store.put(("contrast", key), Sized(key, size))
        assert store.get(("contrast", key)) == Sized(key, size)
        memory = store.memory()
        assert memory.held <= max(limit, size)
        assert memory.held == sum(memory.entries.values())
