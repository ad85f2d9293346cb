"""Lists of seeds as people write them: `1,2,5-8`."""

from __future__ import annotations

import re

from wordbrush.errors import SettingsError

__all__ = ["MAX_SEED", "MAX_SEEDS", "parse_one_seed", "parse_seeds"]

MAX_SEED = 2**63 - 1
MAX_SEEDS = 10_000
_ITEM = re.compile(r"(\d{1,19})(?:-(\d{1,19}))?")


def parse_seeds(text: str) -> tuple[int, ...]:
    """Read a list of seeds; ranges include both ends, the order is kept, a repeated seed counts once.

    Args:
        text: whole numbers and ranges separated by commas, such as `1,2,5-8`.

    Returns:
        At least one seed, each in [0, 2**63 - 1].

    Raises:
        SettingsError: anything else, or more than 10,000 seeds.
    """
    seeds: dict[int, None] = {}
    for item in text.split(","):
        match = _ITEM.fullmatch(item.strip())
        if match is None:
            raise SettingsError(f"--seed: {item.strip()[:40]!r} is not a seed; write whole numbers like 1,2,5-8")
        first = int(match[1])
        last = int(match[2]) if match[2] is not None else first
        if last > MAX_SEED:
            raise SettingsError(f"--seed: {last} is too large; the largest seed is {MAX_SEED}")
        if last < first:
            raise SettingsError(f"--seed: the range {item.strip()} runs backwards")
        if last - first + 1 + len(seeds) > MAX_SEEDS:
            raise SettingsError(f"--seed: more than {MAX_SEEDS} seeds in one call")
        seeds.update(dict.fromkeys(range(first, last + 1)))
    return tuple(seeds)


def parse_one_seed(text: str) -> int:
    """Read exactly one seed.

    Raises:
        SettingsError: the text is not one whole number in [0, 2**63 - 1].
    """
    seeds = parse_seeds(text)
    if len(seeds) != 1:
        raise SettingsError(f"--seed: {text[:40]!r} names several seeds; this command takes one")
    return seeds[0]
