"""How much noise the inversion finds in pictures that a model knows: the number that its card is given.

``python -m training.pocket.usual FOLDER`` measures an exported model on the dev inputs of the truth bench, scenes like
those that it was taught and none of them, and writes the median into the folder's ``wordbrush.json``. An edit warns of
pictures in which the inversion finds far more.
"""

from __future__ import annotations

import argparse
import json
import statistics
from pathlib import Path

from wordbrush import Editor, Settings
from wordbrush.diffedit import noise_found
from wordbrush.evaluation.truth import default_bench, load_truth
from wordbrush.result import USUAL_NOISE

from .store import save_json

EACH = 5
"""Inputs of each kind of edit."""


def usual_noise(editor: Editor, each: int = EACH) -> float:
    """Return the median over bench inputs of the noise that the default inversion finds, see `noise_found`."""
    found = []
    for item in load_truth(default_bench(), "dev", limit=each):
        session = editor.open(item.picture)
        found.append(noise_found(session.trajectory(), session.levels(Settings())[-1]))
    return statistics.median(found)


def tell(folder: Path) -> float:
    """Measure the model of a folder, write the number into its card and return it."""
    card = folder / "wordbrush.json"
    noise = round(usual_noise(Editor.from_pretrained(folder, device="cpu")), 3)
    save_json({**json.loads(card.read_text()), USUAL_NOISE: noise}, card)
    return noise


if __name__ == "__main__":
    line = argparse.ArgumentParser(prog="python -m training.pocket.usual", description=__doc__)
    line.add_argument("model", type=Path, nargs="?", default=Path("src/wordbrush/models/pocket"))
    print(tell(line.parse_args().model))
