"""The old place of `wordbrush.diffusion.denoiser`."""

import warnings

from wordbrush.diffusion.denoiser import Conditioning, Denoiser, Prediction

__all__ = ["Conditioning", "Denoiser", "Prediction"]

warnings.warn("wordbrush.denoiser is now wordbrush.diffusion.denoiser", DeprecationWarning, stacklevel=2)
