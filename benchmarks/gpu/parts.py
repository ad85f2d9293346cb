"""The parts of a run, each a function of a case; what it finds, it tells the case at once."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, Final

import torch

from benchmarks.gpu.forwards import forwards
from benchmarks.gpu.probes import Case, compared, syncs, traced
from wordbrush import Editor, EditRequest, EditResult, Settings
from wordbrush.engine.driver import Driver
from wordbrush.picture.samples import load_samples
from wordbrush.result import results_of
from wordbrush.speed import compiled

__all__ = ["PARTS"]

MIB = 2**20
_TOY: dict[str, Any] = {"steps": 3, "maps": 1, "strength": (0.5,)}
_TRACED: dict[str, Any] = {"steps": 12, "maps": 4}
_TINY: dict[str, Any] = {"maps": 1, "strength": 0.5, "steps": 4, "threshold": 0.3}


def _pocket(case: Case, **keywords: Any) -> Editor:
    return Editor.from_pretrained("pocket", **{"device": case.device, **keywords})


def _edit(editor: Editor, case: Case, **switches: Any) -> EditResult:
    sample = load_samples()[0]
    made: EditResult = editor.edit(sample.path, sample.query, sample.reference, **(_TOY if case.toy else switches))
    return made


@contextlib.contextmanager
def _exact() -> Iterator[None]:
    """Compute float32 as float32, without the shorter products of tf32."""
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32 = before


def machine(case: Case) -> None:
    """Tell the class of the machine and what bounds it."""
    from benchmarks.speed.measure import machine as described

    case.tell(**described())
    if case.on_gpu:
        card = torch.cuda.get_device_properties(0)
        case.tell(card=card.name, card_gib=round(card.total_memory / 2**30), cuda=torch.version.cuda)
        one, other = (torch.randn(8192, 8192, device=case.device, dtype=torch.bfloat16) for _ in range(2))
        for _ in range(3):
            one @ other
        seconds, _ = case.seconds(lambda: [one @ other for _ in range(10)])
        case.tell(bf16_tflops=round(10 * 2 * 8192**3 / seconds / 1e12))


def precision(case: Case) -> None:
    """Edit with pocket in every precision, against the CPU in float32."""
    wanted = _edit(_pocket(case, device="cpu", dtype="float32"), case)
    ways: dict[str, tuple[str, Callable[[], Any]]] = {
        "float32": ("float32", contextlib.nullcontext),
        "bfloat16": ("bfloat16", contextlib.nullcontext),
    }
    if not case.toy:  # on a CPU float16 is slow, and float32 knows no other products
        ways |= {"float32, no tf32": ("float32", _exact), "float16": ("float16", contextlib.nullcontext)}
    for name, (dtype, how) in ways.items():
        with case.trying(name) as found, how():
            editor = _pocket(case, dtype=dtype)
            found["first_s"], first = case.seconds(partial(_edit, editor, case))
            rows, calls = editor.driver.rows, editor.driver.calls
            found |= {"evaluations": rows, "calls": calls}
            found["second_s"], second = case.seconds(partial(_edit, editor, case))
            found |= compared(second, wanted)
            found["repeats"] = compared(second, first)["levels_max"]
            found["stages_s"] = {stage: round(seconds, 4) for stage, seconds in second.report.timings.items()}


def compiling(case: Case) -> None:
    """Edit with pocket by `--backend compile`, against torch as it is, in the default precision of the device."""
    eager = _pocket(case)
    _edit(eager, case)
    seconds, wanted = case.seconds(lambda: _edit(eager, case))
    case.tell(dtype=str(eager.model.dtype), eager_s=seconds)
    editor = _pocket(case, backend="compile")
    with case.trying("edit") as found:
        found["first_s"], _ = _clocked(lambda: _edit(editor, case))
        case.tell(edit=found)
        before = _graphs(editor)
        found["second_s"], made = case.seconds(lambda: _edit(editor, case))
        found["third_s"], _ = case.seconds(lambda: _edit(editor, case))
        found |= compared(made, wanted)
        found |= {"graphs_before": before, "graphs_after": _graphs(editor)}
    with case.trying("trace") as found:
        found |= traced(case, lambda: _edit(editor, case))
    with case.trying("compiler") as found:
        from torch._dynamo.utils import counters

        found |= {name: dict(values) for name, values in counters.items() if values}
    with case.trying("in another thread") as found, ThreadPoolExecutor(1) as pool:  # as servers do
        found["first_s"], made = _clocked(pool.submit(_edit, editor, case).result)
        found |= compared(made, wanted)
    with case.trying("many") as found:  # other batch sizes than one edit has
        seconds, done = _clocked(lambda: _several(editor, case, 4))
        found |= {"seconds": seconds, "graphs": _graphs(editor), "warnings": done[0].report.warnings}


def _clocked(work: Callable[[], Any]) -> tuple[float, Any]:
    """Return the seconds of work that leaves the device to others meanwhile, as compiling does."""
    return Case("cpu").seconds(work)


def _graphs(editor: Editor) -> dict[str, int]:
    """Return the kinds of calls that each network is compiled for."""
    model: Any = editor.model
    both = {"network": model.denoiser.network.module, "decoder": model.codec.autoencoder.decoder}
    answers = {name: module.forward for name, module in both.items()}
    return {name: len(own.kinds) for name, own in answers.items() if isinstance(own, compiled.Compiled)}


def _several(editor: Editor, case: Case, count: int, **switches: Any) -> list[EditResult]:
    """Edit several pictures at once through the editor's driver, each in a session of its own."""
    samples, settings = load_samples(), Settings(**(_TOY if case.toy else switches))
    items = []
    for seed in range(count):
        sample = samples[seed % len(samples)]
        request = EditRequest(
            picture=sample.path, query=sample.query, reference=sample.reference, seed=seed, settings=settings
        )
        items.append(editor.open(request.picture).item(request))
    return results_of(editor.driver, items, preset=None, callback=None)


def waiting(case: Case) -> None:
    """Trace one edit with pocket: how often and where the processor waits, and how long the device works."""
    editor = _pocket(case)
    for _ in range(2):
        _edit(editor, case, **_TRACED)
    driver = editor.driver = Driver(editor.model)
    seconds, _ = case.seconds(lambda: _edit(editor, case, **_TRACED))
    calls = driver.calls
    case.tell(dtype=str(editor.model.dtype), edit_s=seconds, evaluations=driver.rows, calls=calls)
    if case.on_gpu:
        with case.trying("lines") as found:
            found |= syncs(case, lambda: _edit(editor, case, **_TRACED))
            case.tell(syncs=sum(found.values()), syncs_per_call=round(sum(found.values()) / calls, 2))
    with case.trying("trace") as found:
        found |= traced(case, lambda: _edit(editor, case, **_TRACED))
        busy = sum(found["device_ms"].values()) / 1e3
        found |= {"busy_s": round(busy, 4), "busy_share": round(busy / seconds, 3)}
        found["per_call"] = {name: round(count / calls, 2) for name, count in found["counts"].items()}


def many(case: Case) -> None:
    """Run 1, 4 and 16 edits at once, joined and not."""
    editor = _pocket(case)
    for count, join in [(1, True), (2, True)] if case.toy else [(1, True), (4, True), (16, True), (4, False)]:
        with case.trying(f"{count} at once, {'joined' if join else 'not joined'}") as found:
            editor.driver = Driver(editor.model, join=join)
            _several(editor, case, count)
            driver = editor.driver = Driver(editor.model, join=join)
            seconds, done = case.seconds(partial(_several, editor, case, count))
            found |= {"seconds": seconds, "edits_per_s": round(len(done) / seconds, 3)}
            found |= {"rows": driver.rows, "calls": driver.calls, "batch_limit": driver.batch_limit}


def offload(case: Case) -> None:
    """Edit with pocket by each way of offloading: the same result, and the most that the device held."""
    wanted: EditResult | None = None
    for way in (None, "model", "group", "sequential"):
        with case.trying(str(way)) as found:
            if case.on_gpu:
                torch.cuda.empty_cache()
                torch.cuda.reset_peak_memory_stats()
            editor = _pocket(case, offload=way)
            held = torch.cuda.memory_allocated() if case.on_gpu else 0
            _edit(editor, case, **_TRACED)
            found["second_s"], made = case.seconds(partial(_edit, editor, case, **_TRACED))
            peak = torch.cuda.max_memory_allocated() if case.on_gpu else 0
            found |= {"held_mib": round(held / MIB, 1), "peak_mib": round(peak / MIB, 1)}
            wanted = wanted or made
            found |= compared(made, wanted)
            del editor


def families(case: Case) -> None:
    """Edit with small random networks of every family on the device and on the CPU; a session's second edit, too."""
    from tests.support.families import SIDE
    from tests.support.family_rows import ROWS
    from tests.support.pictures import scene

    first = ["flux-1-dev", "z-image"]
    names = first[:1] if case.toy else [*first, *(name for name in ROWS if name not in first)]
    fox, dogs = "a red fox", "two dogs, on a hill of fresh snow"  # the class-conditional one knows no others
    texts = (fox, dogs), (dogs, fox)
    picture, switches = scene(SIDE, SIDE), {**_TINY, "resolution": SIDE}
    for name in names:
        with case.trying(name) as found, tempfile.TemporaryDirectory() as scratch, _exact():
            ROWS[name].build().save_pretrained(Path(scratch))
            made = dict[str, list[EditResult]]()
            for where in ("cpu", case.device):
                session = Editor.from_pretrained(scratch, device=where, dtype="float32").open(picture, resolution=SIDE)
                made[where] = [session.edit(*both, **switches) for both in texts]
            found["first"], found["second"] = (
                compared(one, other) for one, other in zip(made[case.device], made["cpu"], strict=True)
            )
            if case.on_gpu:  # the precision that the family's card says
                half = Editor.from_pretrained(scratch, device=case.device).edit(picture, *texts[0], **switches)
                found["default precision"] = compared(half, made["cpu"][0])


def memory(case: Case) -> None:
    """Let the device run out of memory in a joined call: the same pictures, by smaller calls."""
    if not case.on_gpu:
        case.tell(skipped="only a GPU can be given less memory")
        return
    editor = _pocket(case)
    held = torch.cuda.memory_allocated()
    wanted = _several(editor, case, 4, **_TRACED)
    peak, whole = torch.cuda.max_memory_reserved(), torch.cuda.get_device_properties(0).total_memory
    case.tell(held_mib=round(held / MIB, 1), peak_mib=round(peak / MIB, 1))
    torch.cuda.empty_cache()
    torch.cuda.set_per_process_memory_fraction((held + (peak - held) * 0.5) / whole)
    editor.driver = Driver(editor.model)
    made = _several(editor, case, 4, **_TRACED)
    case.tell(batch_limit=editor.driver.batch_limit, edits=[compared(*pair) for pair in zip(made, wanted, strict=True)])


PARTS: Final[dict[str, Callable[[Case], None]]] = {
    "precision": precision,
    "waiting": waiting,
    "compiling": compiling,
    "forwards-bfloat16": lambda case: forwards(case, torch.bfloat16),
    "forwards-float16": lambda case: forwards(case, torch.float16),
    "many": many,
    "offload": offload,
    "families": families,
    "memory": memory,
    "machine": machine,
}
"""What runs, by name."""
