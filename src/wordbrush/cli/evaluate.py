"""`wordbrush eval`: the ground-truth bench, and the group the other evaluations join."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from wordbrush.cli import options as opt
from wordbrush.cli.terminal import Terminal, print_json
from wordbrush.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from wordbrush.evaluation.plan import Rows, RunPlan

__all__ = ["PARTIAL", "evaluate", "truth"]

PARTIAL = 6
"""Exit code of a run in which some items failed and the others are there."""

evaluate = typer.Typer(
    name="eval",
    help="Measure: against the truth, the paper's bounds, and by the paper's protocols.",
    no_args_is_help=True,
)

WHAT_PANEL = "What runs"
ITEMS_PANEL = "On which items"
HOW_PANEL = "How"


def _several(flag: str, text: str, metavar: str = "NAME", panel: str = WHAT_PANEL) -> Any:
    return typer.Option(flag, help=text + " Repeatable.", metavar=metavar, rich_help_panel=panel)


@evaluate.command()
def truth(
    *,
    out: Annotated[Path, typer.Option("--out", help="Folder for results; resumes.", metavar="FOLDER")],
    preset: Annotated[list[str] | None, _several("--preset", "A named set of switches.")] = None,
    method: Annotated[list[str] | None, _several("--method", "diffedit, or a baseline of the paper.")] = None,
    peer: Annotated[list[str] | None, _several("--peer", "A pipeline of diffusers, on the same model.")] = None,
    sets: Annotated[list[str] | None, _several("--set", "A switch for all.", "SETTING=VALUE")] = None,
    vary: Annotated[list[str] | None, _several("--vary", "Each method at each value.", "SETTING=V1,V2,...")] = None,
    phrasing: Annotated[list[str] | None, _several("--phrasing", "captions, phrases or empty.")] = None,
    baseline: Annotated[
        str | None,
        typer.Option("--baseline", help="Variant the others are compared to.", rich_help_panel=WHAT_PANEL),
    ] = None,
    split: Annotated[
        str, typer.Option("--split", help="dev to tune on, test to report.", rich_help_panel=ITEMS_PANEL)
    ] = "dev",
    kind: Annotated[list[str] | None, _several("--kind", "Only this kind of edit.", panel=ITEMS_PANEL)] = None,
    limit: Annotated[
        int | None, typer.Option("--limit", help="At most this many items a kind.", min=1, rich_help_panel=ITEMS_PANEL)
    ] = None,
    bench: Annotated[
        Path | None, typer.Option("--bench", help="The bench.", metavar="FOLDER", rich_help_panel=ITEMS_PANEL)
    ] = None,
    judge: Annotated[
        Path | None, typer.Option("--judge", help="The bench's judge.", metavar="FOLDER", rich_help_panel=ITEMS_PANEL)
    ] = None,
    lpips: Annotated[
        Path | None, typer.Option("--lpips", help="LPIPS weights.", metavar="FOLDER", rich_help_panel=ITEMS_PANEL)
    ] = None,
    model: opt.ModelName = "pocket",
    revision: opt.Revision = None,
    allow_download: opt.AllowDownload = False,
    device: opt.Device = None,
    dtype: opt.Dtype = None,
    seed: Annotated[int, typer.Option("--seed", help="Of every edit.", min=0, rich_help_panel=HOW_PANEL)] = 0,
    workers: Annotated[int, typer.Option("--workers", help="Processes.", min=1, rich_help_panel=HOW_PANEL)] = 1,
    threads: Annotated[
        int,
        typer.Option(
            "--threads", help="Of each process; the last bits depend on it.", min=1, rich_help_panel=HOW_PANEL
        ),
    ] = 1,
    share: Annotated[
        bool,
        typer.Option(
            "--share", help="Compute contrast and trajectory once an item; no seconds.", rich_help_panel=HOW_PANEL
        ),
    ] = False,
    memory: Annotated[bool, typer.Option("--memory", help="Measure peak memory.", rich_help_panel=HOW_PANEL)] = False,
    force: Annotated[bool, typer.Option("--force", help="Start anew.", rich_help_panel=HOW_PANEL)] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="List variants and items; run nothing.", rich_help_panel=HOW_PANEL)
    ] = False,
    json: opt.Json = False,
    quiet: opt.Quiet = False,
) -> None:
    """Score edits against the truth: masks, success, background, closeness, cost.

    Writes rows.jsonl while it runs, then result.json, rows.csv, summary.csv and report.html. Run again after a kill or
    Ctrl-C, it goes on where it was.
    """
    load = {"revision": revision, "local_files_only": not allow_download, "device": device, "dtype": dtype}
    what = _What(preset or [], [*(method or []), *(peer or [])], phrasing or [], sets or [], vary or [])
    plan = _plan(
        what,
        (bench, judge, lpips),
        kind or [],
        split,
        {
            "model": model,
            "load": load,
            "limit": limit,
            "seed": seed,
            "workers": workers,
            "threads": threads,
            "share": share,
            "measure_memory": memory,
        },
    )
    _check_baseline(plan, baseline)
    if dry_run:
        _show_plan(plan, json=json)
        return
    _run(plan, out, what.words(plan, baseline), Terminal(quiet=quiet), baseline=baseline, force=force, json=json)


@dataclass(frozen=True)
class _What:
    """The flags that name the variants."""

    presets: Sequence[str]
    methods: Sequence[str]
    phrasings: Sequence[str]
    sets: Sequence[str]
    vary: Sequence[str]

    def words(self, plan: RunPlan, baseline: str | None) -> str:
        """Return the command that makes the same figures; folders of one machine are left out."""
        from wordbrush.evaluation.items import KINDS
        from wordbrush.evaluation.plan import is_peer

        flags = (
            [("--model", plan.model.replace("\\", "/").rstrip("/").rsplit("/", 1)[-1])]
            if plan.model != "pocket"
            else []
        )
        flags += [(f"--{name}", str(plan.load[name])) for name in ("revision", "dtype") if plan.load.get(name)]
        flags += [("--preset", name) for name in self.presets]
        flags += [("--peer" if is_peer(name) else "--method", name) for name in self.methods]
        flags += [("--phrasing", name) for name in self.phrasings]
        flags += [("--set", item) for item in self.sets] + [("--vary", item) for item in self.vary]
        flags += [("--split", plan.split)]
        flags += [("--kind", kind) for kind in plan.kinds] if len(plan.kinds) < len(KINDS) else []
        flags += [("--limit", str(plan.limit))] if plan.limit else []
        flags += [("--seed", str(plan.seed))] if plan.seed else []
        flags += [("--threads", str(plan.threads))] if plan.threads > 1 else []
        flags += [("--baseline", baseline)] if baseline else []
        words = (
            [word for pair in flags for word in pair] + ["--share"] * plan.share + ["--memory"] * plan.measure_memory
        )
        return shlex.join(["wordbrush", "eval", "truth", *words, "--out", "FOLDER"])


def _plan(
    what: _What,
    folders: tuple[Path | None, Path | None, Path | None],
    kinds: Sequence[str],
    split: str,
    rest: dict[str, Any],
) -> RunPlan:
    """Read the flags.

    Raises:
        SettingsError: a name or value is unknown.
        InputError: there is no bench.
    """
    from wordbrush.evaluation.items import KINDS, PHRASINGS
    from wordbrush.evaluation.plan import RunPlan, find_method
    from wordbrush.evaluation.truth import default_bench
    from wordbrush.evaluation.variants import build_variants, parse_assignments, parse_varied

    phrasings = [_one_of("--phrasing", word, PHRASINGS) for word in what.phrasings] or ["captions"]
    chosen = [_one_of("--kind", word, KINDS) for word in kinds]
    for name in what.methods:
        find_method(name)
    variants = build_variants(
        presets=what.presets,
        methods=what.methods,
        phrasings=phrasings,
        switches=parse_assignments(what.sets),
        varied=parse_varied(what.vary),
    )
    bench = folders[0] or default_bench()
    return RunPlan(
        variants=variants,
        bench=bench,
        judge=folders[1] or bench / "judge",
        lpips=folders[2],
        split=_one_of("--split", split, ("dev", "test")),
        kinds=tuple(kind for kind in KINDS if kind in chosen or not chosen),
        **rest,
    )


def _one_of(flag: str, word: str, known: Sequence[str]) -> Any:
    if word not in known:
        raise SettingsError(f"{flag} {word!r} is unknown: known are {', '.join(known)}")
    return word


def _check_baseline(plan: RunPlan, baseline: str | None) -> None:
    names = [variant.name for variant in plan.variants]
    if baseline is not None and baseline not in names:
        raise SettingsError(f"--baseline {baseline!r} is none of the variants: {', '.join(names)}")


def _show_plan(plan: RunPlan, *, json: bool) -> None:
    from wordbrush.evaluation.truth import load_truth

    items = load_truth(plan.bench, plan.split, plan.kinds, plan.limit)
    names = [variant.name for variant in plan.variants]
    counts = {kind: sum(item.kind == kind for item in items) for kind in plan.kinds}
    if json:
        facts = {"schema": 1, "command": "plan", "split": plan.split, "items": counts, "variants": names}
        print_json({**facts, "rows": len(items) * len(names)})
        return
    print("\n".join(names))
    kinds = ", ".join(f"{count} {kind}" for kind, count in counts.items())
    print(f"{len(names)} variants x {len(items)} items ({kinds}) = {len(items) * len(names)} rows")


def _run(
    plan: RunPlan, out: Path, words: str, terminal: Terminal, *, baseline: str | None, force: bool, json: bool
) -> None:
    """Run, write the report, print it, and say by the exit code whether something failed."""
    from wordbrush.cli.progress import run_progress
    from wordbrush.evaluation.report import summary_table, write_report
    from wordbrush.evaluation.runner import run

    with run_progress(terminal) as told:
        rows: Rows = run(plan, out, told, force=force)
    with terminal.waiting("writing the report"):
        result = write_report(rows, out, command=words, baseline=baseline)
    if json:
        print_json(result)
    else:
        print(summary_table(rows, result))
    terminal.note(f"{out / 'report.html'}")
    for row in rows.failed[:5]:
        terminal.warn(f"{row.item}, {row.variant}: {row.error}")
    if rows.failed:
        terminal.warn(f"{len(rows.failed)} of {len(rows.rows)} rows failed; run again to try them again")
        raise typer.Exit(PARTIAL)
