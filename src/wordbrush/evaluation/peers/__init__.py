"""Peers: the editing pipelines of diffusers as methods, on the very networks that our editor has loaded.

| name | pipeline | guidance | what is set |
|---|---|---|---|
| `diffusers_diffedit` | StableDiffusionDiffEditPipeline | 7.5 | nothing: all defaults, source prompt in the inversion |
| `diffusers_diffedit_tuned` | the same | ours | guidance only |
| `diffusers_diffedit_paper` | the same | ours | as near to the paper as it allows, numbers of the settings |
| `leditspp` | LEditsPPPipelineStableDiffusion | 5 (edit) | nothing: all defaults; the masks that can run |
| `leditspp_swap` | the same | 5 and 10 (edit) | the numbers of its documentation's swap |
| `diffusers_img2img` | StableDiffusionImg2ImgPipeline (SDEdit) | 7.5 | strength = ratio, and steps |
| `diffusers_img2img_tuned` | the same | ours | the same |
| `diffusers_inpaint_our_mask` | StableDiffusionInpaintPipeline | 7.5 | the mask |
| `diffusers_inpaint_our_mask_tuned` | the same | ours | the mask |
| `diffusers_inpaint_our_mask_pasted` | the same | ours | the mask; the outside pasted back by its own overlay |

"Ours" is the guidance of the settings, or where they have none that of the checkpoint. Only what the last column names
is taken from the settings; the seed always is the request's. Where a class cannot run on a checkpoint as it is, what
had to be done is told where it is done: `diffedit`, `leditspp`, and `pipelines.UnetView`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from wordbrush.evaluation.peers.diffedit import diffedit, diffedit_paper, diffedit_tuned
from wordbrush.evaluation.peers.leditspp import leditspp, leditspp_swap
from wordbrush.evaluation.peers.repaint import img2img, img2img_tuned, inpaint, inpaint_pasted, inpaint_tuned

if TYPE_CHECKING:
    from wordbrush.evaluation.items import Method

__all__ = ["PEERS"]

PEERS: Final[dict[str, Method]] = {
    "diffusers_diffedit": diffedit,
    "diffusers_diffedit_tuned": diffedit_tuned,
    "diffusers_diffedit_paper": diffedit_paper,
    "leditspp": leditspp,
    "leditspp_swap": leditspp_swap,
    "diffusers_img2img": img2img,
    "diffusers_img2img_tuned": img2img_tuned,
    "diffusers_inpaint_our_mask": inpaint,
    "diffusers_inpaint_our_mask_tuned": inpaint_tuned,
    "diffusers_inpaint_our_mask_pasted": inpaint_pasted,
}
