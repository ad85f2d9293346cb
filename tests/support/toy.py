"""A model in closed form whose words have places: exact, instant, and with a known answer.

A text names two halves of the picture, as in `"dark left, light right"`. Under it every value of the latent is Gaussian
around the brightness that the text gives its half, so the exact denoiser is known, two texts disagree exactly where
they name different brightnesses, and the latent is the picture itself (`IdentityCodec`).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from wordbrush.diffusion.denoiser import Conditioning, NetworkDenoiser
from wordbrush.diffusion.schedule import schedule_from_config
from wordbrush.editor import Editor
from wordbrush.engine.driver import Driver
from wordbrush.models.codec import IdentityCodec
from wordbrush.models.model import Canvas, Guidance, Model, ModelIdentity, Prompt, UnknownWord

SD = {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012, "steps_offset": 1}
BRIGHTNESS = {"dark": -0.5, "grey": 0.0, "light": 0.5}
SPREAD = 0.3
TRAINED = schedule_from_config(SD)


class HalfTexts:
    """Reads `dark left, light right`; what is not named is grey."""

    def encode(self, texts: Sequence[str], *, clip_skip: int = 0, canvas: Canvas | None = None) -> list[Prompt]:
        prompts = []
        for text in texts:
            halves = {"left": 0.0, "right": 0.0}
            unknown = []
            for part in filter(None, (p.strip() for p in text.split(","))):
                word, _, side = part.partition(" ")
                if word not in BRIGHTNESS or side not in halves:
                    unknown.append(UnknownWord(part, ("grey left",)))
                    continue
                halves[side] = BRIGHTNESS[word]
            row = torch.tensor([[halves["left"], halves["right"]]])
            prompts.append(Prompt(text, Conditioning({"halves": row}), unknown=tuple(unknown)))
        return prompts


def means(x: Tensor, conditioning: Conditioning) -> Tensor:
    """The brightness each row's text gives each column, (batch, 1, 1, width)."""
    columns = torch.arange(x.shape[-1]) >= x.shape[-1] // 2
    return conditioning["halves"].to(x)[:, columns.long()][:, None, None]


def exact_noise(x: Tensor, labels: Tensor, conditioning: Conditioning) -> Tensor:
    """E[eps | x] for x0 ~ N(mean, SPREAD**2)."""
    levels = [TRAINED.at_label(int(label)) for label in labels]  # type: ignore[attr-defined]
    alpha = torch.stack([level.alpha for level in levels]).to(x).reshape(-1, 1, 1, 1)
    sigma = torch.stack([level.sigma for level in levels]).to(x).reshape(-1, 1, 1, 1)
    return sigma * (x - alpha * means(x, conditioning)) / ((alpha * SPREAD) ** 2 + sigma**2)


def model(resolution: int = 32) -> Model:
    """Return the toy model."""
    identity = ModelIdentity("toy", "toy", "toy", "", "0" * 64, "epsilon", "cpu", "float32")
    return Model(
        identity=identity,
        schedule=TRAINED,
        denoiser=NetworkDenoiser(exact_noise, "epsilon"),
        codec=IdentityCodec(),
        text=HalfTexts(),
        resolution=resolution,
        policy=Guidance("cfg", 1.0),
        device=torch.device("cpu"),
        dtype=torch.float32,
    )


def editor(resolution: int = 32, *, join: bool | None = None, batch_limit: int | None = None) -> Editor:
    """Return an editor of the toy model."""
    made = Editor(model(resolution), batch_limit=batch_limit)
    made.driver = Driver(made.model, batch_limit=batch_limit, join=join)
    return made
