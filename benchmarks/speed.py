"""How fast wordbrush is, against the DiffEdit pipeline of diffusers on the very same network, in one process.

Seconds are noisy and say more of the machine than of the code; so runs of the sides alternate (A B B A), and ratios
of medians are reported beside counts that carry no noise at all: network evaluations (one row of one call each) and
passes through the autoencoder, counted on the shared modules themselves.

    python -m benchmarks.speed [--model FOLDER] [--steps 50] [--rounds 2] [--json FILE]

Without --model the pocket model is measured. The table goes to standard output.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from wordbrush import Editor

QUERY, REFERENCE = "a zebra on grass", "a horse on grass"


@dataclass
class Counter:
    """Network evaluations and calls, and autoencoder passes of the shared modules, since the last reset."""

    evaluations: int = 0
    calls: int = 0
    encoded: int = 0
    decoded: int = 0

    def watch(self, pipeline: Any) -> None:
        """Count on the modules themselves, so that both sides are counted alike."""
        pipeline.unet.register_forward_pre_hook(self._network, with_kwargs=True)
        pipeline.vae.encoder.register_forward_pre_hook(self._encoder)
        pipeline.vae.decoder.register_forward_pre_hook(self._decoder)

    def _network(self, _module: Any, args: Any, kwargs: Any) -> None:
        self.evaluations += len(args[0] if args else kwargs["sample"])
        self.calls += 1

    def _encoder(self, _module: Any, args: Any) -> None:
        self.encoded += len(args[0])

    def _decoder(self, _module: Any, args: Any) -> None:
        self.decoded += len(args[0])

    def reset(self) -> None:
        """Set all counts to 0."""
        self.evaluations = self.calls = self.encoded = self.decoded = 0


@dataclass
class Side:
    """One way to run an edit, and the cost of its runs."""

    name: str
    work: Callable[[], Any]
    seconds: list[float] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)

    def run(self, counter: Counter) -> None:
        """Run the edit once."""
        counter.reset()
        begin = time.perf_counter()
        self.work()
        self.seconds.append(time.perf_counter() - begin)
        self.counts = dict(vars(counter))

    @property
    def median(self) -> float:
        """Median seconds of a run."""
        return statistics.median(self.seconds)


def load_pipeline(source: str) -> Any:
    """Load the checkpoint once; both sides use these modules."""
    from wordbrush.models.checkpoint.quiet import quiet

    folder = (
        Path(__file__).parents[1] / "src" / "wordbrush" / "models" / "pocket" if source == "pocket" else Path(source)
    )
    with quiet():
        from diffusers import StableDiffusionPipeline

        return StableDiffusionPipeline.from_pretrained(
            folder, local_files_only=True, use_safetensors=True, safety_checker=None, requires_safety_checker=False
        )


def peer(pipeline: Any, picture: Image.Image, steps: int, guidance: float) -> Callable[[], Any]:
    """Return one whole edit by diffusers: mask, inversion, decode.

    Its defaults, but for the checkpoint's own guidance; the reference is the negative prompt, as its examples have it.
    """
    from diffusers import DDIMInverseScheduler, DDIMScheduler, StableDiffusionDiffEditPipeline

    from wordbrush.models.checkpoint.quiet import quiet

    config = pipeline.scheduler.config
    with quiet():  # it announces its retirement
        other = StableDiffusionDiffEditPipeline(
            **{name: pipeline.components[name] for name in ("vae", "text_encoder", "tokenizer", "unet")},
            scheduler=DDIMScheduler.from_config(config, clip_sample=False, set_alpha_to_one=False),
            inverse_scheduler=DDIMInverseScheduler.from_config(config, clip_sample=False, set_alpha_to_one=False),
            safety_checker=None,
            feature_extractor=None,
            requires_safety_checker=False,
        )
    other.set_progress_bar_config(disable=True)

    def edit() -> Any:
        generator = torch.Generator().manual_seed(0)
        common = {"num_inference_steps": steps, "guidance_scale": guidance, "generator": generator}
        mask = other.generate_mask(picture, target_prompt=QUERY, source_prompt=REFERENCE, **common)
        latents = other.invert(REFERENCE, picture, **common).latents
        return other(QUERY, mask_image=mask, image_latents=latents, negative_prompt=REFERENCE, **common).images[0]

    return edit


def sides(pipeline: Any, picture: Image.Image, steps: int) -> list[Side]:
    """Return the compared sides, diffusers first as the yardstick; `steps` is for it and for preset `paper`."""
    editor = Editor.from_pretrained(pipeline)
    guidance = editor.model.guidance
    return [
        Side("diffusers", peer(pipeline, picture, steps, guidance)),
        Side("wordbrush, paper", lambda: editor.edit(picture, QUERY, REFERENCE, preset="paper", steps=steps)),
        Side("wordbrush, balanced", lambda: editor.edit(picture, QUERY, REFERENCE, preset="balanced")),
        Side("wordbrush, fast", lambda: editor.edit(picture, QUERY, REFERENCE, preset="fast")),
    ]


def session_times(pipeline: Any, picture: Image.Image, steps: int) -> dict[str, float]:
    """Time further edits in one session: a new threshold, another text, a deeper ratio, a mask cut again."""
    session = Editor.from_pretrained(pipeline).open(picture)

    def timed(work: Callable[[], Any]) -> float:
        begin = time.perf_counter()
        work()
        return time.perf_counter() - begin

    first = timed(lambda: session.edit(QUERY, REFERENCE, steps=steps, ratio=0.6))
    contrast = session.contrast(QUERY, REFERENCE)
    return {
        "first edit, ratio .6": first,
        "same texts, new threshold": timed(
            lambda: session.edit(QUERY, REFERENCE, steps=steps, ratio=0.6, threshold=0.4)
        ),
        "other text": timed(lambda: session.edit("a dog on grass", REFERENCE, steps=steps, ratio=0.6)),
        "deeper ratio, .6 to .8": timed(lambda: session.edit(QUERY, REFERENCE, steps=steps, ratio=0.8)),
        "mask cut again": statistics.median(timed(lambda: contrast.threshold(0.3)) for _ in range(21)),
    }


def measure(source: str, picture_file: Path | None, steps: int, rounds: int) -> dict[str, Any]:
    """Run everything and return the figures."""
    warnings.simplefilter("ignore")
    pipeline = load_pipeline(source)
    counter = Counter()
    counter.watch(pipeline)
    side = pipeline.unet.config.sample_size * 2 ** (len(pipeline.vae.config.block_out_channels) - 1)
    picture = _picture(picture_file, side)
    compared = sides(pipeline, picture, steps)
    for one in compared:  # the first call pays for lazily made things
        one.work()
    for turn in range(2 * rounds):
        for one in compared if turn % 2 == 0 else reversed(compared):
            one.run(counter)
    base = compared[0]
    return {
        "schema": 1,
        "steps": steps,
        "picture": list(picture.size),
        "threads": torch.get_num_threads(),
        "edits": [
            {"name": s.name, "seconds": s.seconds, "of_diffusers": s.median / base.median, **s.counts} for s in compared
        ],
        "session": session_times(pipeline, picture, steps),
    }


def _picture(file: Path | None, side: int) -> Image.Image:
    if file is not None:
        return Image.open(file).convert("RGB").resize((side, side))
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((side, side), Image.Resampling.BICUBIC)


def table(figures: dict[str, Any]) -> str:
    """Return the figures as text for people."""
    lines = [
        f"{'one whole edit':<28}{'seconds':>9}{'ratio':>8}{'network rows':>14}{'encodes':>9}{'decodes':>9}",
        *(
            f"{e['name']:<28}{statistics.median(e['seconds']):>9.2f}{e['of_diffusers']:>8.2f}{e['evaluations']:>14}"
            f"{e['encoded']:>9}{e['decoded']:>9}"
            for e in figures["edits"]
        ),
        "",
        f"{'in one session':<28}{'seconds':>9}{'ratio':>8}",
        *(
            f"{name:<28}{seconds:>9.5f}{seconds / figures['session']['first edit, ratio .6']:>8.3f}"
            for name, seconds in figures["session"].items()
        ),
    ]
    return "\n".join(lines)


def main() -> None:
    """Read the flags, measure, print."""
    parser = argparse.ArgumentParser(description="speed of wordbrush against diffusers, in one run")
    parser.add_argument("--model", default="pocket", help="pocket, or a folder in diffusers layout")
    parser.add_argument("--picture", type=Path, help="a picture; by default smooth random colours")
    parser.add_argument("--steps", type=int, default=50, help="of diffusers, preset paper and the session; 50")
    parser.add_argument("--rounds", type=int, default=2, help="each is one A B B A; 2")
    parser.add_argument("--json", type=Path, help="write the figures here")
    flags = parser.parse_args()
    figures = measure(flags.model, flags.picture, flags.steps, flags.rounds)
    print(table(figures))
    if flags.json is not None:
        flags.json.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
