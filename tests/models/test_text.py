"""Prompts: the same numbers as diffusers, and an account of the words that are lost."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from tests.support import tiny
from wordbrush.errors import InputError, ModelError, SettingsError
from wordbrush.models import Model, Prompt, load_model
from wordbrush.models.text import EMBEDDING, ClipText

CPU = torch.device("cpu")


def encoder(words: tuple[str, ...] = (), **changes: Any) -> ClipText:
    return ClipText(tiny.tokenizer(), tiny.text_encoder(**changes), CPU, words)


def embedding(prompt: Prompt) -> torch.Tensor:
    return prompt.conditioning[EMBEDDING]


@pytest.mark.parametrize("kind", ["sd1", "sd2"])
@pytest.mark.parametrize("clip_skip", [0, 1, 2])
@pytest.mark.parametrize("masked", [False, True])
def test_equals_encode_prompt_of_diffusers(kind: tiny.Kind, clip_skip: int, masked: bool) -> None:
    pipeline = tiny.pipeline(kind)
    if masked:
        pipeline.text_encoder.config.use_attention_mask = True
    if not hasattr(pipeline.text_encoder, "text_model"):
        # diffusers 0.42 looks for the final norm where transformers had it before 5.6.
        pipeline.text_encoder.__dict__["text_model"] = pipeline.text_encoder
    for text in ("a red car on snow", "", "  spaces,   and\nlines ", "Ein Zebra, größer als 7 Äpfel!"):
        expected, _ = pipeline.encode_prompt(text, CPU, 1, False, clip_skip=clip_skip or None)
        found = load_model(pipeline).text.encode([text], clip_skip=clip_skip)[0]
        assert torch.equal(embedding(found), expected)
        assert found.conditioning.rows == 1
        assert found.dropped == ()


def test_a_prompt_does_not_depend_on_its_mates(model: Model) -> None:
    texts = ["a cat", "", "a zebra on grass " * 3]
    together = model.text.encode(texts)
    assert [prompt.text for prompt in together] == texts
    for text, prompt in zip(texts, together, strict=True):
        assert torch.equal(embedding(prompt), embedding(model.text.encode([text])[0]))


def test_words_beyond_the_limit_are_reported_exactly() -> None:
    text = encoder()
    whole = " ".join(f"cat{'s' * (i % 2)}" for i in range(40))
    fitting = next(n for n in range(40, 0, -1) if not text.encode([" ".join(whole.split()[:n])])[0].dropped)
    prompt = text.encode([whole])[0]
    assert prompt.dropped == tuple(whole.split()[fitting:])
    assert 0 < len(prompt.dropped) < 40
    # All but the last, which the cut goes through, have no effect at all.
    shorter = " ".join(whole.split()[: fitting + 1])
    assert torch.equal(embedding(prompt), embedding(text.encode([shorter])[0]))
    assert prompt.text == whole


def test_limit_is_met_exactly() -> None:
    text = encoder()
    # One token a word: 75 fit beside start and end.
    full = " ".join(["a"] * 75)
    assert text.encode([full])[0].dropped == ()
    assert text.encode([full + " Dog, cat"])[0].dropped == ("Dog,", "cat")


def test_a_single_endless_word_is_reported() -> None:
    assert encoder().encode(["x" * 500])[0].dropped == ("x" * 500,)


def test_a_smaller_encoder_sets_the_limit() -> None:
    text = ClipText(tiny.tokenizer(), tiny.text_encoder(max_position_embeddings=10), CPU)
    prompt = text.encode(["a a a a a a a a a a"])[0]
    assert embedding(prompt).shape == (1, 10, 32)
    assert prompt.dropped == ("a", "a")


def test_unknown_words_come_with_near_ones() -> None:
    text = encoder(words=("a", "on", "zebra", "horse", "house", "grass", "glass"))
    prompt = text.encode(["A hose on grass, a Zebr and a qqq"])[0]
    assert [word.word for word in prompt.unknown] == ["hose", "Zebr", "and", "qqq"]
    near = {word.word: word.near for word in prompt.unknown}
    assert set(near["hose"]) == {"horse", "house"}
    assert near["Zebr"] == ("zebra",)
    assert near["qqq"] == ()
    assert all(len(word.near) <= 3 for word in prompt.unknown)
    assert text.encode(["a horse on GRASS"])[0].unknown == ()
    assert encoder().encode(["qqq"])[0].unknown == ()


def test_prompts_that_are_none() -> None:
    text = encoder()
    assert text.encode([]) == []
    text.encode(["a " * 1000])
    with pytest.raises(InputError, match="2001 characters"):
        text.encode(["x" * 2001])
    not_text: Any = None
    with pytest.raises(InputError, match="NoneType"):
        text.encode([not_text])


@pytest.mark.parametrize("clip_skip", [-1, 3])
def test_clip_skip_is_checked(clip_skip: int) -> None:
    with pytest.raises(SettingsError, match="0 to 2"):
        encoder().encode(["a"], clip_skip=clip_skip)


def test_tokenizer_of_another_model_is_refused() -> None:
    with pytest.raises(ModelError, match="different models"):
        encoder(vocab_size=100, bos_token_id=1, eos_token_id=2, pad_token_id=2)


def test_learnt_embeddings_of_a_pipeline_are_used(tmp_path: Path) -> None:
    """A textual inversion of two vectors: one word of the prompt becomes two tokens."""
    from safetensors.torch import save_file

    pipeline = tiny.pipeline()
    generator = torch.Generator().manual_seed(0)
    save_file({"<thing>": torch.randn(2, 32, generator=generator)}, tmp_path / "thing.safetensors")
    pipeline.load_textual_inversion(str(tmp_path), weight_name="thing.safetensors", token="<thing>")  # noqa: S106
    model = load_model(pipeline)
    expected, _ = pipeline.encode_prompt("a <thing> on snow", CPU, 1, False)
    prompt = model.text.encode(["a <thing> on snow"])[0]
    assert torch.equal(embedding(prompt), expected)
    assert prompt.text == "a <thing> on snow"
    assert not torch.equal(expected, embedding(model.text.encode(["a on snow"])[0]))
