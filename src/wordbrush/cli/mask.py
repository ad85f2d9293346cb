"""`wordbrush mask`: the region two texts disagree about, without an edit."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from wordbrush.cli import options as opt
from wordbrush.cli.loading import ModelChoice, load_editor, open_mask, open_picture
from wordbrush.cli.outputs import CONTRAST_SUFFIXES, check_free, check_suffix, save_contrast
from wordbrush.cli.terminal import Terminal, print_json
from wordbrush.notation import parse_one_seed

__all__ = ["mask"]


@opt.with_settings
def mask(
    *,
    picture: opt.PictureFile,
    to: Annotated[str, typer.Option("--to", help="What it should show.", metavar="TEXT")],
    output: Annotated[str, typer.Option("--output", "-o", help="The mask, a PNG; white = edit.")],
    reference: opt.Reference = "",
    contrast: Annotated[
        str | None, typer.Option("--contrast", help="Write the soft map: a grey PNG, or the cells as .npy.")
    ] = None,
    seed: Annotated[str, typer.Option("--seed", help="One seed.", metavar="SEED")] = "0",
    preset: opt.Preset = opt.DEFAULT_PRESET,
    model: opt.ModelName = "pocket",
    revision: opt.Revision = None,
    allow_download: opt.AllowDownload = False,
    device: opt.Device = None,
    dtype: opt.Dtype = None,
    lora: opt.Lora = None,
    include: opt.Include = None,
    exclude: opt.Exclude = None,
    force: opt.Force = False,
    json: opt.Json = False,
    quiet: opt.Quiet = False,
    switches: dict[str, Any],
) -> None:
    """Find the region that words change and write it as a mask, without editing."""
    from wordbrush.settings import Settings

    settings = Settings.from_preset(preset, **switches)
    number = parse_one_seed(seed)
    choice = ModelChoice.of(model, revision, device, dtype, lora, allow_download=allow_download)
    check_suffix(output, (".png",), "-o")
    check_suffix(contrast, CONTRAST_SUFFIXES, "--contrast")
    check_free([path for path in (output, contrast) if path is not None], force=force)
    from wordbrush.region.region import found_mask, region_of

    source, terminal = open_picture(picture), Terminal(quiet=quiet)
    user = {"include": open_mask(include), "exclude": open_mask(exclude)}
    for note in source.notes:
        terminal.warn(note)
    session = load_editor(choice, terminal).open(source, resolution=settings.resolution)
    with terminal.stages() as callback:
        found = session.contrast(to, reference, seed=number, settings=settings, callback=callback)
    region = region_of(session.frame, found_mask(session.frame, found, settings), settings, **user).pixels
    region.save(output, force=force)
    if contrast is not None:
        save_contrast(found.on_picture(session.fit), contrast, force=force)
    terminal.note(f"{output}: {region.area:.1%} of the picture")
    if json:
        files = {"mask": output, **({"contrast": contrast} if contrast is not None else {})}
        record = {"schema": 1, "command": "mask", "query": to, "reference": reference, "seed": number}
        print_json({**record, "mask_area": region.area, "mask_sha256": region.digest(), "files": files})
