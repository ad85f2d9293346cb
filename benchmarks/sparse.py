"""What a sparse decode costs and how far it is from the dense one, over the area of the region and the refresh.

Seconds are of the CPU on one thread, sparse calls between dense ones, so that their ratio holds on a busy machine.
Errors are root mean squares in the region, relative to the dense values.

    python -m benchmarks.sparse forwards [--shape sd15|pocket|flux-512|flux-1024] [--rounds 1] --json FILE
    python -m benchmarks.sparse decode [--model pocket|pocket-flow] --json FILE
    python -m benchmarks.sparse whole --json FILE
    python -m benchmarks.sparse plot FORWARDS.json... DECODE.json --picture FILE

`forwards` runs one row of a network. `decode` edits scenes of the truth bench with a shipped model and square masks.
`whole` makes edits with a UNet of the shape `sd15` and a small text encoder and autoencoder, 15 % of the picture.
Random weights tell seconds and no errors: `sd15` has the shape of Stable Diffusion 1.5 at 512 px, `flux-512` and
`flux-1024` that of FLUX.1 with 512 tokens of text, of whose 19 double and 38 single blocks there are one and two.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from tests.support import tiny
from wordbrush import Editor
from wordbrush.evaluation.truth import default_bench, load_truth
from wordbrush.models.network import packed, places
from wordbrush.request import EditRequest
from wordbrush.settings import Settings
from wordbrush.speed.boxes import Box
from wordbrush.speed.records import Record, Standing, nbytes
from wordbrush.speed.sparse import part_of

AREAS = (0.05, 0.1, 0.15, 0.25, 0.5)
REFRESHES = (2, 3, 5, 8, 1000)
STEPS = 8
"""Of an edit by `whole`."""
POCKET = Path(__file__).parents[1] / "src" / "wordbrush" / "models" / "pocket" / "unet"


def _random(build: Callable[[], Any]) -> Any:
    """Return a network with random weights that keep what it computes in range."""
    with torch.device("meta"):
        module = build()
    module = module.to_empty(device="cpu").eval()
    generator = torch.Generator().manual_seed(0)
    for name, weights in module.named_parameters():
        if weights.ndim > 1:
            weights.normal_(0, 1 / math.sqrt(weights[0].numel()), generator=generator)
        else:
            weights.fill_(1.0 if name.endswith("weight") else 0.0)
    return module


def sd15(text: int) -> Any:
    """Return a UNet of Stable Diffusion 1.5's shape, for texts so wide."""
    from diffusers import UNet2DConditionModel

    widths = (320, 640, 1280, 1280)
    return _random(lambda: UNet2DConditionModel(
        sample_size=64, block_out_channels=widths, attention_head_dim=8, cross_attention_dim=text
    ))  # fmt: skip


def network(shape: str) -> tuple[Any, int, Callable[[], Any]]:
    """Return a network, the side of its map in latent cells, and a call of one row."""
    from diffusers import FluxTransformer2DModel, UNet2DConditionModel

    if shape.startswith("flux"):
        module, side = _random(lambda: FluxTransformer2DModel(num_layers=1, num_single_layers=2)), int(shape[5:]) // 8
        x = torch.randn(1, 16, side, side)
        told = {
            "timestep": torch.tensor([0.5]), "encoder_hidden_states": torch.randn(1, 512, 4096),
            "pooled_projections": torch.randn(1, 768), "txt_ids": torch.zeros(512, 3), "img_ids": places(x, 3),
        }  # fmt: skip
        return module, side, lambda: module(packed(x), **told, return_dict=False)
    if shape == "pocket":
        module = UNet2DConditionModel.from_pretrained(POCKET, local_files_only=True).eval()
    else:
        module = sd15(768)
    side, width = int(module.config.sample_size), module.config.cross_attention_dim
    x, text = torch.randn(1, module.config.in_channels, side, side), torch.randn(1, 77, width)
    return module, side, lambda: module(x, torch.tensor([500.0]), encoder_hidden_states=text, return_dict=False)


def square(area: float, side: int) -> Box:
    """Return a square in the middle of a square map, of that share of it."""
    edge = max(1, round(side * math.sqrt(area)))
    corner = (side - edge) // 2
    return Box(corner, corner, corner + edge, corner + edge)


def seconds(call: Callable[[], Any]) -> float:
    """Return the CPU seconds of a call."""
    begin = time.process_time()
    call()
    return time.process_time() - begin


def forwards(shape: str, rounds: int) -> list[dict[str, Any]]:
    """Time one row of a network: dense, recorded, and on the part, by area; every round from small areas and back."""
    module, side, run = network(shape)
    run()
    parts, rows = dict[float, Callable[[], None]](), list[dict[str, Any]]()
    for area in AREAS:
        region, kept = torch.zeros(1, 1, side, side), Record()
        square(area, side).cut(region).fill_(1)
        part = part_of(module, region)

        def record(part: Any = part, kept: Record = kept) -> None:
            with part.recording(kept):
                run()

        def sparse(part: Any = part, kept: Record = kept) -> None:
            with part.within(Standing((kept, 1.0))):
                run()

        parts[area] = sparse
        rows.append({
            "shape": shape, "area": area, "part": part.share, "recorded_s": seconds(record), "MiB": nbytes(kept) / 2**20
        })  # fmt: skip
        sparse()  # warm
    spent, dense = defaultdict[float, list[float]](list), list[float]()
    for _ in range(rounds):
        dense.append(seconds(run))
        for area in (*AREAS, *reversed(AREAS)):
            spent[area].append(seconds(parts[area]))
        dense.append(seconds(run))
    for row in rows:
        row["dense_s"], row["sparse_s"] = statistics.mean(dense), statistics.mean(spent[row["area"]])
        row["ratio"] = row["sparse_s"] / row["dense_s"]
        print(row, flush=True)
    return rows


def _watched(driver: Any) -> dict[str, float]:
    """Count CPU seconds of the driver's calls by stage from here on."""
    spent, predict = defaultdict[str, float](float), driver._predict

    def timed(group: Any, *rest: Any) -> None:
        spent[group[0].stage] += seconds(lambda: predict(group, *rest))

    driver._predict = timed
    return spent


def decodes(model: str, items: int) -> list[dict[str, Any]]:
    """Time and compare whole decodes of a shipped model by area and refresh."""
    editor = Editor.from_pretrained(model)
    driver = editor.driver
    spent, rows = _watched(driver), list[dict[str, Any]]()
    for area in AREAS:
        values: dict[int, list[tuple[float, float, float]]] = defaultdict(list)
        for item in load_truth(default_bench(), "dev", ["object"], items):
            picture = Image.fromarray(item.picture)
            session = editor.open(picture)
            cells = session.latent_size[0]
            box = square(area, cells)
            mask = np.zeros((cells, cells), np.uint8)
            mask[box.top : box.bottom, box.left : box.right] = 255
            query = item.texts["captions"][1]
            drawn = Image.fromarray(mask).resize(picture.size, Image.Resampling.NEAREST)

            def edit(every: int, session: Any = session, query: str = query, drawn: Any = drawn) -> Any:
                spent.clear()
                settings = Settings(sparse=every)
                request = EditRequest(picture=session.picture, query=query, mask=drawn, settings=settings)
                done = driver.run([session.item(request)]).outcomes[0].result()
                return done.painted.latent, spent["decode"], spent["invert"]

            dense, before, _ = edit(0)
            sparse = {every: edit(every) for every in REFRESHES}
            after = edit(0)[1]
            for every, (latent, spent_s, up) in sparse.items():
                inside = [box.cut(value) for value in (latent, dense)]
                error = float((inside[0] - inside[1]).norm() / inside[1].norm())
                values[every].append((2 * spent_s / (before + after), error, up))
        for every, found in values.items():
            ratios, errors, _ = zip(*found, strict=True)
            rows.append({
                "model": model, "area": area, "every": every, "n": len(found), "ratio": statistics.median(ratios),
                "error": statistics.mean(errors), "error_max": max(errors),
            })  # fmt: skip
            print(rows[-1], flush=True)
    return rows


def whole() -> list[dict[str, Any]]:
    """Time decode and inversion of whole edits of few steps at an area of 15 %: dense, sparse, and dense once more."""
    editor = Editor.from_pretrained(tiny.pipeline(unet=sd15(32)))
    pixels = np.random.default_rng(0).integers(0, 256, (128, 128, 3), np.uint8)
    session, spent = editor.open(Image.fromarray(pixels), resolution=128), _watched(editor.driver)
    mask, rows = np.zeros((64, 64), np.uint8), list[dict[str, Any]]()
    square(0.15, 64).cut(torch.from_numpy(mask)).fill_(255)
    drawn = Image.fromarray(mask).resize((128, 128), Image.Resampling.NEAREST)
    for every in (0, 3, 1000, 0):
        spent.clear()
        settings = Settings(sparse=every, steps=STEPS)
        request = EditRequest(picture=session.picture, query="a zebra", mask=drawn, settings=settings)
        run = editor.driver.run([session.item(request)])
        run.outcomes[0].result()
        rows.append({"every": every, **spent, "evaluations": dict(run.evaluations), "notes": run.notes})
        print(rows[-1], flush=True)
    return rows


def plot(sources: list[Path], picture: Path) -> None:
    """Draw ratios of forwards over the area, and errors of decodes over area and refresh."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, (left, right) = pyplot.subplots(1, 2, figsize=(10, 4), layout="constrained")
    rows = [row for source in sources for row in json.loads(source.read_text(encoding="utf-8"))]
    for shape in dict.fromkeys(row["shape"] for row in rows if "shape" in row):
        of = [row for row in rows if row.get("shape") == shape]
        left.plot([row["area"] for row in of], [row["ratio"] for row in of], "o-", label=shape)
    for model, style in (("pocket", "o-"), ("pocket-flow", "s--")):
        for number, every in enumerate(REFRESHES):
            of = [row for row in rows if row.get("every") == every and row["model"] == model]
            label = "first step whole" if every == max(REFRESHES) else f"1 step of {every} whole"
            errors = [row["error"] for row in of]
            right.plot([row["area"] for row in of], errors, style, color=f"C{number}", label=f"{model}, {label}")
    left.set(xlabel="area of the region", ylabel="seconds of a sparse call / dense", ylim=(0, 1.5), xlim=(0, 0.52))
    left.axhline(1, color="grey", linewidth=0.5)
    right.set(xlabel="area of the region", ylabel="error of the latent in the region", ylim=(0, None), xlim=(0, 0.52))
    for axes in (left, right):
        axes.legend(frameon=False, fontsize=7)
    figure.savefig(picture)


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("forwards", "decode", "whole", "plot"))
    parser.add_argument("sources", nargs="*", type=Path)
    parser.add_argument("--shape", choices=("sd15", "pocket", "flux-512", "flux-1024"), default="sd15")
    parser.add_argument("--model", choices=("pocket", "pocket-flow"), default="pocket")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--items", type=int, default=3)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--picture", type=Path)
    given = parser.parse_args()
    torch.set_num_threads(1)
    if given.what == "plot":
        plot(given.sources, given.picture)
        return
    with torch.no_grad():
        ways = {
            "forwards": lambda: forwards(given.shape, given.rounds),
            "decode": lambda: decodes(given.model, given.items),
            "whole": whole,
        }
        rows = ways[given.what]()
    if given.json:
        given.json.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
