"""`wordbrush replay`: find the recorded input, check that it is the recorded one, edit again, compare.

A record is what somebody else wrote. It names a model, but one that lies on this machine must be the recorded one, or
be named by the user; it asks for work, but a very costly one must be allowed; what it says wrongly is its own fault
(exit code 3), not one of usage.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import torch

from wordbrush.cli.commands.records import MOST_THREADS, RECORDED, ReplayCommand
from wordbrush.cli.loading import load_editor
from wordbrush.cli.options import ModelChoice
from wordbrush.cli.progress import stage_bars
from wordbrush.cli.targets import STDIO, check_alpha, check_free
from wordbrush.cli.terminal import Terminal, print_json, print_text, write_stdout
from wordbrush.editor import Editor
from wordbrush.engine.threads import torch_threads
from wordbrush.errors import ModelError, ProvenanceError, SettingsError
from wordbrush.files import write_atomic
from wordbrush.models.checkpoint.offload import resolve_offload
from wordbrush.models.checkpoint.sources import BUILT_IN
from wordbrush.models.devices import resolve_device, resolve_dtype
from wordbrush.notation import GIVEN, PARTS, parse_embeddings, parse_loras
from wordbrush.record.encode import FORMATS
from wordbrush.record.provenance import encode_image
from wordbrush.record.replay import MASKS, Recorded
from wordbrush.result import EditResult

__all__ = ["replay"]

COST: Final = 2_000
"""Network evaluations at the model's own size that a record may ask for; the dearest preset takes a tenth."""

ACCELERATORS: Final = {"cuda", "mps", "xpu", "hpu", "mtia", "npu", "xla", "privateuseone"}
"""Kinds of devices that other machines have."""

NAMED: Final = 5
"""Packages of other versions that are named, each cut at `LONGEST` characters."""
LONGEST: Final = 40


def replay(command: ReplayCommand) -> None:
    """Edit again by the record of a file, write the result beside it, and print how the two compare.

    Raises:
        WordbrushError: whatever went wrong, in one sentence.
    """
    terminal, file = Terminal(quiet=command.quiet), command.file
    if command.output == STDIO:
        write_stdout(b"")  # closed, it is refused before the work
    recorded = Recorded.find(file, command.source, {name: getattr(command, name) for name in MASKS})
    output = command.output or _beside(file, recorded)
    check_free([output], force=command.force)
    check_alpha(output, alpha=recorded.picture.alpha is not None)
    choice = _choice(recorded, command, terminal)
    with _threads(command, recorded), _blamed_on(command):
        editor = load_editor(choice, terminal)
        for place in _named_by_record(choice, command):
            terminal.note(f"from {place}, as the record says")
        same_weights = _check_weights(editor, recorded, command, terminal)
        _check_cost(editor, recorded, command)
        result = _again(editor, recorded, terminal)
    data = encode_image(result.image, recorded.suffix, result.provenance)
    outcome = recorded.compared(data, result.provenance)
    suffix = ".png" if output == STDIO else Path(output).suffix.lower()
    if FORMATS[suffix] != FORMATS[recorded.suffix]:
        data = encode_image(result.image, suffix, result.provenance)
    if output == STDIO:
        write_stdout(data)
    else:
        write_atomic(output, data, force=command.force)
    _tell_differences(outcome, terminal)
    if command.json:
        facts = {"schema": 1, "command": "replay", "file": str(file), "output": output, "same_weights": same_weights}
        print_json({**facts, **outcome})
        return
    verdict = "identical" if outcome["identical"] else "same pixels" if outcome["same_pixels"] else "different"
    if output == STDIO:
        terminal.note(verdict)
    else:
        terminal.note(output)
        print_text(verdict)


def _beside(file: Path, recorded: Recorded) -> str:
    """Return the name of the result where none was given; a file of a wrong or no ending gets its own."""
    known = {recorded.suffix, *({".jpeg"} if recorded.suffix == ".jpg" else {".tiff"})}
    suffix = file.suffix if file.suffix.lower() in known else recorded.suffix
    return str(file.with_name(f"{file.stem}-replay{suffix}"))


def _choice(recorded: Recorded, command: ReplayCommand, terminal: Terminal) -> ModelChoice:
    """Return the recorded model, or the one of the command.

    Raises:
        SettingsError: a LoRA or an embedding cannot be read, `--device` is not here, or `--dtype` or
            `--offload` is unknown.
        ModelError: neither says where the model is, or a part of it.
        ProvenanceError: the record names a device that there is on no machine.
    """
    model, loras = recorded.record.model, parse_loras(command.lora or ())
    embeddings = parse_embeddings(command.embedding or ())
    source = command.model or model["source"]
    if source is None:
        raise ModelError("the record does not say where its model came from; give it with --model")
    place = resolve_device(command.device) if command.device is not None else torch.device("cpu")
    if command.dtype is not None:
        resolve_dtype(command.dtype, place)
    resolve_offload(command.offload, place)
    given = {name: getattr(command, name) or value for name, value in _given(recorded, source).items()}
    for part in PARTS:
        if part in recorded.replaced and given[part] is None:
            raise ModelError(
                f"{command.file}: the record was made with a {part} that was given in memory; give it with "
                f"--{part.replace('_', '-')}"
            )
    return ModelChoice(
        name=source,
        revision=None if command.model else model["revision"] or None,
        allow_download=command.allow_download,
        device=command.device or _present(model["device"], terminal),
        dtype=command.dtype or model["dtype"],
        offload=command.offload,
        backend=command.backend or model.get("backend") or None,
        loras=loras or recorded.loras,
        embeddings=embeddings or recorded.embeddings,
        **given,
    )


def _named_by_record(choice: ModelChoice, command: ReplayCommand) -> list[str]:
    """Return what of this machine is loaded because the record says so."""
    named = [] if command.model else [choice.name]
    named += [getattr(choice, name) for name in GIVEN if getattr(choice, name) and not getattr(command, name)]
    named += [] if command.lora else [path for path, _ in choice.loras]
    named += [] if command.embedding else [one if isinstance(one, str) else one[0] for one in choice.embeddings]
    return [place for place in named if _is_local(place)]


def _is_local(source: str) -> bool:
    try:
        return source not in BUILT_IN and Path(source).expanduser().exists()
    except (OSError, ValueError, RuntimeError):
        return False


def _given(recorded: Recorded, source: str) -> dict[str, str | None]:
    """Return what the recorded model was loaded with; a folder has configurations and tokenizer of its own."""
    given = recorded.given
    if _is_local(source) and Path(source).expanduser().is_dir():
        given |= {"config": None, "tokenizer": None}
    return given


def _present(device: str | None, terminal: Terminal) -> str | None:
    """Return the recorded device, or None (the best there is) where this machine has no such thing."""
    try:
        resolve_device(device)
    except SettingsError as error:
        if str(device).partition(":")[0] not in ACCELERATORS:
            raise ProvenanceError(f"the record was made on {device!r}, which is no device; give --device") from error
        terminal.warn(f"the record was made on {device}, which is not here; other hardware rounds otherwise")
        return None
    return device


@contextmanager
def _threads(command: ReplayCommand, recorded: Recorded) -> Iterator[None]:
    """Let torch use as many threads as the command says.

    Raises:
        ProvenanceError: as many as the record says, but it does not, or absurdly many.
    """
    count = recorded.record.threads
    if command.threads == RECORDED and not 1 <= (count or 0) <= MOST_THREADS:
        raise ProvenanceError(f"{command.file}: the record tells no usable number of threads; give --threads N")
    with torch_threads(count if command.threads == RECORDED else int(command.threads or 0)):
        yield


@contextmanager
def _blamed_on(command: ReplayCommand) -> Iterator[None]:
    """Turn a refusal of settings into one of the record, where no flag says how the model is loaded."""
    try:
        yield
    except SettingsError as error:
        if any(getattr(command, name) for name in (*GIVEN, "lora", "embedding")):
            raise
        raise ProvenanceError(f"{command.file}: the record cannot be replayed: {error}") from error


def _check_weights(editor: Editor, recorded: Recorded, command: ReplayCommand, terminal: Terminal) -> bool:
    """Say whether the model, its LoRAs and its embeddings are the recorded ones.

    Raises:
        ProvenanceError: one is not, and lies where only the record says.
    """
    then, here = recorded.record.model, editor.model.identity.as_dict()
    same = then["sha256"] == here["sha256"]
    for part, digest in here.get("replaced", {}).items():
        if not getattr(command, part) and recorded.replaced.get(part, digest) != digest:
            raise _not_recorded(command.file, [here["given"][part]], f"--{part.replace('_', '-')}")
    if not same and command.model is None and _is_local(here["source"]):
        raise _not_recorded(command.file, [here["source"]], "--model")
    for flag, field, given in (("--lora", "loras", command.lora), ("--embedding", "embeddings", command.embedding)):
        if not given and _digests(then, field) != _digests(here, field):
            raise _not_recorded(command.file, [item["source"] for item in here[field]], flag)
    if not same:
        terminal.warn(f"the weights of {then['name']} are not those of the record; the picture will differ")
    others = recorded.other_add_ons(here)
    for other in others:
        terminal.warn(f"{other}; the picture will differ")
    return same and not others


def _digests(model: Mapping[str, Any], field: str) -> list[Any]:
    return [item.get("sha256") for item in model.get(field, ()) if isinstance(item, dict)]


def _not_recorded(file: Path, places: list[str], flag: str) -> ProvenanceError:
    return ProvenanceError(
        f"{file}: {', '.join(places)} is not what the record was made with (the SHA-256 differs); if you mean it, say "
        f"so with {flag}"
    )


def _check_cost(editor: Editor, recorded: Recorded, command: ReplayCommand) -> None:
    """Refuse what would take very long, unless the command allows it.

    Raises:
        ProvenanceError: it would.
    """
    plan = editor.plan(recorded.picture.size, own_mask="mask" in recorded.masks, settings=recorded.settings)
    evaluations, (width, height) = sum(plan.evaluations.values()), plan.working_size
    cost = evaluations * width * height / editor.model.resolution**2
    if cost > COST and not command.any_cost:
        raise ProvenanceError(
            f"{command.file}: the record asks for {evaluations:,} network evaluations at {width} x {height}, as much "
            f"work as {cost:,.0f} at the model's own size; if you mean it, say --any-cost"
        )


def _again(editor: Editor, recorded: Recorded, terminal: Terminal) -> EditResult:
    session = editor.open(recorded.picture, resolution=recorded.settings.resolution)
    with stage_bars(terminal) as callback:
        result: EditResult = session.edit(**recorded.arguments(), callback=callback)
    return result


def _tell_differences(outcome: dict[str, Any], terminal: Terminal) -> None:
    """Say what may explain that two files differ."""
    others = [
        f"{_short(name)} {_short(then or 'not there')} (here {_short(now or 'not there')})"
        for name, (then, now) in outcome["other_packages"].items()
    ]
    if others:
        more = f" and {len(others) - NAMED} more" if len(others) > NAMED else ""
        terminal.warn(f"other packages than then: {', '.join(others[:NAMED])}{more}")
    then, now = outcome["threads"]
    if then not in (None, now) and not outcome["identical"]:
        told = f"made with {then} {'thread' if then == 1 else 'threads'}, here with {now}"
        if outcome["same_pixels"]:
            terminal.note(f"{told}: the records differ in this")
        else:
            terminal.warn(f"{told}, which rounds otherwise; --threads {RECORDED} takes as many as then")


def _short(text: str) -> str:
    return text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"
