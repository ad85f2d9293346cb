"""The ladder: real tiny networks that run out of memory when told to."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch

from tests.support import families, tiny, toy
from tests.support.more_families import deep_vae
from wordbrush.diffusion.ask import Ask
from wordbrush.diffusion.denoiser import Conditioning, Denoiser, Prediction
from wordbrush.diffusion.faults import NotFiniteError, is_out_of_memory
from wordbrush.diffusion.schedule import Level
from wordbrush.engine.driver import Driver
from wordbrush.engine.memory import UNLIMITED, ChunkedCodec
from wordbrush.errors import ResourceError, SettingsError
from wordbrush.models import Model
from wordbrush.models.codec import AutoencoderCodec, IdentityCodec


class Limited:
    """The real network, with memory for `rows` rows and no more."""

    def __init__(self, denoiser: Denoiser, rows: int, error: Callable[[], BaseException]) -> None:
        self.denoiser, self.rows, self.error = denoiser, rows, error
        self.sizes: list[int] = []

    def __call__(
        self, x: torch.Tensor, level: Level, conditioning: Conditioning, *, label: Level | None = None
    ) -> Prediction:
        self.sizes.append(len(x))
        if len(x) > self.rows:
            raise self.error()
        return self.denoiser(x, level, conditioning, label=label)


class Chunked:
    """A driver that is asked one thing at a time, as a denoiser."""

    def __init__(self, denoiser: Denoiser, limit: int = UNLIMITED) -> None:
        self.driver = Driver(replace(toy.model(), denoiser=denoiser), batch_limit=limit)
        self.notes = self.driver.notes

    @property
    def limit(self) -> int:
        return self.driver.batch_limit

    def __call__(
        self, x: torch.Tensor, level: Level, conditioning: Conditioning, *, label: Level | None = None
    ) -> Prediction:
        (prediction,) = self.driver.answer([Ask(x, level, conditioning, label)])
        return prediction


def cuda_error() -> BaseException:
    return torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")


def batch(model: Model, rows: int) -> tuple[torch.Tensor, Level, Conditioning]:
    x = torch.randn(rows, tiny.CHANNELS, 16, 16, generator=torch.Generator().manual_seed(0))
    level = Level.stack([model.schedule.level((i + 1) / (rows + 1)) for i in range(rows)])
    texts = model.text.encode([f"a cat on {'snow ' * i}" for i in range(rows)])
    return x, level, Conditioning.concat([text.conditioning for text in texts])


def test_recognises_what_allocators_say() -> None:
    assert is_out_of_memory(cuda_error())
    assert is_out_of_memory(MemoryError())
    for message in (
        "CUDA out of memory. Tried to allocate 1.00 GiB",
        "MPS backend out of memory (MPS allocated: 1 GB)",
        "cuDNN error: CUDNN_STATUS_NOT_SUPPORTED. This error may appear if",
        "[enforce fail at alloc_cpu.cpp:121] err == 0. DefaultCPUAllocator: can't allocate memory: you tried",
    ):
        assert is_out_of_memory(RuntimeError(message)), message
    assert not is_out_of_memory(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
    assert not is_out_of_memory(ValueError("out of memory"))
    assert not is_out_of_memory(ResourceError("out of memory"))


def test_a_real_cpu_allocation_that_is_too_large_is_recognised() -> None:
    with pytest.raises(RuntimeError) as caught:
        torch.empty(1 << 60, dtype=torch.uint8)
    assert is_out_of_memory(caught.value)


@pytest.mark.parametrize("limit", [1, 2, 3, 7, 50])
def test_chunks_do_not_change_results(model: Model, limit: int) -> None:
    x, level, texts = batch(model, 7)
    told = Level.stack([model.schedule.level(0.5)] * 7)
    whole = model.denoiser(x, level, texts, label=told)
    counted = Limited(model.denoiser, 100, cuda_error)
    parts = Chunked(counted, limit)(x, level, texts, label=told)
    assert max(counted.sizes) <= limit
    assert sum(counted.sizes) == 7
    assert torch.allclose(parts.x0, whole.x0, atol=1e-4)
    assert torch.allclose(parts.eps, whole.eps, atol=1e-4)


@pytest.mark.parametrize(
    "error", [cuda_error, lambda: RuntimeError("DefaultCPUAllocator: can't allocate memory"), MemoryError]
)
def test_limit_is_halved_until_it_fits_and_stays(model: Model, error: Callable[[], BaseException]) -> None:
    x, level, texts = batch(model, 8)
    whole = model.denoiser(x, level, texts)
    limited = Limited(model.denoiser, 3, error)
    chunked = Chunked(limited)
    found = chunked(x, level, texts)
    assert limited.sizes == [8, 4, 2, 2, 2, 2]
    assert chunked.limit == 2
    assert torch.allclose(found.eps, whole.eps, atol=1e-4)
    assert len(chunked.notes.take()) == 2
    limited.sizes.clear()
    chunked(x, level, texts)
    assert limited.sizes == [2, 2, 2, 2]
    assert chunked.notes.take() == ()


def test_one_level_for_all_rows_is_passed_on(model: Model) -> None:
    x, _, texts = batch(model, 4)
    level = model.schedule.level(0.5)
    found = Chunked(Limited(model.denoiser, 1, cuda_error))(x, level, texts)
    assert torch.allclose(found.eps, model.denoiser(x, level, texts).eps, atol=1e-4)


def test_one_row_too_many_is_a_resource_error(model: Model) -> None:
    x, level, texts = batch(model, 4)
    with pytest.raises(ResourceError, match=r"one item alone.*resolution"):
        Chunked(Limited(model.denoiser, 0, cuda_error))(x, level, texts)


def test_other_errors_pass_unchanged(model: Model) -> None:
    x, level, texts = batch(model, 4)
    limited = Limited(model.denoiser, 0, lambda: RuntimeError("shape mismatch"))
    with pytest.raises(RuntimeError, match="shape mismatch"):
        Chunked(limited)(x, level, texts)
    assert limited.sizes == [4]


def test_the_failed_call_holds_no_memory(model: Model) -> None:
    """The tensors of the failed attempt must be gone before the next one, or the ladder could not help."""
    import weakref

    x, level, texts = batch(model, 2)
    kept: list[weakref.ref[torch.Tensor]] = []

    def hungry(x: torch.Tensor, level: Level, conditioning: Conditioning, *, label: Level | None = None) -> Prediction:
        del level, conditioning, label
        scratch = torch.ones(1000)
        if len(x) > 1:
            kept.append(weakref.ref(scratch))
            raise cuda_error()
        assert all(ref() is None for ref in kept)
        return Prediction(x, scratch.new_zeros(x.shape))

    Chunked(hungry)(x, level, texts)
    assert len(kept) == 1


def test_items_not_finite_are_counted_in_the_whole_batch(model: Model) -> None:
    x, level, texts = batch(model, 5)
    x[3, 0, 0, 0] = torch.nan
    with pytest.raises(NotFiniteError, match="denoising network") as caught:
        Chunked(model.denoiser, 2)(x, level, texts)
    assert caught.value.items == (3,)
    good = [0, 1, 2, 4]
    rest = Chunked(model.denoiser, 2)(x[good], level.select(torch.tensor(good)), texts.select(good))
    assert rest.eps.isfinite().all()


@pytest.mark.parametrize("limit", [0, -1])
def test_limit_is_checked(model: Model, limit: int) -> None:
    with pytest.raises(SettingsError, match="below 1"):
        Chunked(model.denoiser, limit)


class HungryDecoder:
    """A real autoencoder that has memory for `cells` latent cells at once and no more."""

    def __init__(self, vae: Any, cells: int) -> None:
        self.sizes: list[tuple[int, int]] = []

        def before(_module: Any, args: Any) -> None:
            rows, *_, height, width = args[0].shape
            self.sizes.append((rows, height))
            if rows * height * width > cells:
                raise cuda_error()

        vae.decoder.register_forward_pre_hook(before)


def test_codec_halves_then_goes_one_by_one() -> None:
    latents = torch.randn(4, 4, 16, 16, generator=torch.Generator().manual_seed(2))
    expected = AutoencoderCodec(tiny.vae()).decode(latents)
    vae = tiny.vae()
    hungry = HungryDecoder(vae, 300)
    codec = ChunkedCodec(AutoencoderCodec(vae))
    assert torch.allclose(codec.decode(latents), expected, atol=1e-4)
    assert [rows for rows, _ in hungry.sizes] == [4, 2, 1, 1, 1, 1]
    assert codec.limit == 1
    assert all("autoencoder (decode)" in note for note in codec.notes.take())


@pytest.mark.parametrize("build", [tiny.vae, families.flux_2_vae, families.qwen_vae, deep_vae])
def test_codec_ends_in_tiles(build: Callable[[], Any]) -> None:
    latents = torch.randn(2, 4, 48, 48, generator=torch.Generator().manual_seed(2))
    expected = AutoencoderCodec(build()).with_tiles().decode(latents)
    vae = build()
    hungry = HungryDecoder(vae, 32 * 32)
    codec = ChunkedCodec(AutoencoderCodec(vae))
    assert torch.allclose(codec.decode(latents), expected, atol=1e-4)
    assert "tiles" in codec.notes.take()[-1]
    hungry.sizes.clear()
    codec.decode(latents)
    assert max(side for _, side in hungry.sizes) <= 32
    assert not vae.use_tiling


def test_codec_gives_up_when_a_tile_is_too_much() -> None:
    vae = tiny.vae()
    HungryDecoder(vae, 10)
    with pytest.raises(ResourceError, match="autoencoder"):
        ChunkedCodec(AutoencoderCodec(vae)).decode(torch.zeros(2, 4, 48, 48))


def test_an_autoencoder_without_tiles_says_so() -> None:
    from diffusers import AutoencoderTiny

    blocks = {f"{way}_block_out_channels": (8, 8) for way in ("encoder", "decoder")}
    counts = {f"num_{way}_blocks": (1, 1) for way in ("encoder", "decoder")}
    vae = AutoencoderTiny(**blocks, **counts).eval()  # its tiles count cells of 8 pixels, and these have 2
    HungryDecoder(vae, 10)
    with pytest.raises(ResourceError, match=r"autoencoder \(decode\), and this one does not work in tiles"):
        ChunkedCodec(AutoencoderCodec(vae)).decode(torch.zeros(1, 4, 8, 8))
    whole = AutoencoderTiny(
        encoder_block_out_channels=(8,) * 4, decoder_block_out_channels=(8,) * 4, num_encoder_blocks=(1,) * 4,
        num_decoder_blocks=(1,) * 4,
    ).eval()  # fmt: skip
    HungryDecoder(whole, 32 * 32)
    codec = ChunkedCodec(AutoencoderCodec(whole))
    assert codec.decode(torch.zeros(1, 4, 40, 40)).shape == (1, 3, 320, 320)
    assert "tiles" in codec.notes.take()[-1]


def test_codec_without_tiles_gives_up_too(monkeypatch: pytest.MonkeyPatch) -> None:
    codec = IdentityCodec()
    monkeypatch.setattr(codec, "encode", lambda _: (_ for _ in ()).throw(cuda_error()))
    with pytest.raises(ResourceError):
        ChunkedCodec(codec).encode(torch.zeros(2, 3, 8, 8))


def test_codec_chunks_are_equal_to_the_whole() -> None:
    codec = AutoencoderCodec(tiny.vae())
    pixels = torch.rand(5, 3, 32, 32) * 2 - 1
    for limit in (1, 2, 5):
        assert torch.allclose(ChunkedCodec(codec, limit).encode(pixels), codec.encode(pixels), atol=1e-4)
    assert (ChunkedCodec(codec).factor, ChunkedCodec(codec).channels) == (2, 4)


def test_loaded_models_have_the_ladder(model: Model) -> None:
    codec = Driver(model).codec
    assert isinstance(codec, ChunkedCodec)
    assert codec.codec is model.codec
