"""The two walks over many pictures at once: inversions that extend what is recorded, and masked decodes."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from torch import Tensor

from wordbrush.diffusion import noise
from wordbrush.diffusion.denoiser import Conditioning
from wordbrush.diffusion.solvers import State, decode, invert
from wordbrush.engine.events import Callback, Event
from wordbrush.report import Ledger

if TYPE_CHECKING:
    from wordbrush.editor import Job
    from wordbrush.engine.engine import Engine
    from wordbrush.session import Session
    from wordbrush.settings import Settings

__all__ = ["batches", "extend", "repaint", "reusable"]

T = TypeVar("T")


def batches(items: Iterable[T], key: Callable[[T], Hashable], size: int) -> list[list[T]]:
    """Group items of equal key, in order of appearance, and cut the groups into batches of at most `size`."""
    groups: dict[Hashable, list[T]] = {}
    for item in items:
        groups.setdefault(key(item), []).append(item)
    return [group[i : i + size] for group in groups.values() for i in range(0, len(group), size)]


def batch_size(engine: Engine, rows_each: int) -> int:
    """Return how many items may share a walk: one, unless the engine mixes items."""
    return max(1, engine.chunked.limit // rows_each) if engine.mix_items else 1


def _reporter(
    ledger: Ledger, callback: Callback | None, stage: Any, steps: int, session: Session
) -> Callable[[State, int], None]:
    def report(state: State, done: int) -> None:
        ledger.step = done
        if callback is not None:
            estimate = state.prediction.x0[:1]
            callback(Event(stage, done, steps, lambda: session.preview(estimate)))

    return report


def extend(
    sessions: Sequence[tuple[Session, str]], settings: Settings, callback: Callback | None, ledger: Ledger
) -> None:
    """Carry pictures up to the encoding ratio, each from where its recorded trajectory ends.

    Args:
        sessions: (session, reference) of each picture; all of one engine.
        settings: of the inversion.
        callback: called after each step.
        ledger: where seconds and evaluations are added up.
    """
    depth = len(sessions[0][0].engine.levels(settings)) - 1
    due: dict[Hashable, tuple[Session, str]] = {}
    for session, reference in sessions:
        if len(session.kept_trajectory(reference, settings)) <= depth:
            due.setdefault((id(session), session.trajectory_key(reference, settings)), (session, reference))
    if not due:
        return
    engine = sessions[0][0].engine
    rows_each = 1 if settings.inversion_guidance == 1.0 else 2

    def alike(item: tuple[Session, str]) -> Hashable:
        return item[0].latent_size, len(item[0].kept_trajectory(item[1], settings))

    for batch in batches(due.values(), alike, batch_size(engine, rows_each)):
        _invert_batch(engine, batch, settings, callback, ledger)


def reusable(session: Session, reference: str, settings: Settings, *, walks: bool) -> str | None:
    """Say what `extend` will take from the session: `trajectory`, `part of the trajectory`, or None.

    Args:
        session: of the picture.
        reference: what it shows.
        settings: of the inversion.
        walks: whether the edit will carry the picture further; one that changes nothing does not.
    """
    kept, wanted = len(session.kept_trajectory(reference, settings)), len(session.engine.levels(settings))
    if kept >= max(2, wanted):
        return "trajectory"
    # A solver that looks back starts anew, see `_invert_batch`.
    return "part of the trajectory" if walks and kept > 1 and session.engine.solver(settings).order == 1 else None


def _invert_batch(
    engine: Engine,
    batch: Sequence[tuple[Session, str]],
    settings: Settings,
    callback: Callback | None,
    ledger: Ledger,
) -> None:
    levels, solver = engine.levels(settings), engine.solver(settings)
    recorded = [list(session.kept_trajectory(reference, settings)) for session, reference in batch]
    if solver.order > 1:  # what it looks back at is not kept, and a walk in two parts would not be the walk in one
        recorded = [states[:1] for states in recorded]
    texts = [engine.prompt(s.inversion_text(r, settings), settings).conditioning for s, r in batch]
    empty = Conditioning.concat([engine.prompt("", settings).conditioning] * len(batch))
    start, before = len(recorded[0]) - 1, engine.denoiser.rows
    report = _reporter(ledger, callback, "invert", len(levels) - 1 - start, batch[0][0])
    with ledger.stage("invert"), torch.no_grad():
        for state in invert(
            engine.guided(empty, settings.inversion_guidance),
            torch.cat([states[-1] for states in recorded]),
            levels,
            Conditioning.concat(texts),
            start=start,
            label=settings.inversion_label,
            fixed_point=settings.fixed_point,
            solver=solver,
        ):
            for row, states in enumerate(recorded):
                states.append(state.x[row : row + 1])
            report(state, state.index - start)
    ledger.count("invert", engine.denoiser.rows - before)
    for (session, reference), states in zip(batch, recorded, strict=True):
        session.keep_trajectory(reference, settings, states)


def repaint(engine: Engine, jobs: Sequence[Job], callback: Callback | None, ledger: Ledger) -> Tensor:
    """Decode jobs of one latent size and one settings from x_r under their queries, held outside their masks.

    Returns:
        Clean latents (job, channel, height, width).
    """
    settings = jobs[0].settings
    levels = engine.levels(settings)
    paths = [job.session.trajectory(job.request.reference, settings=settings)[: len(levels)] for job in jobs]
    trajectory = [torch.cat(states) for states in zip(*paths, strict=True)]
    queries = Conditioning.concat([engine.prompt(job.request.query, settings).conditioning for job in jobs])
    negatives = Conditioning.concat([engine.prompt(job.request.negative, settings).conditioning for job in jobs])
    mask = torch.stack([torch.tensor(job.region.cells.values) for job in jobs])[:, None].to(trajectory[0])

    def fresh(index: int) -> Tensor:
        draws = [noise.normal(job.request.seed, "decode", index, trajectory[0].shape[1:]) for job in jobs]
        return torch.stack(draws).to(trajectory[0])

    report = _reporter(ledger, callback, "decode", len(levels) - 1, jobs[0].session)
    before, x = engine.denoiser.rows, trajectory[0]
    with ledger.stage("decode"), torch.no_grad():
        for state in decode(
            engine.guided(negatives, engine.guidance(settings)),
            trajectory[-1],
            levels,
            queries,
            trajectory=trajectory,
            mask=mask,
            soft=settings.soft,
            eta=settings.eta,
            noise=fresh,
            solver=engine.solver(settings),
        ):
            x = state.x
            report(state, len(levels) - 1 - state.index)
    ledger.count("decode", engine.denoiser.rows - before)
    return x
