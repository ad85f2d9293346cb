"""`wordbrush edit`: one picture, one or several texts and seeds."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Annotated, Any

import typer

from wordbrush.cli import options as opt
from wordbrush.cli.loading import ModelChoice, load_editor, open_mask, open_picture
from wordbrush.cli.outputs import (
    CONTRAST_SUFFIXES,
    PICTURE_SUFFIXES,
    STDIO,
    Job,
    check_free,
    check_suffix,
    numbered,
    plan_jobs,
    save_contrast,
    save_plain,
)
from wordbrush.cli.plans import show_plan
from wordbrush.cli.terminal import Terminal, print_json, write_stdout
from wordbrush.errors import OutputError, SettingsError
from wordbrush.notation import parse_seeds

if TYPE_CHECKING:
    from wordbrush.editor import Editor
    from wordbrush.picture.picture import Picture
    from wordbrush.result import EditResult
    from wordbrush.session import Session
    from wordbrush.settings import Settings

__all__ = ["Order", "edit", "result_record", "run_edit"]


@dataclass(frozen=True)
class Order:
    """Everything the flags of `edit` say, checked as far as it can be without the model."""

    picture: str
    queries: tuple[str, ...]
    reference: str
    negative: str
    seeds: tuple[int, ...]
    preset: str
    switches: dict[str, Any]
    model: ModelChoice
    output: str | None = None
    mask: str | None = None
    include: str | None = None
    exclude: str | None = None
    save_mask: str | None = None
    save_contrast: str | None = None
    panel: str | None = None
    check_inversion: bool = False
    strip_metadata: bool = False
    no_prompt: bool = False
    force: bool = False
    json: bool = False
    quiet: bool = False
    dry_run: bool = False

    @cached_property
    def jobs(self) -> list[Job]:
        """The results asked for, in order."""
        return plan_jobs(self.queries, self.seeds)

    @cached_property
    def settings(self) -> Settings:
        """All switches.

        Raises:
            SettingsError: an unknown preset, or a value out of range.
        """
        from wordbrush.settings import Settings

        return Settings.from_preset(self.preset, **self.switches)

    def check(self) -> Settings:
        """Refuse what cannot end well, before anything is loaded; return the settings.

        Raises:
            SettingsError: flags contradict one another.
            OutputError: a file would be overwritten, or its folder is missing.
        """
        if self.output is None and not self.dry_run:
            raise SettingsError("edit: say where the result goes with -o FILE (or --dry-run to see the plan only)")
        if self.output == STDIO and self.json:
            raise SettingsError("-o - and --json both want standard output; give the picture a file name")
        if self.mask is not None and self.save_contrast is not None:
            raise SettingsError("--save-contrast needs the mask to be found, but --mask gives it")
        check_suffix(self.output, PICTURE_SUFFIXES, "-o")
        check_suffix(self.save_mask, (".png",), "--save-mask")
        check_suffix(self.save_contrast, CONTRAST_SUFFIXES, "--save-contrast")
        check_suffix(self.panel, PICTURE_SUFFIXES, "--panel")
        wanted = [path for path in (self.output, self.save_mask, self.save_contrast, self.panel) if path is not None]
        check_free((numbered(path, job.mark) for job in self.jobs for path in wanted), force=self.force)
        return self.settings


@opt.with_settings
def edit(
    *,
    picture: opt.PictureFile,
    to: Annotated[list[str], typer.Option("--to", help="What it should show; repeat for several.", metavar="TEXT")],
    reference: opt.Reference = "",
    negative: opt.Negative = "",
    output: Annotated[
        str | None, typer.Option("--output", "-o", help="Result file; - writes a PNG to standard output.")
    ] = None,
    seed: opt.Seeds = "0",
    preset: opt.Preset = opt.DEFAULT_PRESET,
    model: opt.ModelName = "pocket",
    revision: opt.Revision = None,
    allow_download: opt.AllowDownload = False,
    device: opt.Device = None,
    dtype: opt.Dtype = None,
    lora: opt.Lora = None,
    mask: opt.UserMask = None,
    include: opt.Include = None,
    exclude: opt.Exclude = None,
    save_mask: opt.SaveMask = None,
    contrast: opt.SaveContrast = None,
    panel: opt.PanelFile = None,
    check_inversion: opt.CheckInversion = False,
    strip_metadata: opt.StripMetadata = False,
    no_prompt: opt.NoPrompt = False,
    force: opt.Force = False,
    json: opt.Json = False,
    quiet: opt.Quiet = False,
    dry_run: opt.DryRun = False,
    switches: dict[str, Any],
) -> None:
    """Edit the part of a picture that words change.

    With several seeds or texts the files are numbered: out-s5.png, out-q2.png, out-q2-s5.png.
    """
    order = Order(
        picture, tuple(to), reference, negative, parse_seeds(seed), preset, switches,
        ModelChoice.of(model, revision, device, dtype, lora, allow_download=allow_download),
        output, mask, include, exclude, save_mask, contrast, panel,
        check_inversion, strip_metadata, no_prompt, force, json, quiet, dry_run,
    )  # fmt: skip
    run_edit(order, order.check())


def run_edit(order: Order, settings: Settings) -> None:
    """Do what a checked order says.

    Raises:
        WordbrushError: whatever went wrong, in one sentence.
    """
    terminal = Terminal(quiet=order.quiet)
    source = open_picture(order.picture)
    _check_alpha(source, order)
    masks = {name: open_mask(getattr(order, name)) for name in ("mask", "include", "exclude")}
    editor = load_editor(order.model, terminal)
    if order.dry_run:
        show_plan(editor, source, order, terminal)
        return
    session = editor.open(source, resolution=settings.resolution)
    records = []
    for job in order.jobs:
        result = _run_job(session, order, job, masks, terminal)
        records.append(_save_job(result, order, job, terminal))
    if order.json:
        print_json(_document(editor, source, order, records))


def _check_alpha(source: Picture, order: Order) -> None:
    """Refuse before the work, not after it, to put transparency into a format without it."""
    if source.alpha is not None and order.output is not None and order.output.lower().endswith((".jpg", ".jpeg")):
        raise OutputError(f"-o {order.output}: JPEG cannot hold the transparency of this picture; use .png or .webp")


def _run_job(session: Session, order: Order, job: Job, masks: dict[str, Any], terminal: Terminal) -> EditResult:
    title = f"{job.query}  (seed {job.seed})" if job.mark else ""
    with terminal.stages(title) as callback:
        return session.edit(
            job.query,
            order.reference,
            negative=order.negative,
            seed=job.seed,
            preset=order.preset,
            check_inversion=order.check_inversion,
            callback=callback,
            **masks,
            **order.switches,
        )


def _save_job(result: EditResult, order: Order, job: Job, terminal: Terminal) -> dict[str, Any]:
    """Write the files of one result and return its JSON record."""
    names = {
        "output": order.output,
        "mask": order.save_mask,
        "contrast": order.save_contrast,
        "panel": order.panel,
    }
    files = {kind: numbered(path, job.mark) for kind, path in names.items() if path is not None}
    for warning in result.report.warnings:
        terminal.warn(warning)
    target = files["output"]
    if target == STDIO:
        write_stdout(_encode(result, order))
    else:
        result.save(target, force=order.force, strip_metadata=order.strip_metadata, include_prompt=not order.no_prompt)
        terminal.note(f"{target}: {result.report.mask_area:.1%} of the picture edited")
    if "mask" in files:
        result.mask.save(files["mask"], force=order.force)
    if "contrast" in files and result.contrast is not None:
        save_contrast(result.contrast, files["contrast"], force=order.force)
    if "panel" in files:
        save_plain(result.panel(), files["panel"], force=order.force)
    return result_record(result, job, files)


def _encode(result: EditResult, order: Order) -> bytes:
    from wordbrush.record.provenance import encode_image

    record = None if order.strip_metadata else result.provenance
    return encode_image(result.image, ".png", record, include_prompt=not order.no_prompt)


def result_record(result: EditResult, job: Job, files: dict[str, str]) -> dict[str, Any]:
    """Return what `--json` says of one result."""
    return {"query": job.query, **result.report.as_dict(), "files": files}


def _document(editor: Editor, source: Picture, order: Order, records: list[dict[str, Any]]) -> dict[str, Any]:
    width, height = source.size
    return {
        "schema": 1,
        "command": "edit",
        "input": {"name": source.name, "sha256": source.sha256, "width": width, "height": height},
        "model": editor.model.identity.as_dict(),
        "reference": order.reference,
        "negative": order.negative,
        "preset": order.preset,
        "results": records,
    }
