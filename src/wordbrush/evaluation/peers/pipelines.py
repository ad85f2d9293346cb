"""The diffusers pipelines over the networks that an editor has loaded, and runs of them that leave no trace.

The pipelines share the editor's own network, autoencoder, text encoder and tokenizer, so nothing is loaded or held
twice and every difference of a result comes from the algorithm alone. Schedulers are made afresh from the checkpoint's
configuration, as pipelines write into theirs. What a pipeline changes on the shared modules while it runs (LEDITS++
replaces the attention processors) is put back before a run ends, whatever happens.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import torch

from wordbrush.diffusion.denoiser import NetworkDenoiser
from wordbrush.errors import ModelError
from wordbrush.evaluation.memory_probe import memory_probe
from wordbrush.models.checkpoint.quiet import quiet
from wordbrush.models.codec import AutoencoderCodec
from wordbrush.models.families.stable_diffusion import UNetNetwork
from wordbrush.models.precision import evaluating
from wordbrush.models.text import ClipText

if TYPE_CHECKING:
    from wordbrush.editor import Editor
    from wordbrush.models.model import Model

__all__ = ["Cost", "Pipelines", "pipelines_of"]


@dataclass
class Cost:
    """The cost of a pipeline's run so far.

    Attributes:
        evaluations: network evaluations (one row of one call each).
        seconds: wall time; set when the run has ended.
        memory: largest growth of the resident set, in bytes; set when the run has ended.
    """

    evaluations: int = 0
    seconds: float = 0.0
    memory: int = 0


class UnetView:
    """The network under another number of input channels, in its configuration only.

    `StableDiffusionInpaintPipeline` asks `unet.config.in_channels` which of its two ways to go: 4 means a network of
    latents only, whose outside is blended back after each step, 9 one that is also given mask and masked picture; any
    other number it refuses. A network of latents with 8 channels goes the first way once the question is answered with
    4; nothing else in that pipeline reads the number. Calls, and every other attribute, are the network's own.

    Args:
        unet: the network; not changed.
        channels: the answer.
    """

    def __init__(self, unet: Any, channels: int) -> None:
        self.unet = unet
        self.config = type(unet.config)({**unet.config, "in_channels": channels})

    def __call__(self, *args: Any, **keywords: Any) -> Any:
        """Run the network itself."""
        return self.unet(*args, **keywords)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.unet, name)


class Pipelines:
    """Pipelines over the modules of one loaded model, each built when it is first asked for.

    Args:
        model: a Stable Diffusion 1.x or 2.x model, or any other of that build.

    Raises:
        ModelError: the model is of another build.
    """

    def __init__(self, model: Model) -> None:
        network = model.denoiser.network if isinstance(model.denoiser, NetworkDenoiser) else None
        codec = model.codec
        if not (
            isinstance(network, UNetNetwork)
            and isinstance(codec, AutoencoderCodec)
            and isinstance(model.text, ClipText)
        ):
            raise ModelError(f"peers take models of the Stable Diffusion build only, not {model.identity.name}")
        self.unet, self.vae = network.module, codec.autoencoder
        self.text_encoder, self.tokenizer = model.text.encoder, model.text.tokenizer
        self.scheduler = {**model.scheduler, "prediction_type": model.identity.parametrisation}

    @cached_property
    def diffedit(self) -> Any:
        """Return StableDiffusionDiffEditPipeline with the two schedulers of its documentation."""
        import diffusers

        return self._built(
            "StableDiffusionDiffEditPipeline",
            scheduler=diffusers.DDIMScheduler.from_config(self.scheduler),
            inverse_scheduler=diffusers.DDIMInverseScheduler.from_config(self.scheduler),
        )

    @cached_property
    def leditspp(self) -> Any:
        """Return LEditsPPPipelineStableDiffusion with the only scheduler that it runs with.

        Its other scheduler, DDIM, crashes in `invert`, and would take what a v-network says for noise.
        """
        import diffusers

        scheduler = diffusers.DPMSolverMultistepScheduler.from_config(
            self.scheduler, algorithm_type="sde-dpmsolver++", solver_order=2
        )
        return self._built("LEditsPPPipelineStableDiffusion", scheduler=scheduler)

    @cached_property
    def img2img(self) -> Any:
        """Return StableDiffusionImg2ImgPipeline with the checkpoint's own kind of scheduler, DDIM."""
        import diffusers

        return self._built(
            "StableDiffusionImg2ImgPipeline", scheduler=diffusers.DDIMScheduler.from_config(self.scheduler)
        )

    @cached_property
    def inpaint(self) -> Any:
        """Return StableDiffusionInpaintPipeline with DDIM, over a `UnetView` where it would refuse the network."""
        import diffusers

        pipeline = self._built(
            "StableDiffusionInpaintPipeline", scheduler=diffusers.DDIMScheduler.from_config(self.scheduler)
        )
        if self.unet.config.in_channels == self.vae.config.latent_channels != 4:
            with quiet():
                pipeline.unet = UnetView(self.unet, 4)
        return pipeline

    def _built(self, kind: str, **schedulers: Any) -> Any:
        import diffusers

        with quiet():  # some announce their retirement
            pipeline = getattr(diffusers, kind)(
                vae=self.vae,
                text_encoder=self.text_encoder,
                tokenizer=self.tokenizer,
                unet=self.unet,
                safety_checker=None,
                feature_extractor=None,
                requires_safety_checker=False,
                **schedulers,
            )
        pipeline.set_progress_bar_config(disable=True)
        return pipeline

    @contextmanager
    def running(self) -> Iterator[Cost]:
        """Run a pipeline in the block without output or dropout, count its cost, and restore the networks afterwards.

        Evaluations are counted on the shared network itself, whoever calls it.

        Yields:
            The cost; seconds and memory are known when the block has ended.
        """
        cost = Cost()

        def count(_module: Any, args: tuple[Any, ...], keywords: dict[str, Any]) -> None:
            cost.evaluations += len(args[0] if args else keywords["sample"])

        with ExitStack() as stack:
            stack.enter_context(quiet())
            stack.enter_context(torch.no_grad())
            for module in (self.unet, self.vae, self.text_encoder):
                stack.enter_context(evaluating(module))
            stack.callback(self.unet.set_attn_processor, dict(self.unet.attn_processors))
            stack.callback(self.unet.register_forward_pre_hook(count, with_kwargs=True).remove)
            probe = stack.enter_context(memory_probe())
            begin = time.perf_counter()
            yield cost
            cost.seconds = time.perf_counter() - begin
        cost.memory = probe.growth


_KNOWN: WeakKeyDictionary[Editor, Pipelines] = WeakKeyDictionary()


def pipelines_of(editor: Editor) -> Pipelines:
    """Return the pipelines over an editor's modules, built once an editor.

    Raises:
        ModelError: the editor's model is not of the Stable Diffusion build.
    """
    if editor not in _KNOWN:
        _KNOWN[editor] = Pipelines(editor.model)
    return _KNOWN[editor]
