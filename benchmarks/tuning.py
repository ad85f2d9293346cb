"""Tunes the peers on dev, as our defaults were: one switch after the other, each at its best so far.

    python -m benchmarks.tuning --out FOLDER     # resumable; prints each try and the numbers chosen

Looked at are 16 edits of dev: three each of removal, colour, ground and time, where the counterfactual is determined,
and two each of object and pair. Chosen is, among the tries whose success (by the judge) is at most one edit below the
highest, the one with the lowest rms to the counterfactual over the determined kinds. The numbers that came out stand in
`wordbrush.evaluation.peers`, as the variants `_tuned`.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch

from wordbrush.batch.work import ItemWork
from wordbrush.editor import Editor
from wordbrush.evaluation.items import DETERMINED_KINDS, Kind, MethodRequest, Outcome, TruthItem
from wordbrush.evaluation.judge import Judge
from wordbrush.evaluation.peers.diffedit import DiffEditNumbers, diffedit_with
from wordbrush.evaluation.peers.leditspp import LeditsNumbers, leditspp_with
from wordbrush.evaluation.peers.repaint import RepaintNumbers, img2img_with
from wordbrush.evaluation.run_folder import RunFolder, entry_of, open_run
from wordbrush.evaluation.scoring import Tools, score
from wordbrush.evaluation.truth import load_truth

BENCH: Final = Path(__file__).parent / "truth"
COUNTS: Final[Mapping[Kind, int]] = {"removal": 3, "colour": 3, "ground": 3, "time": 3, "object": 2, "pair": 2}


@dataclass(frozen=True)
class Peer:
    """What is tuned of a peer: how it runs, where it starts, and the values of each switch in turn."""

    run: Callable[..., Outcome]
    start: Any
    switches: Mapping[str, tuple[float, ...]]


PEERS: Final[Mapping[str, Peer]] = {
    "img2img": Peer(
        img2img_with,
        RepaintNumbers(strength=0.88, guidance=4.0, steps=25),
        {"strength": (0.6, 0.72, 0.88, 0.96), "guidance": (1.5, 2.5, 4.0, 7.5)},
    ),
    "leditspp": Peer(
        leditspp_with,
        LeditsNumbers(steps=30, skip=0.15, guidance=5.0, threshold=0.9),
        {"threshold": (0.75, 0.9), "guidance": (2.0, 3.0, 5.0, 10.0), "skip": (0.0, 0.15)},
    ),
    "diffedit": Peer(
        diffedit_with,
        DiffEditNumbers(cut=1.5, guidance=4.0, ratio=0.88, steps=25),
        {"cut": (0.3, 0.5, 0.7, 1.0, 1.5, 2.0)},
    ),
}


@dataclass(frozen=True)
class Try:
    """The figures of one setting: successes of how many edits, and rms over the determined kinds (mean over kinds)."""

    numbers: Any
    success: int
    edits: int
    rms: float


def chosen(tries: list[Try]) -> Try:
    """Return the try of lowest rms among those at most one success below the most."""
    most = max(one.success for one in tries)
    return min((one for one in tries if one.success >= most - 1), key=lambda one: one.rms)


def tune(name: str, run: Callable[[Any], Try]) -> Try:
    """Vary one switch after the other, the others at the best so far; return the best of all tries."""
    peer, tries = PEERS[name], {}
    best = tries[peer.start] = run(peer.start)
    for switch, values in peer.switches.items():
        for value in values:
            numbers = replace(best.numbers, **{switch: value})
            if numbers not in tries:
                tries[numbers] = run(numbers)
        best = chosen(list(tries.values()))
    return best


def items() -> list[TruthItem]:
    """Return the edits that are looked at."""
    return [item for kind, count in COUNTS.items() for item in load_truth(BENCH, "dev", [kind], count)]


def figures(numbers: Any, rows: list[dict[str, Any]]) -> Try:
    """Return the figures of a setting from its rows."""
    rms = [np.mean([row["rms"] for row in rows if row["kind"] == kind]) for kind in DETERMINED_KINDS]
    return Try(numbers, sum(row["success"] for row in rows), len(rows), float(np.mean(rms)))


@dataclass(frozen=True)
class TuningWork(ItemWork):
    """The item function of one setting of a peer: its figures on an item."""

    peer: str
    numbers: Any

    def start(self, editor: Editor | None) -> Callable[[Any], Mapping[str, Any]]:
        """Load the judge and the items."""
        editor, tools = editor or Editor.from_pretrained("pocket"), Tools(Judge.load(BENCH / "judge"))
        known = {item.id: item for item in items()}

        def tried(asked: Mapping[str, str]) -> dict[str, Any]:
            item = known[asked["item"]]
            reference, query = item.texts["captions"]
            request = MethodRequest(item.picture, query, reference)
            outcome = PEERS[self.peer].run(editor, editor.open(item.picture), request, self.numbers)
            found = score(item, outcome, tools)
            return {
                "kind": item.kind,
                **{key: found[key] for key in ("rms", "success", "kept", "mask_iou", "background_rms")},
            }

        return tried


def run_try(opened: RunFolder, editor: Editor, edits: list[TruthItem], name: str, numbers: Any) -> Try:
    """Run what is missing of a setting on all edits, print its figures and return them."""
    begin, mark = time.monotonic(), f"{name} {sorted(asdict(numbers).items())}"
    keys = {f"{mark} {item.id}": item.id for item in edits}
    entries = [entry_of(key, number, {"item": item}) for number, (key, item) in enumerate(keys.items())]
    opened.run(TuningWork(name, numbers), entries, editor=editor)
    rows = opened.rows()
    for key in keys:
        if rows[key]["error"] is not None:
            raise RuntimeError(f"{key}: {rows[key]['error']}")
    done, took = figures(numbers, [rows[key] for key in keys]), time.monotonic() - begin
    print(f"{name}: {numbers}: success {done.success}/{done.edits}, rms {done.rms:.1f}, {took:.0f} s")
    return done


def main() -> None:
    """Tune each peer, and print what was tried and chosen."""
    line = argparse.ArgumentParser(prog="python -m benchmarks.tuning", description=__doc__)
    line.add_argument("--out", type=Path, required=True, help="folder of the ledger")
    line.add_argument("--peer", choices=list(PEERS), action="append", help="only this one; repeatable")
    args = line.parse_args()
    torch.set_num_threads(1)
    editor, edits = Editor.from_pretrained("pocket"), items()
    with open_run(args.out, {"model": editor.model.identity.sha256}, "tuning.jsonl") as opened:
        for name in args.peer or PEERS:
            print(f"{name}: chosen {tune(name, partial(run_try, opened, editor, edits, name))}", flush=True)


if __name__ == "__main__":
    main()
