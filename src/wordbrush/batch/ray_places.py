"""Places in a cluster: what the actors of a run are promised, and the end of these actors, whatever ends the run.

Ray Data only lets go of its actors. Ray ends them once nothing names them any more: an error that somebody keeps holds
them, and so does a pass that goes on in the background; and one that died is started again by itself. The processors
that they keep are then missed by the next run. So each actor gets a name here, and a placement group of its own: at the
end of a pass each is killed by its name, and the groups are removed, which ends whatever is still in them.
"""

from __future__ import annotations

import contextlib
import secrets
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from wordbrush.errors import Cancelled, ResourceError

__all__ = ["Asked", "places", "words"]

_GLANCE: Final = 0.5  # seconds
_PATIENCE: Final = 3.0  # seconds until a wait is worth a word
_EVERY: Final = 10.0  # seconds between such words


@dataclass(frozen=True)
class Asked:
    """What a run asks the cluster for.

    Attributes:
        one: resources of one actor, by Ray's names; empty where it needs none.
        seconds: in which the cluster must offer them.
        folder: of the run, by which others know who holds what.
        say: takes a sentence on what the run waits for.
        stopped: says whether the run is to be stopped.
    """

    one: Mapping[str, float]
    seconds: float
    folder: Path
    say: Callable[[str], None]
    stopped: Callable[[], bool]


@contextmanager
def places(asked: Asked, count: int) -> Iterator[Callable[[], dict[str, Any]]]:
    """Hold places for actors while the block runs, at least one from its beginning on.

    Yields:
        A function that returns the options of the next actor: its name and its place. Actors started with them are
        dead when the block has ended, and their places are free again as soon as Ray has noticed.

    Raises:
        ResourceError: the cluster did not offer a single place in time; it says what is taken and by whom.
        Cancelled: the run was stopped before.
    """
    import ray
    from ray.util import placement_group, remove_placement_group
    from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

    token, groups, names = secrets.token_hex(4), list[Any](), list[str]()

    def options() -> dict[str, Any]:
        names.append(f"wordbrush-{token}-{len(names)}")
        # Else Ray would run a row again for ever that kills its actor. Actors themselves are started again.
        found: dict[str, Any] = {"name": names[-1], "max_restarts": -1, "max_task_retries": 0}
        if groups:
            place = groups[(len(names) - 1) % len(groups)]
            found["scheduling_strategy"] = PlacementGroupSchedulingStrategy(place, placement_group_bundle_index=0)
        return found

    try:
        for number in range(count if asked.one else 0):
            groups.append(placement_group([dict(asked.one)], name=f"wordbrush {asked.folder} {token}-{number}"))
        if groups:
            first = _first(groups, asked)
            groups.insert(0, groups.pop(first))
        yield options
    finally:
        for name in names:
            with contextlib.suppress(Exception):  # it is dead already
                ray.kill(ray.get_actor(name), no_restart=True)
        for group in groups:
            with contextlib.suppress(Exception):  # the cluster is gone
                remove_placement_group(group)


def _first(groups: list[Any], asked: Asked) -> int:
    """Wait until one of the groups has its resources, and return its number.

    A cluster that grows when it is asked is asked by these groups.
    """
    import ray

    refs = [group.ready() for group in groups]
    begin = time.monotonic()
    told = begin + _PATIENCE - _EVERY
    while True:
        now = time.monotonic()
        ready, _ = ray.wait(refs, num_returns=1, timeout=max(0.0, min(_GLANCE, begin + asked.seconds - now)))
        if ready:
            return refs.index(ready[0])
        if asked.stopped():
            raise Cancelled("stopped; run again to go on")
        now = time.monotonic()
        if now - told >= _EVERY:
            told = now
            left = max(0.0, begin + asked.seconds - now)
            asked.say(f"waiting for {words(asked.one)} of the cluster, {left:.0f} s at most: {_taken(asked.one)}")
        if now - begin >= asked.seconds:
            offer = f"no machine of the cluster offered {words(asked.one)} within {asked.seconds:g} seconds"
            raise ResourceError(f"{offer}: {_taken(asked.one)}")


def _taken(one: Mapping[str, float]) -> str:
    """Say of each resource how much the cluster has, how much is free, and who holds how much of the rest."""
    import ray
    from ray.util import placement_group_table

    there, free = ray.cluster_resources(), ray.available_resources()
    groups = [group for group in placement_group_table().values() if group["state"] == "CREATED"]
    told = []
    for name in one:
        held = Counter[str]()
        for group in groups:
            who = group["name"].rpartition(" ")[0]
            who = who if who.startswith("wordbrush ") else "a placement group"
            held[who] += sum(bundle.get(name, 0.0) for bundle in group["bundles"].values())
        held["other tasks and actors"] = there.get(name, 0.0) - free.get(name, 0.0) - held.total()
        by = ", ".join(f"{amount:g} held by {who}" for who, amount in sorted(held.items()) if amount > 1e-4)
        told.append(f"{free.get(name, 0.0):g} of its {there.get(name, 0.0):g} {name} free{f' ({by})' if by else ''}")
    return " and ".join(told)


def words(one: Mapping[str, float]) -> str:
    """Return resources for people: `1 CPU and 1 GPU`."""
    return " and ".join(f"{value:g} {name}" for name, value in one.items())
