"""The plots of a run: bars by kind, trade-offs along the ratio, and ablations of each varied setting."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from wordbrush.evaluation.items import Variant
from wordbrush.evaluation.plan import Rows
from wordbrush.evaluation.plots import Estimate, Series, bars, curve, lines_with_bands
from wordbrush.evaluation.scoring import METRICS
from wordbrush.evaluation.summary import Summary, scope_of, scopes_of

__all__ = ["plots_of"]

BARS: Final = ("mask_iou", "success", "clean", "rms", "band_rms")
MOST_BARS: Final = 8
"""Most variants in one plot of bars, since more look alike; the first ones are drawn, the tables have all."""
VARIED: Final = ("mask_iou", "success", "clean", "rms")
TRADES: Final = ("distance_to_input", "background_rms")


def plots_of(rows: Rows, summary: Summary) -> list[tuple[str, str]]:
    """Return (title, SVG) of every plot that the run has the numbers for, with intervals of 95 %.

    Variants tagged `{"curve": NAME, "ratio": r}` are points of a trade-off, those tagged
    `{"vary": SETTING, "value": v}` points of an ablation (on the line `{"line": NAME}`); the others are bars.
    """
    plots = [*_bars(rows, summary), *_curves(rows, summary), *_ablations(rows, summary)]
    return [(title, svg) for title, svg in plots if svg]


def _estimate(summary: Summary, variant: str, scope: str, metric: str) -> Estimate | None:
    interval = summary[variant][scope].get(metric)
    if interval is None:
        return None
    low, high = interval.low, interval.high
    return interval.mean, interval.mean if low is None else low, interval.mean if high is None else high


def _bars(rows: Rows, summary: Summary) -> list[tuple[str, str]]:
    scopes = scopes_of(rows.plan.kinds)
    plain = [v for v in rows.plan.variants if not {"vary", "curve"} & v.tags.keys()][:MOST_BARS]
    plots = []
    for metric in BARS:
        values = {v.name: [_estimate(summary, v.name, scope, metric) for scope in scopes] for v in plain}
        values = {name: estimates for name, estimates in values.items() if any(estimates)}
        label = METRICS[metric].label
        limits = None if metric.endswith("rms") else (0.0, 1.0)
        if values:
            plots.append((label, bars(scopes, values, y_label=label, title=label, limits=limits)))
    return plots


def _curves(rows: Rows, summary: Summary) -> list[tuple[str, str]]:
    groups: dict[str, list[Variant]] = {}
    for variant in rows.plan.variants:
        if "curve" in variant.tags and "ratio" in variant.tags:
            groups.setdefault(str(variant.tags["curve"]), []).append(variant)
    scope = scopes_of(rows.plan.kinds)[0]
    plots = []
    for metric in TRADES:
        lines = [line for name, variants in groups.items() if (line := _trade(name, variants, summary, scope, metric))]
        title = f"Success against {METRICS[metric].label}, along the ratio ({scope})"
        if lines:
            plots.append((title, curve(lines, x_label=METRICS[metric].label, y_label="success", title=title)))
    return plots


def _trade(name: str, variants: Sequence[Variant], summary: Summary, scope: str, metric: str) -> Series | None:
    points = []
    for variant in sorted(variants, key=lambda v: float(v.tags["ratio"])):
        paid, won = (_estimate(summary, variant.name, scope, m) for m in (metric, "success"))
        if paid and won:
            points.append((paid[0], *won, f"{float(variant.tags['ratio']):g}"))
    if len(points) < 2:
        return None
    x, y, low, high, labels = zip(*points, strict=True)
    return Series(name, x, y, low, high, labels)


def _ablations(rows: Rows, summary: Summary) -> list[tuple[str, str]]:
    groups: dict[str, list[Variant]] = {}
    for variant in rows.plan.variants:
        if "vary" in variant.tags:
            groups.setdefault(str(variant.tags["vary"]), []).append(variant)
    plots = []
    for setting, variants in groups.items():
        by_line: dict[str, list[Variant]] = {}
        for variant in variants:
            by_line.setdefault(str(variant.tags.get("line", variant.method)), []).append(variant)
        for metric in VARIED:
            scope = scope_of(metric, scopes_of(rows.plan.kinds))
            title = f"{METRICS[metric].label} by {setting} ({scope})"
            plots.append((title, _ablation(setting, metric, by_line, summary, scope)))
    return plots


def _ablation(setting: str, metric: str, lines: dict[str, list[Variant]], summary: Summary, scope: str) -> str:
    """Draw one metric over one setting: lines where its values are numbers, bars where they are words."""
    label, title = METRICS[metric].label, f"{METRICS[metric].label} by {setting} ({scope})"
    values = list(dict.fromkeys(v.tags["value"] for variants in lines.values() for v in variants))
    points = {
        (name, v.tags["value"]): estimate
        for name, variants in lines.items()
        for v in variants
        if (estimate := _estimate(summary, v.name, scope, metric))
    }
    if not points:
        return ""
    if all(isinstance(value, int | float) and not isinstance(value, bool) for value in values) and len(values) > 1:
        drawn = []
        for name in lines:
            in_order = sorted((float(value), estimate) for (line, value), estimate in points.items() if line == name)
            if in_order:
                y, low, high = zip(*(estimate for _, estimate in in_order), strict=True)
                drawn.append(Series(name, [value for value, _ in in_order], y, low, high))
        return lines_with_bands(drawn, x_label=setting, y_label=label, title=title)
    groups = [str(value) for value in values]
    table = {name: [points.get((name, value)) for value in values] for name in lines}
    return bars(groups, table, y_label=label, title=title)
