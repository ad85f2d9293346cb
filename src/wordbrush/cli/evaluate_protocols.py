"""`wordbrush eval imagenet`, `coco`, `prompts` and `pie`: the published protocols on the user's own data."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from wordbrush.cli.loading import load_editor
from wordbrush.cli.protocol_runs import Order, Task, one_of, run_protocol, with_run_flags

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from wordbrush.editor import Editor
    from wordbrush.evaluation.protocols.common import Entry
    from wordbrush.evaluation.protocols.generation import Generation
    from wordbrush.evaluation.protocols.prompts import PromptPair

__all__ = ["coco", "imagenet", "pie", "prompts"]

DATA_PANEL = "The data"
REFERENCES = ("empty", "caption")


def _data(flag: str, text: str, metavar: str = "FILE") -> Any:
    return typer.Option(flag, help=text, metavar=metavar, rich_help_panel=DATA_PANEL)


Reference = Annotated[str, _data("--reference", "The contrast's other text: empty or caption.", "KIND")]


@with_run_flags
def imagenet(
    *,
    data: Annotated[Path, _data("--data", "ImageNet's validation folder, by wnid or flat.", "FOLDER")],
    queries: Annotated[Path, _data("--queries", "FlexIT's dataset/queries.csv.")],
    split: Annotated[str, _data("--split", "dev, test or all.", "NAME")] = "test",
    reference: Reference = "empty",
    template: Annotated[str, _data("--template", "Text of a class name, {} in it.", "TEXT")] = "a photo of a {}",
    devkit: Annotated[
        Path | None, _data("--devkit", "Check the classes against the development kit.", "FOLDER")
    ] = None,
    order: Order,
) -> None:
    """ImageNet by FlexIT's protocol: source class to target class; LPIPS, accuracy, CSFID, SFID."""
    method = order.check(regions=False)
    chosen, kind = one_of("--split", split, ("dev", "test", "all")), one_of("--reference", reference, REFERENCES)
    from wordbrush.evaluation.protocols.imagenet import read_imagenet
    from wordbrush.evaluation.protocols.suites import imagenet_suite

    protocol = read_imagenet(data, queries, split=chosen, reference=kind, template=template, devkit=devkit)
    suite = imagenet_suite(order.weights(), protocol.data["target_classes"])
    run_protocol(order, Task("imagenet", protocol, suite, method))


@with_run_flags
def coco(
    *,
    data: Annotated[Path, _data("--data", "COCO's val2014.", "FOLDER")],
    bison: Annotated[Path, _data("--bison", "bison_annotations.cocoval2014.json.")],
    captions: Annotated[
        Path | None, _data("--captions", "captions_val2014.json, for references and the near queries.")
    ] = None,
    reference: Reference = "empty",
    max_changed: Annotated[
        float | None,
        typer.Option(
            "--max-changed",
            help="Only queries with at most this share of changed words; the paper's subset: 0.25.",
            min=0.0,
            max=1.0,
            metavar="X",
            rich_help_panel=DATA_PANEL,
        ),
    ] = None,
    order: Order,
) -> None:
    """COCO by the paper's protocol: BISON's similar picture towards the caption; CLIPScore, FID, LPIPS."""
    method = order.check(regions=False)
    kind = one_of("--reference", reference, REFERENCES)
    from wordbrush.evaluation.protocols.coco import read_coco
    from wordbrush.evaluation.protocols.suites import coco_suite

    protocol = read_coco(data, bison, captions=captions, reference=kind, max_changed=max_changed)
    suite = coco_suite(order.weights(), protocol.entries[: order.limit])
    run_protocol(order, Task("coco", protocol, suite, method))


@with_run_flags
def prompts(
    *,
    texts: Annotated[
        str | None,
        _data("--prompts", "pocket, paper, or a file of lines: caption <> phrase <> replacement.", "NAME"),
    ] = None,
    reference: Reference = "caption",
    generation_steps: Annotated[
        int, typer.Option("--generation-steps", help="Steps of the pictures.", min=1, rich_help_panel=DATA_PANEL)
    ] = 50,
    generation_guidance: Annotated[
        float | None,
        typer.Option(
            "--generation-guidance",
            help="Guidance of the pictures, by default the model's own.",
            metavar="X",
            rich_help_panel=DATA_PANEL,
        ),
    ] = None,
    real: Annotated[Path | None, _data("--real", "Real pictures to compare with by FID.", "FOLDER")] = None,
    judge: Annotated[Path | None, _data("--judge", "The truth bench's judge.", "FOLDER")] = None,
    order: Order,
) -> None:
    """Pictures made by the model itself, one element of their text swapped; CLIPScore, FID, LPIPS, the judge.

    Needs no data: without flags it runs on the pocket model with the pocket's words.
    """
    method = order.check(regions=False)
    kind = one_of("--reference", reference, REFERENCES)
    from wordbrush.evaluation.protocols.generation import Generation
    from wordbrush.evaluation.protocols.prompts import prompt_protocol
    from wordbrush.evaluation.protocols.suites import prompts_suite

    how = Generation(generation_steps, generation_guidance, order.seed)
    suite = prompts_suite(order.weights(), real, judge)
    editor = load_editor(order.model, order.terminal)
    source, pairs = _pairs(texts, editor, order.seed)
    protocol = prompt_protocol(pairs, source, order.out / "pictures", reference=kind, seed=order.seed)
    extra = {"generation": how.as_dict()}
    run_protocol(order, Task("prompts", protocol, suite, method, _generator(order, how), extra), editor)


def _pairs(texts: str | None, editor: Editor, seed: int) -> tuple[str | Path, Sequence[PromptPair]]:
    """Return where the prompts come from, and the prompts; a model that names its words gets the pocket's."""
    from wordbrush.evaluation.protocols.prompts import paper_pairs, pocket_pairs, read_pairs

    name = texts or ("pocket" if editor.model.words else "paper")
    if name == "pocket":
        return name, pocket_pairs(editor.model.words, seed)
    if name == "paper":
        return name, paper_pairs(seed)
    return Path(name), read_pairs(Path(name))


def _generator(order: Order, how: Generation) -> Callable[[Editor, Sequence[Entry]], None]:
    """Return what makes the pictures of entries, telling how far it is."""
    from wordbrush.cli.progress import run_progress
    from wordbrush.evaluation.protocols.generation import generate_pictures
    from wordbrush.evaluation.runner import Progress

    def make(editor: Editor, entries: Sequence[Entry]) -> None:
        wanted = [entry for entry in entries if order.force or not entry.picture.is_file()]
        if not wanted:
            return
        order.terminal.note(f"making {len(wanted)} pictures")
        done = 0
        with run_progress(order.terminal) as told:
            if told is not None:
                told(Progress(0, len(wanted), 0, 0))

            def step() -> None:
                nonlocal done
                done += 1
                if told is not None:
                    told(Progress(done, len(wanted), 0, 0))

            generate_pictures(editor, wanted, how, force=order.force, step=step)

    return make


@with_run_flags
def pie(
    *,
    data: Annotated[Path, _data("--data", "PIE-Bench: mapping_file.json and annotation_images/.", "FOLDER")],
    reference: Reference = "caption",
    order: Order,
) -> None:
    """PIE-Bench: background, structure distance, CLIPScore, and masks against its masks, by type of edit."""
    method = order.check(regions=True)
    kind = one_of("--reference", reference, REFERENCES)
    from wordbrush.evaluation.protocols.pie import read_pie
    from wordbrush.evaluation.protocols.suites import pie_suite

    protocol = read_pie(data, reference=kind)
    run_protocol(order, Task("pie", protocol, pie_suite(order.weights()), method))
