"""What a run found, as tables in Markdown and as a plot; and the page that holds them."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from benchmarks.publish import filled
from wordbrush.evaluation.plots import bars
from wordbrush.files import write_atomic

__all__ = ["TABLES", "plot", "publish", "tables"]

Row = Mapping[str, Any]
_NONE = "–"


def _number(value: float | None, digits: int) -> str:
    return _NONE if value is None else f"{value:.{digits}f}"


def _ratio(row: Row) -> str:
    """Return a median ratio with its spread in brackets, which a derived one has not."""
    if not row.get("ratio"):
        return _NONE
    median, low, high = row["ratio"]
    spread = "" if low == high else f" ({low:.3f} to {high:.3f})"
    return f"{median:.3f}{spread}"


def _percent(value: float | None) -> str:
    return _NONE if value is None else f"{100 * value:.0f} %"


def _mib(value: float | None) -> str:
    return _NONE if value is None else f"{value / 2**20:.0f}"


_EDITS: Final[Mapping[str, Callable[[Row], str]]] = {
    "side": lambda row: str(row["name"]),
    "seconds": lambda row: _number(row.get("seconds"), 2),
    "of the yardstick": _ratio,
    "evaluations": lambda row: str(row.get("evaluations", _NONE)),
    "calls": lambda row: str(row.get("calls", _NONE)),
    "encodes": lambda row: str(row.get("encodes", _NONE)),
    "decodes": lambda row: str(row.get("decodes", _NONE)),
    "TFLOP": lambda row: _number(row.get("tflop"), 3),
    "share of the bound": lambda row: _percent(row.get("share")),
    "MiB": lambda row: _mib(row.get("memory")),
}
_FORWARDS: Final[Mapping[str, Callable[[Row], str]]] = {
    "network": lambda row: str(row["part"]),
    "engine": lambda row: str(row["engine"]),
    "seconds": lambda row: _number(row.get("seconds"), 4),
    "of torch": _ratio,
    "TFLOP": lambda row: _number(row.get("tflop"), 4),
    "share of the bound": lambda row: _percent(row.get("share")),
    "MiB": lambda row: _mib(row.get("memory")),
    "made in, s": lambda row: _number(row.get("made_in"), 1),
    "error": lambda row: _NONE if row.get("error") is None else f"{row['error']:.1e}",
}


def _table(columns: Mapping[str, Callable[[Row], str]], rows: Sequence[Row]) -> str:
    """Return a table; a row that has a status says that in place of its figures."""
    lines = ["| " + " | ".join(columns) + " |", "|" + "---|" * len(columns)]
    for row in rows:
        cells = [write(row) for write in columns.values()]
        if "status" in row:
            named = 2 if "engine" in row else 1
            cells[named:] = [str(row["status"]), *[""] * (len(cells) - named - 1)]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _about(result: Row) -> str:
    where, run = result["machine"], result["run"]
    versions = ", ".join(f"{name} {version}" for name, version in where["versions"].items())
    return (
        f"{where['date']}: {where['architecture']}, {where['vectors']}, {where['cores']} cores, {where['memory_gib']} "
        f"GiB, load {where['load']} at the start; {where['threads']} threads, float32, {versions}. Matrix products run "
        f"at {result['gemm']:.0f} GFLOP/s. Up to {run['rounds']} rounds, ratios of {run['clock']} time"
        f"{', a quick run' if run['quick'] else ''}."
    )


def _stages(rows: Sequence[Row]) -> str:
    """Return the median seconds of each stage of our own edits, and how much of the whole they are."""
    told = [row for row in rows if row.get("stages")]
    names = list(dict.fromkeys(stage for row in told for stage in row["stages"]))
    lines = ["| side | " + " | ".join(names) + " |", "|---|" + "---|" * len(names)]
    for row in told:
        whole = sum(row["stages"].values())
        cells = [
            f"{row['stages'][name]:.3f} ({row['stages'][name] / whole:.0%})" if name in row["stages"] else _NONE
            for name in names
        ]
        lines.append(f"| {row['name']} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _check(result: Row) -> str:
    found = result.get("check")
    if found is None:
        return "The whole edit that checks the sums was not run: no time was left."
    return (
        f"One whole edit of few steps, {found['evaluations']} evaluations, took {found['seconds']:.1f} s where its "
        f"passes foretell {found['derived']:.1f} s: {found['seconds'] / found['derived']:.2f} of them."
    )


TABLES: Final[Mapping[str, Callable[[Row], str]]] = {
    "speed-machine": _about,
    "speed-edits": lambda result: _table(_EDITS, result["edits"]),
    "speed-stages": lambda result: _stages(result["edits"]),
    "speed-forwards": lambda result: _table(_FORWARDS, result["forwards"]),
    "speed-forwards-sd15": lambda result: _table(_FORWARDS, result["sd15"]["forwards"]),
    "speed-derived": lambda result: _table(_EDITS, result["sd15"]["derived"]),
    "speed-check": lambda result: _check(result["sd15"]),
}
"""What stands in each block of the page, by the block's name."""


def tables(result: Row) -> dict[str, str]:
    """Return every block that the run has figures for; a quick run has none of SD1.5."""
    lacking = () if "sd15" in result else ("speed-forwards-sd15", "speed-derived", "speed-check")
    return {name: write(result) for name, write in TABLES.items() if name not in lacking}


def plot(result: Row) -> str:
    """Return bars of the ratios of whole edits to the yardstick, as SVG."""
    series: dict[str, list[Any]] = {}
    names = [row["name"] for row in result["edits"]]
    measured = {row["name"]: row.get("ratio") for row in result["edits"]}
    series["this model, measured"] = [measured[name] for name in names]
    if "sd15" in result:
        derived = {row["name"]: row.get("ratio") for row in result["sd15"]["derived"]}
        series["shape of SD1.5, derived"] = [derived.get(name) for name in names]
    title = "Time of a whole edit, as a share of that of diffusers' DiffEdit at its defaults"
    return bars([name.replace(", ", "\n") for name in names], series, y_label="share of its time", title=title)


def publish(result: Row, page: Path) -> None:
    """Fill the blocks of a page that it has, and write the plot beside it, under `images`."""
    text = page.read_text(encoding="utf-8")
    for name, table in tables(result).items():
        if f"<!-- table {name} -->" in text:
            text = filled(text, name, table)
    images = page.parent / "images"
    images.mkdir(exist_ok=True)
    write_atomic(images / "speed.svg", plot(result).encode(), force=True)
    write_atomic(page, text.encode(), force=True)


def stage_medians(runs: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Return the median seconds of each stage over runs."""
    names = dict.fromkeys(name for run in runs for name in run)
    return {name: statistics.median([run.get(name, 0.0) for run in runs]) for name in names}
