"""The page of a run: HTML with its plots and pictures inside; no script, no address, nothing to fetch."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator, Sequence
from html import escape
from pathlib import Path
from typing import Any, Final

import numpy as np

from wordbrush.evaluation.bootstrap import Interval
from wordbrush.evaluation.examples import choose, read_example
from wordbrush.evaluation.figures import figures
from wordbrush.evaluation.items import Bytes
from wordbrush.evaluation.plan import PANELS, Row, Rows
from wordbrush.evaluation.plots import inline
from wordbrush.evaluation.scoring import METRICS
from wordbrush.evaluation.summary import Summary, scopes_of
from wordbrush.picture.panel import heat_colours
from wordbrush.settings import DEFAULT_PRESET, Settings

__all__ = ["render"]

PANEL_METRIC: Final = "closeness_psnr"
"""What orders the examples: every method has it, and it looks at the result itself."""

_STYLE: Final = """
:root { color-scheme: light dark; --paper: #fbfbf9; --ink: #26262b; --soft: #6a6a72; --grid: #d8d8d3;
  --panel: #f1f1ed; }
@media (prefers-color-scheme: dark) {
  :root { --paper: #17171a; --ink: #e6e6e2; --soft: #9d9da6; --grid: #3a3a41; --panel: #202026; }
}
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 72rem; padding: 1rem; background: var(--paper); color: var(--ink);
  font: 16px/1.5 system-ui, sans-serif; }
h1 { font-size: 1.6rem; line-height: 1.2; margin: 1rem 0 .5rem; }
h2 { font-size: 1.2rem; margin: 2.5rem 0 .5rem; }
h3 { font-size: 1rem; margin: 1.5rem 0 .25rem; overflow-wrap: anywhere; }
p, li, dd { overflow-wrap: anywhere; }
.soft, figcaption, dt { color: var(--soft); }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-size: .85rem; font-variant-numeric: tabular-nums; }
th, td { padding: .3rem .6rem; text-align: right; border-bottom: 1px solid var(--grid); white-space: nowrap; }
th:first-child, td:first-child { text-align: left; position: sticky; left: 0; background: var(--paper); }
th { font-weight: 600; vertical-align: bottom; white-space: normal; min-width: 5rem; }
td small { color: var(--soft); display: block; }
.better { font-weight: 600; }
dl { display: grid; grid-template-columns: minmax(6rem, auto) 1fr; gap: .1rem 1rem; margin: .5rem 0; font-size: .9rem; }
dd { margin: 0; }
.plots { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 26rem), 1fr)); gap: 1rem; }
figure { margin: 0; min-width: 0; }
.plots figure { background: var(--panel); border-radius: .5rem; padding: .5rem; }
.plots svg { width: 100%; height: auto; display: block; stroke-linejoin: round; stroke-linecap: butt; }
.row { display: grid; grid-template-columns: repeat(auto-fit, minmax(7rem, 1fr)); gap: .5rem; margin: .25rem 0 1rem; }
.row img { width: 100%; height: auto; display: block; border-radius: .25rem; }
figcaption { font-size: .8rem; }
code { font-size: .85em; overflow-wrap: anywhere; }
details { margin: .75rem 0; }
summary { cursor: pointer; }
"""


def render(rows: Rows, out: Path, result: dict[str, Any], summary: Summary, differences: Summary) -> str:
    """Return the page.

    Args:
        rows: of the run.
        out: its folder, for the example pictures.
        result: what stands in `result.json`.
        summary: means.
        differences: differences to the baseline.
    """
    bench = result["bench"]
    title = f"Truth bench, {bench['split']} split: {result['model']['name']}"
    scopes = scopes_of(rows.plan.kinds)
    parts = [
        _head(title, result),
        "<h2>Means</h2>",
        "<p class=soft>Mean and 95 % interval by bootstrap over items. Each kind counts the same.</p>",
        *(_table(scope, summary, opened=index == 0) for index, scope in enumerate(scopes)),
        *_plots(rows, summary),
        *_differences(result["baseline"], scopes[0], differences),
        *_examples(rows, out),
        *_failed(rows),
        _variants(result),
    ]
    body = "\n".join(parts)
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n{body}\n</body>\n</html>\n"
    )


def _head(title: str, result: dict[str, Any]) -> str:
    bench, model, lpips = result["bench"], result["model"], result["lpips"]
    facts = {
        "Command": result["words"],
        "Version": ", ".join(f"{name} {version}" for name, version in result["versions"].items()),
        "Model": f"{model['name']} ({model['family']}, {model['dtype']}), weights {model['sha256'][:16]}",
        "Bench": f"{bench['items']} items of {len(bench['kinds'])} kinds, {bench['sha256'][:16]}",
        "Judge": str(result["judge"])[:16],
        "LPIPS": f"skipped: {lpips['skipped']}" if "skipped" in lpips else ", ".join(lpips.values()),
        "Seed": str(result["seed"]),
    }
    rows = "".join(f"<dt>{escape(name)}</dt><dd>{escape(text)}</dd>" for name, text in facts.items())
    return f"<h1>{escape(title)}</h1>\n<dl>{rows}</dl>"


def _table(scope: str, summary: Summary, *, opened: bool) -> str:
    metrics = [name for name in METRICS if any(name in scopes[scope] for scopes in summary.values())]
    head = "".join(f"<th>{escape(METRICS[name].label)}</th>" for name in metrics)
    lines = []
    for variant, scopes in summary.items():
        cells = "".join(f"<td>{_cell(scopes[scope].get(name), METRICS[name].decimals)}</td>" for name in metrics)
        lines.append(f"<tr><td>{escape(variant)}</td>{cells}</tr>")
    table = f"<div class=wide><table><tr><th>Variant</th>{head}</tr>{''.join(lines)}</table></div>"
    return f"<details{' open' if opened else ''}><summary>{escape(scope)}</summary>{table}</details>"


def _cell(found: Interval | None, decimals: int, *, sign: str = "") -> str:
    if found is None:
        return "–"
    low, high = (f"{value:{sign}.{decimals}f}" for value in (found.low, found.high))
    return f"{found.mean:{sign}.{decimals}f}<small>{low} … {high}</small>"


def _plots(rows: Rows, summary: Summary) -> Iterator[str]:
    made = figures(rows, summary)
    if made:
        yield "<h2>Plots</h2>"
        yield "<div class=plots>"
        for index, (title, svg) in enumerate(made):
            drawn = inline(svg, f"plot{index}").replace("<svg", f'<svg role="img" aria-label="{escape(title)}"', 1)
            yield f"<figure>{drawn}</figure>"
        yield "</div>"


def _differences(baseline: str, scope: str, differences: Summary) -> Iterator[str]:
    if not differences:
        return
    yield f"<h2>Differences to {escape(baseline)}</h2>"
    yield (f"<p class=soft>Item by item, {escape(scope)}; bold where the interval is on the better side of 0.</p>")
    metrics = [name for name in METRICS if any(name in scopes[scope] for scopes in differences.values())]
    head = "".join(f"<th>{escape(METRICS[name].label)}</th>" for name in metrics)
    lines = []
    for variant, scopes in differences.items():
        cells = "".join(_difference(name, scopes[scope].get(name)) for name in metrics)
        lines.append(f"<tr><td>{escape(variant)}</td>{cells}</tr>")
    yield f"<div class=wide><table><tr><th>Variant</th>{head}</tr>{''.join(lines)}</table></div>"


def _difference(name: str, found: Interval | None) -> str:
    measure = METRICS[name]
    better = found is not None and (
        (measure.higher is True and found.low > 0) or (measure.higher is False and found.high < 0)
    )
    return f"<td{' class=better' if better else ''}>{_cell(found, measure.decimals, sign='+')}</td>"


def _examples(rows: Rows, out: Path) -> Iterator[str]:
    items = {item.id: item for item in rows.items}
    shown = [v.name for v in rows.plan.variants if v.tags.get(PANELS)]
    if not shown:
        return
    yield "<h2>Examples</h2>"
    yield f"<p class=soft>Best, median and worst item by {escape(METRICS[PANEL_METRIC].label)}.</p>"
    for variant in rows.plan.variants:
        if variant.name not in shown:
            continue
        yield f"<h3>{escape(variant.name)}</h3>"
        for rank, row in choose([r for r in rows.rows if r.variant == variant.name], PANEL_METRIC):
            item, example = items[row.item], read_example(out, variant.name, row.item)
            if example is None:
                continue
            reference, query = item.texts[variant.phrasing]
            values = ", ".join(
                _told(row, name) for name in ("closeness_psnr", "mask_iou", "background_psnr", "success")
            )
            texts = f"“{escape(reference)}” → “{escape(query)}”"
            yield f"<p>{rank}: {texts} <span class=soft>{escape(row.item)}, {values}</span></p>"
            tiles: list[tuple[str, Bytes]] = [
                ("input", item.picture),
                ("true region", _grey(item.region)),
                ("contrast", heat_colours(example.contrast)),
                ("mask", _grey(example.mask)),
                ("result", example.result),
                ("counterfactual", item.counterfactual),
            ]
            yield f"<div class=row>{''.join(_tile(name, picture) for name, picture in tiles)}</div>"


def _told(row: Row, name: str) -> str:
    value = row.metrics.get(name)
    if isinstance(value, bool):
        text = "yes" if value else "no"
    else:
        text = "–" if value is None else f"{value:.{METRICS[name].decimals}f}"
    return f"{name.replace('_', ' ')} {text}"


def _grey(mask: Any) -> Bytes:
    values = np.rint(np.asarray(mask, dtype=np.float32) * 255).astype(np.uint8)
    return np.repeat(values[..., None], 3, axis=2)


def _tile(name: str, picture: Bytes) -> str:
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, format="PNG", optimize=True)
    data = base64.b64encode(buffer.getvalue()).decode()
    return (
        f'<figure><img alt="{escape(name)}" width="{picture.shape[1]}" height="{picture.shape[0]}" '
        f'src="data:image/png;base64,{data}"><figcaption>{escape(name)}</figcaption></figure>'
    )


def _failed(rows: Rows) -> Iterator[str]:
    if rows.failed:
        yield f"<h2>Failed: {len(rows.failed)} of {len(rows.rows)}</h2>"
        lines = (f"<li>{escape(r.item)}, {escape(r.variant)}: {escape(r.error or '')}</li>" for r in rows.failed)
        yield f"<ul>{''.join(lines)}</ul>"


def _variants(result: dict[str, Any]) -> str:
    """Tell each variant's method and the switches that differ from the default preset's."""
    from dataclasses import asdict

    usual = asdict(Settings.from_preset(DEFAULT_PRESET))
    lines = []
    for variant in result["variants"]:
        changed = _changed(usual, variant["settings"])
        text = f"{variant['method']}, {variant['phrasing']}; {changed or 'the default settings'}"
        lines.append(f"<dt>{escape(variant['name'])}</dt><dd>{escape(text)}</dd>")
    return f"<h2>Variants</h2>\n<dl>{''.join(lines)}</dl>"


def _changed(usual: dict[str, Any], settings: dict[str, Any]) -> str:
    pairs: Sequence[str] = [f"{name}={value}" for name, value in settings.items() if usual.get(name) != value]
    return ", ".join(pairs)
