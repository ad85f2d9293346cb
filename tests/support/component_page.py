"""A page with the workbench's components and nothing behind them: what they send is kept, what they show is given."""

from __future__ import annotations

import base64
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from io import BytesIO
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import numpy as np
from PIL import Image

from tests.support.browser import Traffic, launched, served
from tests.support.pictures import encode, scene
from wordbrush.web.page import components

if TYPE_CHECKING:
    from playwright.sync_api import Page

    from tests.support.browser import Launched

NAMES = ("stage", "versions", "compare", "words", "progress")
EVENTS = {
    "stage": ("stroke", "opened", "sample", "masked", "problem"),
    "versions": ("restore", "reuse", "remove", "pick"),
    "words": ("choose",),
}
LIMIT = 2_000_000
SIZE = (300, 200)


def data_url(image: Image.Image) -> str:
    return "data:image/png;base64," + base64.b64encode(encode(image)).decode()


def stroke_pixels(url: str) -> np.ndarray[Any, Any]:
    """Decode a sheet of strokes (row, column); it must be opaque, and black or white."""
    with Image.open(BytesIO(base64.b64decode(url.removeprefix("data:image/png;base64,")))) as image:
        pixels = np.asarray(image.convert("RGBA"))
    assert set(np.unique(pixels)) <= {0, 255}
    assert np.all(pixels[..., 3] == 255)
    assert np.ptp(pixels[..., :3].astype(int), axis=-1).max() == 0
    return pixels[..., 0]


def disc_mask(x: float, y: float, radius: float, size: tuple[int, int] = SIZE) -> str:
    """Return a mask as the page gets it (alpha), a disc at (x, y), all in shares of the width and height."""
    rows, columns = np.mgrid[: size[1], : size[0]]
    inside = np.hypot((columns + 0.5) / size[0] - x, (rows + 0.5) / size[1] - y) < radius
    image = Image.new("L", size, 255)
    image.putalpha(Image.fromarray((inside * 255).astype(np.uint8)))
    return data_url(image)


def heat_map() -> str:
    """Return a heat map as the page gets it: red to the right, translucent."""
    ramp = np.zeros((32, 48, 4), np.uint8)
    ramp[..., 0] = np.linspace(0, 255, 48)
    ramp[..., 3] = 150
    return data_url(Image.fromarray(ramp))


def sheet_url(box: tuple[int, int, int, int], size: tuple[int, int] = SIZE) -> str:
    """Return strokes as the server gives them: a white box (left, top, right, bottom) on black."""
    image = Image.new("L", size, 0)
    image.paste(255, box)
    return data_url(image)


def facts(id_: str = "p1", name: str = "horse.png") -> dict[str, Any]:
    return {"id": id_, "url": f"/wordbrush/picture/{id_}", "name": name, "width": SIZE[0], "height": SIZE[1]}


def stage_value(**changes: Any) -> dict[str, Any]:
    strokes = {"include": None, "exclude": None}
    value = {"picture": facts(), "heat": None, "mask": None, "strokes": strokes, "strokes_key": 1}
    return {**value, "samples": [], **changes}


@dataclass
class Desk:
    """What came from the page, and what goes to it.

    Attributes:
        seen: (event, its data, the component's value).
        given: values by component, taken by the page when its button is pressed.
        answer: what the handler of `stroke` returns for the stage, or None to leave it.
        uploads: (route, decoded name, bytes) of files sent.
        refusal: (status, JSON) to answer the next uploads with.
        taken: how often values were taken.
    """

    seen: list[tuple[str, dict[str, Any], Any]] = field(default_factory=list)
    given: dict[str, Any] = field(default_factory=dict)
    answer: Callable[[dict[str, Any]], dict[str, Any]] | None = None
    uploads: list[tuple[str, str, bytes]] = field(default_factory=list)
    refusal: tuple[int, dict[str, Any]] | None = None
    taken: int = 0

    def take(self) -> list[Any]:
        """Return what each component is given, in the order of `NAMES`."""
        import gradio as gr

        self.taken += 1
        return [self.given.get(name, gr.skip()) for name in NAMES]

    def wait(self, event: str, count: int = 1) -> tuple[dict[str, Any], Any]:
        """Return data and value of the `count`th event of this name, once it is there."""
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            found = [(data, value) for name, data, value in self.seen if name == event]
            if len(found) >= count:
                return found[count - 1]
            time.sleep(0.02)
        raise AssertionError(f"no event {event} number {count}; seen {[name for name, _, _ in self.seen]}")

    def count(self, event: str) -> int:
        """Return how often an event came."""
        return sum(name == event for name, _, _ in self.seen)


@dataclass
class Shown:
    """A browser with the page of components before it."""

    desk: Desk
    address: str
    chrome: Launched

    @contextmanager
    def page(self, *, theme: str = "light", width: int = 1200, **options: Any) -> Iterator[Page]:
        """Open the page in a context of its own; afterwards it must not have complained of anything."""
        self.desk.__init__()  # type: ignore[misc]
        self.chrome.errors.lines.clear()
        context = self.chrome.context(viewport={"width": width, "height": 900}, **options)
        page = context.new_page()
        page.set_default_timeout(10_000)
        try:
            page.goto(f"{self.address}/?__theme={theme}")
            page.wait_for_selector("#stage .stage[data-ready=true]")
            page.wait_for_selector("#give")
            page.wait_for_load_state("networkidle")
            yield page
        finally:
            context.close()
        assert self.chrome.errors.lines == []

    def give(self, page: Page, **values: Any) -> None:
        """Set components as the server does, and wait until the stage has drawn."""
        self.desk.given = values
        mark, traffic = self.desk.taken, Traffic(page)
        page.evaluate("document.querySelector('#give').click()")
        traffic.rest(lambda: self.desk.taken > mark, seconds=10)
        page.wait_for_selector("#stage .stage[data-ready=true]")


def told(page: Page, name: str) -> str | None:
    """Return what the stage's root tells, as its docstring says."""
    return page.get_attribute("#stage .stage", f"data-{name}")


def tool(page: Page, name: str) -> None:
    page.click(f"#stage button[data-tool={name}]")


def at(pixels: np.ndarray[Any, Any], x: float, y: float) -> Any:
    return pixels[int(y * (pixels.shape[0] - 1)), int(x * (pixels.shape[1] - 1))]


def drag(page: Page, *places: tuple[float, float]) -> None:
    """Draw a line through places given in shares of the picture."""
    box = page.locator("#stage canvas.view").bounding_box()
    assert box is not None
    points = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in places]
    page.mouse.move(*points[0])
    page.mouse.down()
    for point in points[1:]:
        page.mouse.move(*point, steps=4)
    page.mouse.up()


def look(page: Page) -> np.ndarray[Any, Any]:
    """Return the board's pixels as they are drawn (row, column, RGB)."""
    page.wait_for_timeout(60)
    url = page.evaluate("document.querySelector('#stage canvas.view').toDataURL()")
    with Image.open(BytesIO(base64.b64decode(url.partition(",")[2]))) as image:
        return np.asarray(image.convert("RGB")).astype(int)


def hand_over(page: Page, target: str, way: str, text: str | None = None) -> None:
    """Drop or paste a small picture; `text` comes with it."""
    page.evaluate(
        """async ([target, way, text]) => {
          const canvas = new OffscreenCanvas(8, 6);
          canvas.getContext('2d').fillRect(0, 0, 8, 6);
          const carried = new DataTransfer();
          carried.items.add(new File([await canvas.convertToBlob()], 'thing.png', { type: 'image/png' }));
          if (text) carried.setData('text/plain', text);
          const options = { bubbles: true, cancelable: true };
          document.querySelector(target).dispatchEvent(way === 'drop'
            ? new DragEvent('drop', { ...options, dataTransfer: carried })
            : new ClipboardEvent('paste', { ...options, clipboardData: carried }));
        }""",
        [target, way, text],
    )


@contextmanager
def components_shown() -> Iterator[Shown]:
    """Serve the page and run a browser, or skip or fail as `launched` does."""
    desk = Desk()
    with launched() as chrome, served(component_app(desk)) as address:
        yield Shown(desk, address, chrome)


def component_app(desk: Desk) -> Any:
    """Return the application: the page at "/", and the few routes that components ask for."""
    import gradio as gr
    from fastapi import FastAPI

    app = FastAPI()
    _add_routes(app, desk)
    with gr.Blocks(title="components", analytics_enabled=False) as page:
        gr.Markdown("# wordbrush\nSay what a picture shows and what it should show instead.", elem_id="blurb")
        with gr.Row():
            with gr.Column(scale=3, min_width=320):
                parts: dict[str, Any] = {"stage": components.stage(limit=LIMIT), "progress": components.progress()}
            with gr.Column(scale=2, min_width=320):
                gr.Textbox(label="to: what it should show", elem_id="to")
                parts["words"] = components.words()
                give = gr.Button("Give", elem_id="give")
        parts |= {"compare": components.compare(), "versions": components.versions()}
        give.click(desk.take, None, [parts[name] for name in NAMES], queue=False, show_progress="hidden")
        for name, events in EVENTS.items():
            for event in events:
                _keep(desk, parts[name], event)
    return gr.mount_gradio_app(app, page, path="/", css=components.theme_css(), footer_links=[], ssr_mode=False)


def _keep(desk: Desk, component: Any, event: str) -> None:
    import gradio as gr

    def keep(value: Any, data: gr.EventData) -> Any:
        desk.seen.append((event, dict(data._data or {}), value))
        return desk.answer(value) if event == "stroke" and desk.answer else gr.skip()

    # The name, as Gradio finds `data` by its type.
    keep.__annotations__["data"] = gr.EventData
    getattr(component, event)(
        keep, [component], [component], queue=False, show_progress="hidden", trigger_mode="always_last"
    )


def _add_routes(app: Any, desk: Desk) -> None:
    from fastapi import Request
    from fastapi.responses import JSONResponse, Response

    async def upload(request: Request) -> JSONResponse:
        body = await request.body()
        desk.uploads.append((request.url.path, unquote(request.headers["x-wordbrush-name"]), body))
        if desk.refusal:
            return JSONResponse(desk.refusal[1], desk.refusal[0])
        if "/mask/" in request.url.path:
            return JSONResponse({"area": 0.25})
        name = desk.uploads[-1][1]
        return JSONResponse({**facts(f"up{len(desk.uploads)}", name), "restored": False, "notes": []})

    def picture(_: Request) -> Response:
        return Response(encode(Image.fromarray(scene(*SIZE))), media_type="image/png")

    # As plain routes: annotations of functions made here are not found by their names.
    for path in ("/wordbrush/picture", "/wordbrush/mask/{id}"):
        app.add_route(path, upload, methods=["POST"])
    for path in ("picture/{id}", "sample/{id}", "thumb/{id}", "version/{id}/{name}"):
        app.add_route(f"/wordbrush/{path}", picture, methods=["GET"])
