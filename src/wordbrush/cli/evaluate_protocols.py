"""`wordbrush eval imagenet`, `coco`, `prompts` and `pie`: the published protocols on the user's own data."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from wordbrush.cli.commands.protocols import CocoCommand, ImagenetCommand, PieCommand, PromptsCommand, RunFlags
from wordbrush.cli.loading import load_editor
from wordbrush.cli.protocol_runs import Setup, check_run, run_protocol, weights_of
from wordbrush.cli.runs import one_of, run_progress
from wordbrush.cli.terminal import Terminal
from wordbrush.editor import Editor
from wordbrush.evaluation.protocols.coco import read_coco
from wordbrush.evaluation.protocols.common import Entry
from wordbrush.evaluation.protocols.generation import Generation, generate_pictures
from wordbrush.evaluation.protocols.imagenet import read_imagenet
from wordbrush.evaluation.protocols.pie import read_pie
from wordbrush.evaluation.protocols.prompts import PromptPair, paper_pairs, pocket_pairs, prompt_protocol, read_pairs
from wordbrush.evaluation.protocols.suites import coco_suite, imagenet_suite, pie_suite, prompts_suite

__all__ = ["coco", "imagenet", "pie", "prompts"]

REFERENCES = ("empty", "caption")


def imagenet(command: ImagenetCommand) -> None:
    """Run FlexIT's protocol on ImageNet."""
    run = command.run
    check_run(run, regions=False)
    split = one_of("--split", command.split, ("dev", "test", "all"))
    kind = one_of("--reference", command.reference, REFERENCES)
    protocol = read_imagenet(
        command.data, command.queries, split=split, reference=kind, template=command.template, devkit=command.devkit
    )
    suite = imagenet_suite(weights_of(run), protocol.data["target_classes"])
    run_protocol(run, Setup("imagenet", protocol, suite))


def coco(command: CocoCommand) -> None:
    """Run the paper's protocol on COCO."""
    run = command.run
    check_run(run, regions=False)
    kind = one_of("--reference", command.reference, REFERENCES)
    protocol = read_coco(
        command.data, command.bison, captions=command.captions, reference=kind, max_changed=command.max_changed
    )
    suite = coco_suite(weights_of(run), protocol.entries[: run.limit])
    run_protocol(run, Setup("coco", protocol, suite))


def prompts(command: PromptsCommand) -> None:
    """Make pictures of prompts with the model itself, and edit them."""
    run = command.run
    check_run(run, regions=False)
    kind = one_of("--reference", command.reference, REFERENCES)
    how = Generation(command.generation_steps, command.generation_guidance, run.seed)
    suite = prompts_suite(weights_of(run), command.real, command.judge)
    editor = load_editor(run.model, Terminal(quiet=run.quiet))
    source, pairs = _pairs(command.texts, editor, run.seed)
    protocol = prompt_protocol(pairs, source, run.out / "pictures", reference=kind, seed=run.seed)
    facts = {"generation": how.as_dict()}
    run_protocol(run, Setup("prompts", protocol, suite, _generator(run, how), facts), editor)


def pie(command: PieCommand) -> None:
    """Run PIE-Bench."""
    run = command.run
    check_run(run, regions=True)
    kind = one_of("--reference", command.reference, REFERENCES)
    protocol = read_pie(command.data, reference=kind)
    run_protocol(run, Setup("pie", protocol, pie_suite(weights_of(run))))


def _pairs(texts: str | None, editor: Editor, seed: int) -> tuple[str | Path, Sequence[PromptPair]]:
    """Return where the prompts come from, and the prompts; a model that names its words gets the pocket's."""
    name = texts or ("pocket" if editor.model.words else "paper")
    if name == "pocket":
        return name, pocket_pairs(editor.model.words, seed)
    if name == "paper":
        return name, paper_pairs(seed)
    return Path(name), read_pairs(Path(name))


def _generator(run: RunFlags, how: Generation) -> Callable[[Editor, Sequence[Entry]], None]:
    """Return the function that makes the missing pictures of entries and shows its progress."""
    terminal = Terminal(quiet=run.quiet)

    def make(editor: Editor, entries: Sequence[Entry]) -> None:
        missing = [entry for entry in entries if run.force or not entry.picture.is_file()]
        if not missing:
            return
        terminal.note(f"making {len(missing)} pictures")
        with run_progress(terminal) as show:
            generate_pictures(editor, missing, how, on_progress=show)

    return make
