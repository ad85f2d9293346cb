"""How well the judge reads: ``python -m benchmarks.truth.check_judge [--work FOLDER] [--json FILE]``.

Three sets, none of which it was trained on: fresh renders of the held-out stream (only with `--work`, the folder of the
artwork), the pictures of the bench, and what an autoencoder returns of the bench's test split.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from training.pocket.artwork import FluentArtwork, fetch
from training.pocket.render import render
from wordbrush.evaluation.items import SLOTS, Bytes, Facts
from wordbrush.evaluation.judge import Judge
from wordbrush.evaluation.truth import default_bench, load_truth
from wordbrush.files import write_atomic

from .facts import facts_of
from .generation import Share, wilson
from .lessons import lesson

if TYPE_CHECKING:
    from wordbrush.models.codec import Codec

_CHUNK = 8


def accuracy(expected: Sequence[Facts], seen: Sequence[Facts]) -> dict[str, Share]:
    """Return the share of pictures that the judge reads rightly, by head; colours only where something is coloured.

    `nouns` wants every slot right, empty ones too; `colours` every coloured thing's.
    """
    pairs = list(zip(expected, seen, strict=True))
    nouns = [all(_word(w, slot, "noun") == _word(s, slot, "noun") for slot in SLOTS) for w, s in pairs]
    coloured = [
        all(_word(s, slot, "colour") == thing.colour for slot, thing in w.things.items() if thing.colour)
        for w, s in pairs
        if any(thing.colour for thing in w.things.values())
    ]
    grounds, times = [w.ground == s.ground for w, s in pairs], [w.time == s.time for w, s in pairs]
    everything = [w == s for w, s in pairs]
    heads = {"nouns": nouns, "colours": coloured, "ground": grounds, "time": times, "everything": everything}
    return {name: wilson(sum(right), len(right)) for name, right in heads.items()}


def _word(facts: Facts, slot: Any, name: str) -> str | None:
    return getattr(facts.things.get(slot), name, None)


def reconstructions(codec: Codec, pictures: NDArray[np.uint8]) -> Bytes:
    """Return pictures (picture, height, width, RGB) after a round trip through the autoencoder."""
    import torch

    returned = []
    for start in range(0, len(pictures), _CHUNK):
        batch = torch.from_numpy(pictures[start : start + _CHUNK].copy()).permute(0, 3, 1, 2).float() / 127.5 - 1.0
        back = codec.decode(codec.encode(batch)).clamp(-1, 1).add(1).mul(127.5).round().byte()
        returned.append(back.permute(0, 2, 3, 1).numpy())
    return np.concatenate(returned)


def fresh(judge: Judge, work: Path, count: int) -> dict[str, Share]:
    """Read `count` fresh renders of the held-out stream: pairs, single things, empty ones, and results of edits."""
    artwork = FluentArtwork(fetch(work))
    drawn = [lesson(number, "heldout") for number in range(count)]
    return accuracy([facts_of(scene) for scene in drawn], judge.look([render(s, artwork).picture for s in drawn]))


def measure(judge: Judge, bench: Path, model: str, work: Path | None, count: int) -> dict[str, dict[str, Share]]:
    """Return the accuracy by set and head."""
    from wordbrush import Editor

    accuracies = {} if work is None else {"held-out renders": fresh(judge, work, count)}
    dev, test = load_truth(bench, "dev"), load_truth(bench, "test")
    before, after = [item.before for item in (*dev, *test)], [item.after for item in (*dev, *test)]
    accuracies["bench: inputs"] = accuracy(before, judge.look([item.picture for item in (*dev, *test)]))
    accuracies["bench: counterfactuals"] = accuracy(after, judge.look([item.counterfactual for item in (*dev, *test)]))
    accuracies["bench: retrieved"] = accuracy(after, judge.look([item.retrieved for item in (*dev, *test)]))
    codec = Editor.from_pretrained(model).driver.codec
    returned = judge.look(reconstructions(codec, np.stack([item.picture for item in test])))
    accuracies["reconstructed inputs, test"] = accuracy([item.before for item in test], returned)
    returned = judge.look(reconstructions(codec, np.stack([item.counterfactual for item in test])))
    accuracies["reconstructed counterfactuals, test"] = accuracy([item.after for item in test], returned)
    return accuracies


def table(accuracies: dict[str, dict[str, Share]]) -> str:
    """Return the accuracies as a Markdown table in percent."""
    heads = list(next(iter(accuracies.values())))
    lines = [f"| pictures | {' | '.join(heads)} |", f"|---|{'---|' * len(heads)}"]
    for name, shares in accuracies.items():
        cells = " | ".join(f"{100 * shares[head].share:.1f}" for head in heads)
        lines.append(f"| {name} ({shares['nouns'].n}) | {cells} |")
    return "\n".join(lines)


def main() -> None:
    """Measure and print."""
    line = argparse.ArgumentParser(prog="python -m benchmarks.truth.check_judge", description=__doc__)
    line.add_argument("--work", type=Path, help="folder of the artwork, for fresh renders; fetched if it is not there")
    line.add_argument("--judge", type=Path, help="folder of the judge; the bench's own by default")
    line.add_argument("--bench", type=Path, help="folder of the bench; the repository's by default")
    line.add_argument("--model", default="pocket", help="the model whose autoencoder returns the pictures")
    line.add_argument("--count", type=int, default=1100, help="fresh renders")
    line.add_argument("--json", type=Path, help="file to write")
    args = line.parse_args()
    bench = args.bench or default_bench()
    accuracies = measure(Judge.load(args.judge or bench / "judge"), bench, args.model, args.work, args.count)
    print(table(accuracies))
    if args.json:
        plain = {name: {head: asdict(share) for head, share in shares.items()} for name, shares in accuracies.items()}
        write_atomic(args.json, (json.dumps(plain, indent=1) + "\n").encode(), force=True)


if __name__ == "__main__":
    main()
