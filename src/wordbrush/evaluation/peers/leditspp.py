"""LEDITS++ through the class of diffusers that is maintained, LEditsPPPipelineStableDiffusion.

Its documentation's recipe for putting one thing in place of another: the old thing's phrase and the new one's as two
editing prompts, the first reversed. Phrases are what the two texts differ in (`phrases.differing_phrases`). The picture
is inverted without a source prompt, as by default and in all its examples: with one, the steps recorded under guidance
are replayed without it, and the picture does not come back.

On the pocket model two limits of the class stand in the way of its default masks:

- Attention maps are looked for at a quarter of the latent's sides: 16 x 16 for Stable Diffusion at 512 pixels, but
  4 x 4 for latents of 16 x 16, where the network has attention at 16 x 16 and 8 x 8 only; it then crashes on an empty
  list. The documented switch `use_intersect_mask=False` leaves the masks to the noise estimates alone (M2 of the
  paper's equation 12), which is what runs here wherever no layer has that size.
- Masks are repeated to 4 channels, a number written into the code; with 8 it crashes in every mode. While it runs
  here, `repeat(1, 4, 1, 1)` gives as many channels as the latent has. Nothing is changed for latents of 4 channels.

It has no mask that could be asked for; each step cuts one for each editing prompt. The outcome's contrast and mask
are the share of steps in which a cell was edited.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.overrides import TorchFunctionMode

from wordbrush.evaluation.peers.canvas import cells_on_picture, image_on_canvas, outcome_of
from wordbrush.evaluation.peers.phrases import differing_phrases
from wordbrush.evaluation.peers.pipelines import pipelines_of
from wordbrush.picture.picture import plan_fit

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from wordbrush.editor import Editor
    from wordbrush.evaluation.items import MethodRequest, Outcome
    from wordbrush.session import Session
    from wordbrush.settings import Settings

__all__ = ["LeditsNumbers", "leditspp", "leditspp_swap", "leditspp_tuned", "leditspp_with"]

GRID = 32
"""Sides must be multiples of this many pixels."""


class AllChannels(TorchFunctionMode):
    """Inside, `x.repeat(1, 4, 1, 1)` repeats to `channels` instead of 4.

    Args:
        channels: of the latent.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channels = channels

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Call `func`; where it is that `repeat`, with `channels` in place of 4."""
        if func is torch.Tensor.repeat and args[1:] == (1, 4, 1, 1):
            args = (args[0], 1, self.channels, 1, 1)
        return func(*args, **(kwargs or {}))


@contextmanager
def all_channels(unet: Any, channels: int) -> Iterator[None]:
    """Apply `AllChannels` inside the block where it changes anything, but not while the network runs.

    A mode looks at every operation, which in the network would cost a tenth of its time.
    """
    if channels == 4:
        yield
        return
    mode: Any = AllChannels(channels)

    def leave(*_: Any) -> None:
        mode.__exit__(None, None, None)

    def enter(*_: Any) -> None:
        mode.__enter__()

    with ExitStack() as stack:
        stack.callback(unet.register_forward_pre_hook(leave).remove)
        stack.callback(unet.register_forward_hook(enter, always_call=True).remove)
        stack.enter_context(mode)
        yield


def leditspp(editor: Editor, session: Session, request: MethodRequest, settings: Settings) -> Outcome:
    """Run LEDITS++ at its own defaults: 30 steps, skip .15, edit guidance 5, threshold .9."""
    return _run(editor, session, request, {}, {})


def leditspp_swap(editor: Editor, session: Session, request: MethodRequest, settings: Settings) -> Outcome:
    """Run LEDITS++ with the numbers of its documentation's swap: 50 steps, skip .2, more weight on the new thing."""
    return _run(
        editor,
        session,
        request,
        {"num_inversion_steps": 50, "skip": 0.2},
        {"edit_guidance_scale": [5.0, 10.0], "edit_threshold": [0.9, 0.85]},
    )


@dataclass(frozen=True)
class LeditsNumbers:
    """What there is to tune.

    Attributes:
        steps: of the inversion.
        skip: share of the steps that is left out at the noisy end.
        guidance: `edit_guidance_scale`, of both editing prompts.
        threshold: `edit_threshold`; the share of cells that a step leaves alone.
    """

    steps: int
    skip: float
    guidance: float
    threshold: float

    def __str__(self) -> str:
        return (
            f"{self.steps} steps less {100 * self.skip:g} %, edit guidance {self.guidance:g}, "
            f"threshold {self.threshold:g}"
        )


TUNED = LeditsNumbers(steps=30, skip=0.0, guidance=5.0, threshold=0.75)
"""Chosen on dev for the pocket model by `benchmarks.tuning`."""


def leditspp_with(editor: Editor, session: Session, request: MethodRequest, numbers: LeditsNumbers) -> Outcome:
    """Run LEDITS++ with some numbers."""
    return _run(
        editor,
        session,
        request,
        {"num_inversion_steps": numbers.steps, "skip": numbers.skip},
        {"edit_guidance_scale": [numbers.guidance] * 2, "edit_threshold": [numbers.threshold] * 2},
    )


def leditspp_tuned(editor: Editor, session: Session, request: MethodRequest, settings: Settings) -> Outcome:
    """Run LEDITS++ with the numbers chosen on dev, whatever the settings."""
    return leditspp_with(editor, session, request, TUNED)


def _run(
    editor: Editor, session: Session, request: MethodRequest, inversion: dict[str, Any], edit: dict[str, list[float]]
) -> Outcome:
    pipelines = pipelines_of(editor)
    pipe, factor = pipelines.leditspp, session.frame.cell
    fit = plan_fit(session.picture.size, grid=math.lcm(GRID, factor), resolution=session.resolution)
    image = image_on_canvas(request, fit)
    old, new = differing_phrases(request.reference, request.query)
    prompts = [(text, back) for text, back in ((old, True), (new, False)) if text]
    picked: dict[str, Any] = {name: [values[int(not back)] for _, back in prompts] for name, values in edit.items()}
    if prompts:
        picked["editing_prompt"] = [text for text, _ in prompts]
        picked["reverse_editing_direction"] = [back for _, back in prompts]
    cells = (fit.canvas[1] // factor, fit.canvas[0] // factor)
    picked["use_intersect_mask"] = _has_attention(pipelines.unet, cells)
    generator = torch.Generator().manual_seed(request.seed)
    with pipelines.running() as cost:
        pipe.invert(image, generator=generator, **inversion)
        with all_channels(pipelines.unet, pipelines.vae.config.latent_channels):
            edited = pipe(generator=generator, **picked).images[0]
    shares = _shares(pipe, cells)
    return outcome_of(edited, fit, cost, contrast=shares, mask=cells_on_picture(shares, fit))


def _has_attention(unet: Any, cells: tuple[int, int]) -> bool:
    """Say whether a cross-attention outside the middle has a quarter of the latent's sides."""
    down, up = unet.config.down_block_types, unet.config.up_block_types
    last = len(down) - 1
    halvings = {level for level, name in enumerate(down) if "CrossAttn" in name}
    halvings |= {last - level for level, name in enumerate(up) if "CrossAttn" in name}
    return 2 in halvings and min(cells) >= 4


def _shares(pipe: Any, cells: tuple[int, int]) -> NDArray[np.float32]:
    """Return the share of steps (row, column) in which a cell was edited for any editing prompt."""
    active = pipe.activation_mask  # (step, editing prompt, picture, channel, row, column); None without editing
    if active is None:
        return np.zeros(cells, np.float32)
    shares: NDArray[np.float32] = active[:, :, 0, 0].amax(dim=1).mean(dim=0).float().numpy()
    return shares
