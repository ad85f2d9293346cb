"""Ray itself: the cluster that is joined, or one that is started here for the time of a run; quiet, no net."""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import signal
import sys
import tempfile
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from math import ceil
from typing import Any, Final

from wordbrush.batch.ray_places import Asked, places, words
from wordbrush.batch.work import EngineOptions
from wordbrush.errors import ResourceError, SettingsError

__all__ = ["Crew", "cluster_of", "crew_of", "quiet"]

_OPTIONS: Final = ("address", "cpus_per_worker", "gpus_per_worker", "wait")
_WAIT: Final = 600.0
_STORE: Final = 100 << 20  # rows are tiny, and containers have little shared memory
_LONGEST: Final = 40  # of a folder in which Ray makes sockets, whose names may have 107 bytes
_QUIET: Final = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_DEDUP_LOGS_SKIP_REGEX": ".",  # Ray prints what it has to say of workers to standard output
    "RAY_BACKEND_LOG_LEVEL": "fatal",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
}
_TALK: Final = "Set ray log level from environment"
_HERE: Final = {
    "RAY_memory_monitor_refresh_ms": "0",  # it kills workers where anybody's processes fill the memory
    "RAY_worker_niceness": "0",  # by default 15: beside anything else that runs they would hardly start
    "RAY_enable_metrics_collection": "0",
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # on any system: its processes listen on this machine's loopback alone
}


@dataclass(frozen=True)
class Crew:
    """How many actors there are at most, what each asks Ray for, and the threads of torch in each.

    Attributes:
        workers: actors.
        cpus: of each, for Ray's count of them.
        gpus: of each.
        threads: of torch in each.
        asked: what one needs, and how long the run waits for it.
    """

    workers: int
    cpus: float
    gpus: float
    threads: int
    asked: Asked


@contextmanager
def crew_of(options: EngineOptions, stopped: Callable[[], bool] = lambda: False) -> Iterator[Crew]:
    """Join a cluster, or start one, while the block runs, and say how many actors it holds.

    Args:
        options: `extra` may hold `address`, `cpus_per_worker`, `gpus_per_worker`, and `wait`, the seconds for which a
            cluster may take to offer what one actor needs; see also `cluster_of`.
        stopped: says whether the run is to be stopped.

    Raises:
        SettingsError: Ray is not installed, an option is unknown, or no cluster answers.
        ResourceError: the cluster has not what one actor needs, or does not offer it in time.
        Cancelled: the run was stopped while it waited for that.
    """
    extra = options.extra
    unknown = sorted(set(extra) - set(_OPTIONS))
    if unknown:
        raise SettingsError(f"engine option {unknown[0]!r} is unknown: known are {', '.join(_OPTIONS)}")
    cpus, gpus = _number(extra, "cpus_per_worker"), _number(extra, "gpus_per_worker")
    wait = _number(extra, "wait")
    cpus = float(options.threads or 1) if cpus is None else cpus
    with cluster_of(options.workers, cpus, gpus, extra.get("address")) as (ray, joined):
        if gpus is None:
            gpus = float(ray.cluster_resources().get("GPU", 0) >= 1)
        one = {name: value for name, value in (("CPU", cpus), ("GPU", gpus)) if value}
        asked = Asked(one, _WAIT if wait is None else wait, options.folder, options.say, stopped)
        if not joined and not _held(ray, one):
            raise ResourceError(f"this machine has not what one worker asks for: {words(one)}")
        with places(asked, 1):  # a cluster that grows when it is asked is counted once it has grown
            count = options.workers or max(1, _held(ray, one))
        yield Crew(count, cpus, gpus, options.threads or max(1, int(cpus)), asked)


@contextmanager
def cluster_of(
    workers: int | None, cpus: float, gpus: float | None, address: str | None = None
) -> Iterator[tuple[Any, bool]]:
    """Join a cluster, or start one, while the block runs; a Ray that this process has already is used and left.

    Args:
        workers: for how many a Ray that starts here has room; None: as many as this machine has CPUs for.
        cpus: of each.
        gpus: of each; 0: Ray is to look for none.
        address: of the cluster. Without one that of `RAY_ADDRESS` is joined, which `ray job submit` sets; without
            that, Ray starts on this machine.

    Yields:
        The module `ray`, and whether the cluster is somebody else's.

    Raises:
        SettingsError: Ray is not installed, or no cluster answers.
    """
    address = address or os.environ.get("RAY_ADDRESS")
    if address and address.startswith("ray://"):
        raise SettingsError(f"{address}: start on a machine of the cluster (or `ray job submit`), and name its address")
    with _environment(_QUIET):
        ray = _imported()
        if ray.is_initialized():
            yield ray, True
            return
        folder = None if address else _short_folder()
        given: dict[str, Any] = {"address": address}
        if address is None:
            given = {
                "address": "local",
                "num_cpus": ceil(workers * cpus) if workers else None,
                "include_dashboard": False,
                "object_store_memory": _STORE,
                "_temp_dir": folder,
                "_node_ip_address": "127.0.0.1",
                **({"num_gpus": 0} if gpus == 0 else {}),
            }
        try:
            _start(ray, address, given)
            yield ray, bool(address)
        finally:
            ray.shutdown()
            _close_logs()
            if folder is not None:
                shutil.rmtree(folder, ignore_errors=True)


def _imported() -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import ray
            import ray.data
    except ImportError as error:
        raise SettingsError(f"the engine ray needs Ray: pip install 'wordbrush[ray]' ({error})") from error
    return ray


def _start(ray: Any, address: str | None, given: Mapping[str, Any]) -> None:
    try:
        with _handlers(), warnings.catch_warnings(), _filtered(), _environment({} if address else _HERE):
            warnings.simplefilter("ignore")
            with contextlib.nullcontext() if address else _loopback():
                ray.init(log_to_driver=False, logging_level=logging.CRITICAL, **given)
    except Exception as error:
        what = f"no Ray cluster answers at {address}" if address else "Ray does not start on this machine"
        raise SettingsError(f"{what} ({' '.join(str(error).split())[:300]})") from error


@contextmanager
def _loopback() -> Iterator[None]:
    """Have this process start Ray for this machine alone; whoever reaches its ports can run code here.

    Ray takes 127.0.0.1 for the machine's address to others, unless it is told that there are no others; and what the
    environment says of that it reads but once.
    """
    from ray._private import ray_constants

    before = ray_constants.ENABLE_RAY_CLUSTER
    ray_constants.ENABLE_RAY_CLUSTER = False
    try:
        yield
    finally:
        ray_constants.ENABLE_RAY_CLUSTER = before


@contextmanager
def _filtered() -> Iterator[None]:
    """Keep the standard error of the block, and pass on what is not Ray's own talk of its log levels."""
    try:
        before = os.dup(2)
    except OSError:  # there is none
        yield
        return
    with tempfile.TemporaryFile() as kept:
        sys.stderr.flush()
        os.dup2(kept.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(before, 2)
            os.close(before)
            kept.seek(0)
            lines = [line for line in kept.read().decode(errors="replace").splitlines(True) if _TALK not in line]
            sys.stderr.write("".join(lines))


def _number(extra: Mapping[str, Any], name: str) -> float | None:
    """Return an option that is a number, or None where it is not given."""
    value = extra.get(name)
    if value is not None and not (isinstance(value, int | float) and 0 <= value < float("inf")):
        raise SettingsError(f"{name} {value!r} is not a number from 0 on")
    return None if value is None else float(value)


def _held(ray: Any, one: Mapping[str, float]) -> int:
    """Return how many actors all machines of the cluster hold together."""
    there: Mapping[str, float] = ray.cluster_resources()
    return min((int(there.get(name, 0) // value) for name, value in one.items()), default=1)


def _short_folder() -> str:
    """Make a temporary folder whose name is short enough for sockets in it."""
    place = tempfile.gettempdir()
    return tempfile.mkdtemp(prefix="wb-", dir=place if len(place) < _LONGEST or os.name == "nt" else "/tmp")  # noqa: S108


@contextmanager
def _environment(values: Mapping[str, str]) -> Iterator[None]:
    """Set variables that are not set inside the block."""
    new = {name: value for name, value in values.items() if name not in os.environ}
    os.environ.update(new)
    try:
        yield
    finally:
        for name in new:
            os.environ.pop(name, None)


@contextmanager
def _handlers() -> Iterator[None]:
    """Keep the handler of SIGTERM, in whose place Ray puts its own."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def quiet() -> Iterator[None]:
    """Keep what Ray Data logs off the terminal inside the block; it stays in the files of Ray's session."""
    handlers = [one for one in logging.getLogger("ray.data").handlers if one.name == "console"]
    levels = [one.level for one in handlers]
    for one in handlers:
        one.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        for one, level in zip(handlers, levels, strict=True):
            one.setLevel(level)


def _close_logs() -> None:
    """Close the log files of a session that has ended; Ray Data opens new ones by itself."""
    for handler in logging.getLogger("ray.data").handlers:
        with contextlib.suppress(OSError):
            handler.close()

