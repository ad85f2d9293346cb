"""Values of a checkpoint's configurations, checked before anything is built of them.

A configuration is a text that anybody can write. One wrong type ends in whatever a library raises for it, one absurd
size in hours or gigabytes; and some keys reach for code or number formats that this program does not use. So every
value that is used is looked at here first, against the header of the weights, which tells what is really there.
"""

from __future__ import annotations

import inspect
import math
import re
from collections.abc import Iterator, Mapping
from typing import Any

from wordbrush.errors import ModelError
from wordbrush.models.checkpoint.quantised import KEY, check_method, method_of
from wordbrush.models.header import TensorEntry

__all__ = ["check_kinds", "check_network", "check_scheduler", "check_stored", "stripped"]

MAX_SIDE = 8192
"""Largest `sample_size`, in cells or pixels."""

MAX_STEPS = 100_000
"""Most training steps of a schedule."""

_WIDEST = 65_536
_BUILT = 2**31
"""No bound: what is loaded already was built."""

_LONGEST_TEXT = 2**24
_LONGEST_LIST = 64

_LAYERS = {"layers_per_block", "num_hidden_layers", "num_layers", "transformer_layers_per_block"}
_LAYERS |= {"num_encoder_blocks", "num_decoder_blocks"}
_WIDTHS = {"in_channels", "out_channels", "latent_channels", "block_out_channels", "cross_attention_dim"}
_WIDTHS |= {"hidden_size", "intermediate_size", "vocab_size", "max_position_embeddings", "attention_head_dim"}
_WIDTHS |= {"num_attention_heads", "norm_num_groups", "encoder_block_out_channels", "decoder_block_out_channels"}
_LISTS = {"block_out_channels", "layers_per_block", "cross_attention_dim", "attention_head_dim", "num_attention_heads"}
_LISTS |= {"transformer_layers_per_block", "sample_size", "num_encoder_blocks", "num_decoder_blocks"}
_LISTS |= {"encoder_block_out_channels", "decoder_block_out_channels"}
_NEVER_NULL = {"in_channels", "latent_channels", "block_out_channels", "cross_attention_dim", "layers_per_block"}
_NEVER_NULL |= {"hidden_size", "intermediate_size", "vocab_size", "num_hidden_layers", "scaling_factor"}
_NEVER_NULL |= {"max_position_embeddings", "eos_token_id", "downsample_padding", "freq_shift"}
_NEVER_NULL |= {"mid_block_scale_factor", "norm_eps", "layer_norm_eps"}

_LARGEST = {"downsample_padding": 1, "freq_shift": 1, "mid_block_scale_factor": 1e4, "norm_eps": 1, "layer_norm_eps": 1}

_OLD_NAME = "Transformer2DModel"
"""What the transformers of several families were called once."""

_IMPLEMENTATION = re.compile(r"_?(\w+_)?implementation(_internal)?")
_NEVER_PASSED = {"auto_map", "custom_pipelines", "use_kernels", "kernel_config"}

_FLOATS = re.compile(r"F4|F6_\w+|F8_\w+|F16|BF16|F32|F64")
_WHOLE_BY_NATURE = re.compile(r"(^|\.)(position_ids|num_batches_tracked|relative_position_index)$")


def check_network(
    config: Mapping[str, Any],
    where: str,
    tensors: Mapping[str, TensorEntry] | None = None,
    *,
    quantised: bool = False,
) -> None:
    """Check the configuration of a network.

    Args:
        config: contents of its config.json.
        where: what to call it in messages.
        tensors: of its weights, by name, where they are known: no size may be beyond what they can make up.
        quantised: quantised weights are taken, where what reads them is installed.

    Raises:
        ModelError: a value is of a wrong kind or absurd, names native code on the hub, or says that the weights are
            quantised and that is not to be; the message names the key.
    """
    if quantised:
        check_method(config, where)
    _refuse_borrowed(config, where, config.get(KEY) if quantised else None)
    most_layers = _BUILT if tensors is None else max(len(tensors), 1)
    widest = _BUILT if tensors is None else max([_WIDEST, *(side for t in tensors.values() for side in t.shape)])
    rotary = any(key.startswith("rope_") for key in config)
    for key, value in config.items():
        if value is None and key not in _NEVER_NULL:
            continue  # "by default", of the class that reads it
        if key in _LAYERS:
            _check_whole(key, value, most_layers, where)
        elif key in _WIDTHS:
            # Rotary positions are computed, not stored.
            most = max(widest, _LONGEST_TEXT) if rotary and key == "max_position_embeddings" else widest
            _check_whole(key, value, most, where)
        elif key == "sample_size":
            _check_whole(key, value, MAX_SIDE, where)
        elif key == "scaling_factor":
            _check_number(key, value, where, above=0.0, most=1e4)
        elif key == "shift_factor":
            _check_number(key, value, where, above=-1e4, most=1e4)
        elif isinstance(value, Mapping) and key.endswith("_config") and key != KEY:
            _check_nested(key, value, most_layers, widest, where)
        else:
            _check_finite(key, value, where)


def _check_nested(of: str, config: Mapping[str, Any], most_layers: int, widest: int, where: str) -> None:
    """Check the sizes in a table within a configuration, as of the language model of one that sees, too."""
    for key, value in config.items():
        if value is not None and key in _LAYERS:
            _check_whole(f"{of}.{key}", value, most_layers, where)
        elif value is not None and key in _WIDTHS and key != "max_position_embeddings":
            _check_whole(f"{of}.{key}", value, widest, where)


def check_kinds(config: Mapping[str, Any], of: type, where: str) -> None:
    """Check that a configuration is of the class that reads it, and its numbers are numbers where the class has some.

    Args:
        config: contents of its config.json.
        of: the class whose constructor reads it.
        where: what to call it in messages.

    Raises:
        ModelError: it is another's, or a value is no number; the message names the key.
    """
    _check_owner(config, of, where)
    for key, parameter in inspect.signature(of).parameters.items():
        default, value = parameter.default, config.get(key)
        if key not in config or type(default) not in {int, float}:
            continue
        if (value is None and key not in _NEVER_NULL) or (isinstance(value, list | tuple) and key in _LISTS):
            continue
        if isinstance(value, bool) or not isinstance(value, int | float) or not _in_range(key, value):
            raise ModelError(f"{where}: {key} is {_shown(value)}, where a number such as {default} is wanted")


def _check_owner(config: Mapping[str, Any], of: type, where: str) -> None:
    """Raise where a configuration says that it is of another class: that one's sizes by default may be enormous."""
    wanted = str(getattr(of, "model_type", "")) or of.__name__
    said = config.get("model_type" if hasattr(of, "model_type") else "_class_name")
    if not isinstance(said, str) or _OLD_NAME in {said, wanted}:
        return
    if said.split("_")[0] != wanted.split("_")[0]:
        raise ModelError(
            f"{where} is of {said[:60]}, where {wanted} is wanted: the part is another model's; put the right one there"
        )


def _in_range(key: str, value: float) -> bool:
    return 0 <= value <= _LARGEST[key] if key in _LARGEST else abs(value) <= 1e7


def check_scheduler(config: Mapping[str, Any], where: str) -> None:
    """Check the configuration of a scheduler, of any class.

    Raises:
        ModelError: a value that a schedule is made of is of a wrong kind or out of range; the message names the key.
    """
    for key in ("num_train_timesteps",):
        if key in config:
            _check_whole(key, config[key], MAX_STEPS, where, lists=False)
    for key in ("beta_start", "beta_end"):
        if key in config:
            _check_number(key, config[key], where, above=0.0, most=1.0)
    for key in ("shift", "flow_shift"):
        if config.get(key) is not None:
            _check_number(key, config[key], where, above=0.0, most=1e4)
    offset = config.get("steps_offset")
    if offset is not None and offset != 0:
        _check_whole("steps_offset", offset, int(config.get("num_train_timesteps", 1000)), where, lists=False)
    betas = config.get("trained_betas")
    if betas is not None:
        betas = betas.tolist() if hasattr(betas, "tolist") else betas
        if not isinstance(betas, list | tuple) or not 1 <= len(betas) <= MAX_STEPS:
            raise ModelError(f"{where}: trained_betas is no list of 1 to {MAX_STEPS} numbers")
        for beta in betas:
            _check_number("trained_betas", beta, where, above=-1e-9, most=1.0)
    for key in ("prediction_type", "beta_schedule", "timestep_spacing"):
        if not isinstance(config.get(key, ""), str | None):
            raise ModelError(f"{where}: {key} is {_shown(config[key])}, where a word is wanted")


def check_stored(tensors: Mapping[str, TensorEntry], where: str, config: Mapping[str, Any] | None = None) -> None:
    """Check that the weights of a network are stored as floating point, or that its configuration says otherwise.

    Args:
        tensors: as the headers of the files describe them, by name.
        where: what to call it in messages.
        config: of a network whose weights may be quantised, where that has been checked.

    Raises:
        ModelError: one is not; the message names it.
    """
    if config is not None and method_of(config):
        return
    for name, entry in tensors.items():
        if not _FLOATS.fullmatch(entry.dtype) and not _WHOLE_BY_NATURE.search(name):
            raise ModelError(
                f"{where}: {name[:200]} is stored as {entry.dtype}, which is no floating point: the weights are "
                "quantised or damaged; use the full ones"
            )


def stripped(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return a configuration without the keys that choose code for the libraries; they then choose by themselves."""

    def clean(value: Any) -> Any:
        if isinstance(value, Mapping):
            kept = {key: item for key, item in value.items() if not _chooses_code(str(key))}
            return {key: clean(item) for key, item in kept.items()}
        return [clean(item) for item in value] if isinstance(value, list) else value

    return dict(clean(config))


def _chooses_code(key: str) -> bool:
    return key in _NEVER_PASSED or _IMPLEMENTATION.fullmatch(key) is not None


def _refuse_borrowed(config: Mapping[str, Any], where: str, passed_on: Any = None) -> None:
    for key, value in _items(config):
        if key == KEY and value is not None and value is not passed_on:
            by = method_of({KEY: value})[:60]
            raise ModelError(f"{where}: {KEY} says that the weights are quantised ({by!r}): use the full ones")
        if _IMPLEMENTATION.fullmatch(key) and "/" in str(value):
            raise ModelError(
                f"{where}: {key} names native code on the hub ({_shown(value)}), which is never fetched or run; remove "
                "the key if you trust the rest"
            )


def _items(value: Any, depth: int = 0) -> Iterator[tuple[str, Any]]:
    if depth > 8:
        return
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield str(key), item
            yield from _items(item, depth + 1)
    elif isinstance(value, list):
        for item in value:
            yield from _items(item, depth + 1)


def _check_whole(key: str, value: Any, most: int, where: str, *, lists: bool = True) -> None:
    if lists and key in _LISTS and isinstance(value, list | tuple):
        if not 1 <= len(value) <= _LONGEST_LIST:
            raise ModelError(f"{where}: {key} lists {len(value)} numbers, where 1 to {_LONGEST_LIST} are wanted")
        for item in value:
            _check_whole(key, item, most, where, lists=key == "transformer_layers_per_block")
        return
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= most:
        raise ModelError(f"{where}: {key} is {_shown(value)}, where a whole number from 1 to {most} is wanted")


def _check_number(key: str, value: Any, where: str, *, above: float, most: float) -> None:
    sound = isinstance(value, int | float) and not isinstance(value, bool) and above < value <= most
    if not sound:
        wanted = f"a number above {max(above, 0.0):g}, at most {most:g}," if above >= 0 else "a number of that kind"
        raise ModelError(f"{where}: {key} is {_shown(value)}, where {wanted} is wanted")


def _check_finite(key: str, value: Any, where: str) -> None:
    for item in value if isinstance(value, list | tuple) else (value,):
        if isinstance(item, float) and not math.isfinite(item):
            raise ModelError(f"{where}: {key} is {_shown(value)}, where a finite number is wanted")


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
