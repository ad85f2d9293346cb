"""Peers: the editing pipelines of diffusers as methods, on the very networks that our editor has loaded.

`TOLD` says what each of them runs: their own defaults, and beside them (`_tuned`) the numbers that `benchmarks.tuning`
chose for the pocket model on dev, as ours were. Inpainting gets our mask and the guidance of the settings, or where
they have none that of the checkpoint. The seed always is the request's. Where a class cannot run on a checkpoint as it
is, what had to be done is told where it is done: `diffedit`, `leditspp`, and `pipelines.UnetView`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from wordbrush.evaluation.peers.diffedit import TUNED as DIFFEDIT
from wordbrush.evaluation.peers.diffedit import diffedit, diffedit_paper, diffedit_tuned, diffedit_tuned_pasted
from wordbrush.evaluation.peers.leditspp import TUNED as LEDITSPP
from wordbrush.evaluation.peers.leditspp import leditspp, leditspp_swap, leditspp_tuned
from wordbrush.evaluation.peers.repaint import TUNED as IMG2IMG
from wordbrush.evaluation.peers.repaint import img2img, img2img_tuned, inpaint, inpaint_pasted, inpaint_tuned

if TYPE_CHECKING:
    from wordbrush.evaluation.items import Method

__all__ = ["PEERS", "TOLD", "told"]

PEERS: Final[dict[str, Method]] = {
    "diffusers_diffedit": diffedit,
    "diffusers_diffedit_tuned": diffedit_tuned,
    "diffusers_diffedit_tuned_pasted": diffedit_tuned_pasted,
    "diffusers_diffedit_paper": diffedit_paper,
    "leditspp": leditspp,
    "leditspp_tuned": leditspp_tuned,
    "leditspp_swap": leditspp_swap,
    "diffusers_img2img": img2img,
    "diffusers_img2img_tuned": img2img_tuned,
    "diffusers_inpaint_our_mask": inpaint,
    "diffusers_inpaint_our_mask_tuned": inpaint_tuned,
    "diffusers_inpaint_our_mask_pasted": inpaint_pasted,
}

TOLD: Final[dict[str, str]] = {
    "diffusers_diffedit": "all defaults, source prompt in the inversion: 40 of 50 steps, guidance 7.5 both ways",
    "diffusers_diffedit_tuned": f"tuned on dev: {DIFFEDIT}",
    "diffusers_diffedit_tuned_pasted": f"tuned on dev: {DIFFEDIT}; the outside of its mask pasted back",
    "diffusers_diffedit_paper": "{ratio:g} of {steps} steps, empty inversion without guidance, guidance {guidance:g}",
    "leditspp": "all defaults: 30 steps less 15 %, edit guidance 5",
    "leditspp_tuned": f"tuned on dev: {LEDITSPP}",
    "leditspp_swap": "the numbers of its documentation's swap: 50 steps less 20 %, edit guidance 5 and 10",
    "diffusers_img2img": "strength {ratio:g} of {steps} steps, guidance 7.5",
    "diffusers_img2img_tuned": f"tuned on dev: {IMG2IMG}",
    "diffusers_inpaint_our_mask": "our mask, 50 steps, guidance 7.5",
    "diffusers_inpaint_our_mask_tuned": "our mask, 50 steps, guidance {guidance:g}",
    "diffusers_inpaint_our_mask_pasted": "our mask, 50 steps, guidance {guidance:g}, the outside pasted back",
}
"""What each peer runs."""


def told(name: str, settings: Mapping[str, Any], guidance: float) -> str:
    """Return in words what a peer runs under some settings and the guidance of the decode."""
    return TOLD[name].format(**{**settings, "guidance": guidance})
