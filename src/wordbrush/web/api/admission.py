"""The bodies of requests, looked at before Gradio sees them: what it would not understand is refused in a sentence.

Gradio answers what it does not expect by "Internal Server Error" and prints what came; here it is said what is wrong.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from wordbrush.errors import SettingsError
from wordbrush.web.api.calls import CALLS, known_inputs
from wordbrush.web.gate.bodies import Refusal
from wordbrush.web.gate.queue import DEVICE
from wordbrush.web.gate.uploads import NO_UPLOAD

if TYPE_CHECKING:
    import gradio as gr

    from wordbrush.web.api.calls import Call
    from wordbrush.web.api.fields import Field
    from wordbrush.web.state.share import Caller
    from wordbrush.web.workbench import Workbench

__all__ = ["Admission", "check_file", "parsed"]

MOST_VALUES = 20_000
"""Most values of one body, counted by commas and brackets: a few megabytes of them would hold everybody up."""

DEEPEST = 32
"""How deep values may be nested."""

LONGEST_PATH = 1024
LONGEST_NAME = 1000

_CALL = re.compile(r"/gradio_api/call/(v2/)?([A-Za-z0-9_-]+)")
_PAGE = re.compile(r"/gradio_api/(queue/join|run/predict)")
_OTHER = re.compile(r"/gradio_api/(cancel|reset|mcp/?)")
_TAB = re.compile(r"[A-Za-z0-9_-]{1,200}")
_FILE = ("path", "url", "size", "orig_name", "mime_type", "is_stream", "meta")
_TEXTS = {"cancel": ("session_hash", "event_id"), "reset": ("event_id",)}


class Admission:
    """Says which requests are not handed on to the page's application, and why.

    Args:
        workbench: whose calls and queue.
        page: whose functions.
    """

    def __init__(self, workbench: Workbench, page: gr.Blocks) -> None:
        self._share = workbench.share
        self._calls = {call.name: (call, call.inputs(workbench)) for call in CALLS}
        self._functions = page.fns

    def examine(self, path: str, caller: Caller, body: bytes) -> Refusal | None:
        """Return why a request is refused, or None where it is handed on; a full queue is told first, and at once."""
        called, asked = _CALL.fullmatch(path), _PAGE.fullmatch(path)
        other = _OTHER.fullmatch(path)
        if not (called or asked or other):
            return None
        try:
            if called:
                return self._busy(caller) or self._call(called[2], parsed(body), by_name=bool(called[1]))
            if asked:
                return self._function(asked[1], parsed(body), caller)
            _check_texts(_TEXTS.get(other[1], ()) if other else (), parsed(body))
        except SettingsError as error:
            return Refusal(422, str(error))
        return None

    def _busy(self, caller: Caller) -> Refusal | None:
        refusal = self._share.refusal(caller)
        return Refusal(503, refusal) if refusal else None

    def _call(self, name: str, body: Mapping[str, Any], *, by_name: bool) -> Refusal | None:
        """Look at a call of the API by plain HTTP."""
        if name not in self._calls:
            return Refusal(404, f"unknown call {name[:40]!r}: known are {', '.join(self._calls)}")
        call, fields = self._calls[name]
        if not by_name:
            body = _by_position(call, fields, body)
        known_inputs(call, body)
        for field in fields:
            value = body.get(field.name)
            if field.kind == "file" and value is not None:
                check_file(field.name, value)
            else:
                field.read(value)
        return None

    def _function(self, how: str, body: Mapping[str, Any], caller: Caller) -> Refusal | None:
        """Look at what the page, or `gradio_client`, asks for by the number of a function."""
        number, data, tab = body.get("fn_index"), body.get("data"), body.get("session_hash")
        function = self._functions.get(number) if type(number) is int else None
        if function is None:
            raise SettingsError("fn_index is not the number of a function; reload the page")
        if not isinstance(data, list) or len(data) != len(function.inputs):
            raise SettingsError(f"data is not a list of {len(function.inputs)} values; reload the page")
        for name, fine in (
            ("session_hash", isinstance(tab, str) and _TAB.fullmatch(tab)),
            ("trigger_id", body.get("trigger_id") is None or type(body.get("trigger_id")) is int),
            ("event_id", body.get("event_id") is None or isinstance(body["event_id"], str)),
            ("batched", not body.get("batched")),
            ("simple_format", not body.get("simple_format")),
        ):
            if not fine:
                raise SettingsError(f"{name} is not what the page sends; reload it")
        queued = function.concurrency_id == DEVICE
        if queued != (how == "queue/join"):
            raise SettingsError("this function is not asked for in this way; reload the page")
        refusal = self._busy(caller) if queued else None
        if refusal is not None:
            return refusal
        called = str(function.api_name)
        if queued and called in self._calls:
            for field, value in zip(self._calls[called][1], data, strict=False):
                if field.kind == "file" and value is not None:
                    check_file(field.name, value)
                elif isinstance(value, (dict, list)):
                    field.read(value)
        elif any({"path", "meta"} <= value.keys() for value in _objects([data, body.get("event_data")])):
            raise SettingsError("the page takes no files here")
        return None


def _by_position(call: Call, fields: Sequence[Field], body: Mapping[str, Any]) -> dict[str, Any]:
    """Return the inputs by name of a call that gives them as a list."""
    data, tab = body.get("data"), body.get("session_hash")
    unknown = sorted(body.keys() - {"data", "session_hash"})
    if unknown:
        raise SettingsError(f"unknown key {unknown[0][:40]!r} of the body: known are data, session_hash")
    if not isinstance(data, list) or len(data) != len(fields):
        count = f"{len(data)} came" if isinstance(data, list) else "that is missing"
        raise SettingsError(f"data is a list of {len(fields)} values, and {count}: {', '.join(call.takes)}")
    if tab is not None and not (isinstance(tab, str) and _TAB.fullmatch(tab)):
        raise SettingsError("session_hash is not a word of at most 200 letters, digits, - and _")
    return {field.name: value for field, value in zip(fields, data, strict=True)}


def parsed(body: bytes) -> dict[str, Any]:
    """Return the JSON object that a body is.

    Raises:
        SettingsError: it is none, or one that is larger or deeper than anything here needs.
    """
    if sum(body.count(sign) for sign in (b",", b"[", b"{")) > MOST_VALUES:
        raise SettingsError(f"the body has more than {MOST_VALUES:,} values")
    try:
        found = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise SettingsError("the body is not JSON") from error
    if not isinstance(found, dict):
        raise SettingsError("the body is not a JSON object")
    for _ in _objects(found):
        pass
    return found


def _objects(value: Any, depth: int = 0) -> Iterator[dict[str, Any]]:
    """Yield every object within a JSON value.

    Raises:
        SettingsError: it is nested too deep.
    """
    if depth > DEEPEST:
        raise SettingsError(f"the values of the body are nested more than {DEEPEST} deep")
    if isinstance(value, dict):
        yield value
        value = list(value.values())
    if isinstance(value, list):
        for part in value:
            if isinstance(part, (dict, list)):
                yield from _objects(part, depth + 1)


def _check_texts(names: Sequence[str], body: Mapping[str, Any]) -> None:
    for name in names:
        if not isinstance(body.get(name), str) or not _TAB.fullmatch(body[name]):
            raise SettingsError(f"{name} is missing, or not a word of at most 200 letters, digits, - and _")
    if "fn_index" in body and type(body["fn_index"]) is not int:
        raise SettingsError("fn_index is not a number")


def check_file(name: str, value: Any) -> None:
    """Check that an input names a file in the form that an upload's answer goes into.

    Raises:
        SettingsError: it does not.
    """
    if not isinstance(value, dict):
        raise SettingsError(f"{name} is not a file; {NO_UPLOAD.partition('; ')[2]}")
    unknown = sorted(value.keys() - set(_FILE))
    if unknown:
        raise SettingsError(f"unknown key {unknown[0][:40]!r} of {name}: known are {', '.join(_FILE)}")
    meta = value.get("meta")
    for key, fine in (
        ("path", isinstance(value.get("path"), str) and len(value["path"]) <= LONGEST_PATH),
        ("url", _is_text(value.get("url"), LONGEST_PATH)),
        ("orig_name", _is_text(value.get("orig_name"), LONGEST_NAME)),
        ("mime_type", _is_text(value.get("mime_type"), LONGEST_NAME)),
        ("size", value.get("size") is None or type(value["size"]) is int),
        ("is_stream", isinstance(value.get("is_stream", False), bool)),
        ("meta", meta == {"_type": "gradio.FileData"}),
    ):
        if not fine:
            raise SettingsError(f"the {key} of {name} is missing, too long or no such thing: {NO_UPLOAD}")


def _is_text(value: Any, most: int) -> bool:
    return value is None or (isinstance(value, str) and len(value) <= most)
