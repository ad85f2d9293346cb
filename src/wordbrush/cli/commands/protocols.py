"""The commands `eval imagenet`, `coco`, `prompts` and `pie`: the data of each, and the flags of every run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from wordbrush.cli import options as opt
from wordbrush.cli.command import Command

__all__ = ["CocoCommand", "ImagenetCommand", "PieCommand", "PromptsCommand", "RunFlags"]

DATA_PANEL = "The data"
RUN_PANEL = "The run"
METRICS_PANEL = "Metric networks"


def _data(flag: str, text: str, metavar: str | None = "FILE", **more: Any) -> Any:
    return typer.Option(flag, help=text, metavar=metavar, rich_help_panel=DATA_PANEL, **more)


def _run(flag: str, text: str, **more: Any) -> Any:
    return typer.Option(flag, help=text, rich_help_panel=RUN_PANEL, **more)


Reference = Annotated[str, _data("--reference", "The contrast's other text: empty or caption.", "KIND")]


@dataclass(frozen=True, kw_only=True)
class RunFlags:
    """What is the same for every protocol: a group of flags."""

    out: Annotated[Path, _run("--out", "Folder for results; resumes.", metavar="FOLDER")]
    limit: Annotated[int | None, _run("--limit", "Only the first so many entries.", min=1)] = None
    seed: Annotated[int, _run("--seed", "Each entry draws its own from it.", min=0)] = 0
    preset: opt.Preset = opt.DEFAULT_PRESET
    sets: opt.Sets = None
    method: Annotated[
        str, typer.Option("--method", help="diffedit, a baseline of the paper, or a peer.", metavar="NAME")
    ] = "diffedit"
    networks: Annotated[
        Path | None,
        typer.Option("--networks", help="Folder of metric networks.", metavar="FOLDER", rich_help_panel=METRICS_PANEL),
    ] = None
    network: Annotated[
        list[str] | None,
        typer.Option(
            "--network",
            help="One metric network from a folder, file or hub id, such as clip=openai/clip-vit-large-patch14. Kinds: "
            "lpips, clip, inception, features, classifier, structure, classes. Repeatable.",
            metavar="KIND=SOURCE",
            rich_help_panel=METRICS_PANEL,
        ),
    ] = None
    model: opt.ModelChoice
    workers: Annotated[int, _run("--workers", "Processes.", min=1)] = 1
    force: Annotated[bool, _run("--force", "Start anew.")] = False
    dry_run: Annotated[bool, _run("--dry-run", "Say what would be done; edit nothing.")] = False
    json: opt.Json = False
    quiet: opt.Quiet = False


@dataclass(frozen=True, kw_only=True)
class ImagenetCommand(Command):
    """ImageNet by FlexIT's protocol: source class to target class; LPIPS, accuracy, CSFID, SFID."""

    data: Annotated[Path, _data("--data", "ImageNet's validation folder, by wnid or flat.", "FOLDER")]
    queries: Annotated[Path, _data("--queries", "FlexIT's dataset/queries.csv.")]
    split: Annotated[str, _data("--split", "dev, test or all.", "NAME")] = "test"
    reference: Reference = "empty"
    template: Annotated[str, _data("--template", "Text of a class: {} name, {id} number.", "TEXT")] = "a photo of a {}"
    devkit: Annotated[
        Path | None, _data("--devkit", "Check the classes against the development kit.", "FOLDER")
    ] = None
    run: RunFlags


@dataclass(frozen=True, kw_only=True)
class CocoCommand(Command):
    """COCO by the paper's protocol: BISON's similar picture towards the caption; CLIPScore, FID, LPIPS."""

    data: Annotated[Path, _data("--data", "COCO's val2014.", "FOLDER")]
    bison: Annotated[Path, _data("--bison", "bison_annotations.cocoval2014.json.")]
    captions: Annotated[
        Path | None, _data("--captions", "captions_val2014.json, for references and the near queries.")
    ] = None
    reference: Reference = "empty"
    max_changed: Annotated[
        float | None,
        _data(
            "--max-changed",
            "Only queries with at most this share of changed words; the paper's subset: 0.25.",
            "X",
            min=0.0,
            max=1.0,
        ),
    ] = None
    run: RunFlags


@dataclass(frozen=True, kw_only=True)
class PromptsCommand(Command):
    """Pictures made by the model itself, one element of their text swapped; CLIPScore, FID, LPIPS, the judge.

    Needs no data: without flags it runs on the pocket model with the pocket's words.
    """

    texts: Annotated[
        str | None,
        _data("--prompts", "pocket, paper, or a file of lines: caption <> phrase <> replacement.", "NAME"),
    ] = None
    reference: Reference = "caption"
    generation_steps: Annotated[int, _data("--generation-steps", "Steps of the pictures.", None, min=1)] = 50
    generation_guidance: Annotated[
        float | None,
        _data("--generation-guidance", "Guidance of the pictures, by default the model's own.", "X"),
    ] = None
    real: Annotated[Path | None, _data("--real", "Real pictures to compare with by FID.", "FOLDER")] = None
    judge: Annotated[Path | None, _data("--judge", "The truth bench's judge.", "FOLDER")] = None
    run: RunFlags


@dataclass(frozen=True, kw_only=True)
class PieCommand(Command):
    """PIE-Bench: background, structure distance, CLIPScore, and masks against its masks, by type of edit."""

    data: Annotated[Path, _data("--data", "PIE-Bench: mapping_file.json and annotation_images/.", "FOLDER")]
    reference: Reference = "caption"
    run: RunFlags
