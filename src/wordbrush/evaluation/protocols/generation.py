"""Generate pictures from texts with the model itself, each from its own pure noise."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from wordbrush.batch.runner import Progress
from wordbrush.diffusion import noise
from wordbrush.diffusion.guidance import guided
from wordbrush.diffusion.solvers import SOLVERS, decode
from wordbrush.files import make_folder, write_atomic
from wordbrush.models.codec import pixels_of
from wordbrush.pages.report import png_of
from wordbrush.settings import Settings

if TYPE_CHECKING:
    from wordbrush.editor import Editor
    from wordbrush.evaluation.protocols.common import Entry

__all__ = ["Generation", "generate", "generate_pictures"]


@dataclass(frozen=True)
class Generation:
    """Settings of the generated pictures; apart from the edits', so that presets edit the same pictures.

    Attributes:
        steps: of the full grid.
        guidance: 1 = off; None takes the model's own.
        seed: of the noises; each picture has its own stream.
    """

    steps: int = 50
    guidance: float | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        self.settings()

    def settings(self) -> Settings:
        """Return the same as settings; raises SettingsError where a number is out of range."""
        return Settings(steps=self.steps, guidance=self.guidance, ratio=1.0)

    def as_dict(self) -> dict[str, Any]:
        """Return the fields as JSON values."""
        return asdict(self)


@torch.no_grad()
def generate(editor: Editor, text: str, stream: str, how: Generation) -> NDArray[np.uint8]:
    """Make one picture (height, width, RGB) of the model's native size.

    Args:
        editor: the model.
        text: what the picture shall show.
        stream: names the picture's noise, such as its id; the same name, seed and text give the same picture.
        how: steps, guidance and seed.
    """
    driver, settings = editor.driver, how.settings()
    side = editor.model.resolution // driver.codec.factor
    levels = editor.model.schedule_for((side, side), how.steps).grid(how.steps)
    x = noise.normal(how.seed, f"generate/{stream}", 0, (1, driver.codec.channels, side, side))
    policy, scale = editor.model.policy, editor.guidance(settings)
    query, empty = (policy.told(driver.prompt(t, canvas=(side, side)).conditioning, scale) for t in (text, ""))
    estimate = guided(query, empty, policy.weight_of(scale), join=policy.join)
    walk = decode(estimate, x.to(editor.model.device), levels, solver=SOLVERS[settings.solver]())
    return pixels_of(driver.codec.decode(driver.value(walk))[0])


def generate_pictures(
    editor: Editor, entries: Sequence[Entry], how: Generation, on_progress: Callable[[Progress], None] | None = None
) -> None:
    """Generate the pictures of entries from `facts["prompt"]`, replacing any that exist.

    Args:
        editor: the model.
        entries: whose pictures are wanted.
        how: steps, guidance and seed.
        on_progress: called at the beginning and after each entry.
    """
    tell = on_progress or (lambda _: None)
    tell(Progress(0, len(entries), 0, 0))
    for done, entry in enumerate(entries, 1):
        pixels = generate(editor, entry.facts["prompt"], entry.id, how)
        make_folder(entry.picture.parent)
        write_atomic(entry.picture, png_of(pixels), force=True)
        tell(Progress(done, len(entries), 0, 0))
