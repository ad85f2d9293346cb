"""Write docs/api-schema.json: names, types, ranges and defaults of the HTTP API, as its server tells them.

python docs/make_api_schema.py
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from wordbrush.files import write_atomic

SCHEMA = Path(__file__).resolve().parent / "api-schema.json"
LEFT_OUT = {"code_snippets", "example_input"}
"""What depends on where the server is, or is an example only."""

BATCH = "/wordbrush/batch"
"""The address of batches, which is not one of Gradio's; a server tells its schema there."""


def live_schema() -> dict[str, Any]:
    """Return the schema of the API as it is now, with the options a workbench has by default."""
    import gradio as gr

    from wordbrush.web.api.batch_routes import schema_of_batch
    from wordbrush.web.api.endpoints import add_endpoints
    from wordbrush.web.options import Options
    from wordbrush.web.workbench import Workbench

    with tempfile.TemporaryDirectory() as folder, gr.Blocks(analytics_enabled=False) as page:
        workbench = Workbench(Options(), Path(folder))
        add_endpoints(workbench)
    page.config = page.get_config_file()
    info: Any = page.get_api_info()
    return {**reduced(info["named_endpoints"]), BATCH: schema_of_batch(workbench.models.names, Options().limits)}


def reduced(endpoints: Mapping[str, Any]) -> dict[str, Any]:
    """Return what `/gradio_api/info` says of endpoints, without what is not part of the schema."""

    def kept(value: Any) -> Any:
        if isinstance(value, Mapping):
            return {str(name): kept(part) for name, part in value.items() if name not in LEFT_OUT}
        return [kept(part) for part in value] if isinstance(value, list) else value

    schema: dict[str, Any] = kept(endpoints)
    return schema


def text_of(schema: Mapping[str, Any]) -> str:
    """Return the text of the file."""
    return json.dumps(schema, indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    write_atomic(SCHEMA, text_of(live_schema()).encode(), force=True)
