"""Fit a request's picture for a pipeline, and turn the pipeline's picture into an outcome."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from wordbrush.evaluation.items import Outcome

if TYPE_CHECKING:
    from PIL import Image

    from wordbrush.evaluation.items import MethodRequest
    from wordbrush.evaluation.peers.pipelines import Cost
    from wordbrush.picture.fit import FitPlan

__all__ = ["cells_on_picture", "image_on_canvas", "outcome_of"]


def image_on_canvas(request: MethodRequest, fit: FitPlan) -> Image.Image:
    """Return the picture at the working size, fitted as for our own runs."""
    from PIL import Image

    return Image.fromarray(fit.forward(request.picture))


def cells_on_picture(cells: NDArray[np.float32], fit: FitPlan) -> NDArray[np.float32]:
    """Lay latent cells (row, column) on the picture (height, width), each cell a block."""
    width, height = fit.canvas
    rows = np.repeat(cells, height // cells.shape[0], axis=0)
    blocks: NDArray[np.float32] = np.repeat(rows, width // cells.shape[1], axis=1).astype(np.float32)
    return fit.inverse(blocks, "nearest")


def outcome_of(image: Image.Image, fit: FitPlan, cost: Cost, **fields: Any) -> Outcome:
    """Return the outcome of a pipeline's result, brought back to the picture's size.

    Args:
        image: what the pipeline returned, of the canvas' size.
        fit: how the picture lies on the canvas.
        cost: of the run.
        fields: other fields of the outcome; they win over the cost.
    """
    pixels = fit.inverse(np.asarray(image.convert("RGB")))
    costs = {"evaluations": cost.evaluations, "seconds": cost.seconds, "peak_memory": cost.memory}
    return Outcome(image=pixels, **{**costs, **fields})
