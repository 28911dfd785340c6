"""The drawing page as a person uses it."""

from collections.abc import Callable, Sequence

from playwright.sync_api import Locator, Page

Stroke = Sequence[tuple[float, float]]

SURFACE = 280

THREE: list[Stroke] = [
    [
        (84, 78), (92, 64), (108, 54), (128, 49), (150, 51), (170, 60), (182, 76), (184, 94), (176, 112), (160, 125),
        (140, 132), (124, 135), (144, 137), (166, 143), (184, 156), (194, 174), (194, 194), (184, 212), (166, 225),
        (144, 231), (120, 231), (98, 224), (82, 210),
    ]
]  # fmt: skip

SEVEN: list[Stroke] = [
    [
        (80, 60),
        (110, 59),
        (140, 58),
        (170, 57),
        (196, 56),
        (186, 80),
        (172, 112),
        (158, 146),
        (146, 180),
        (136, 214),
        (130, 232),
    ]
]

FOUR: list[Stroke] = [
    [(120, 60), (112, 88), (102, 116), (92, 142), (86, 158), (112, 158), (140, 157), (168, 156), (194, 154)],
    [(160, 96), (158, 124), (156, 152), (154, 182), (152, 212), (150, 236)],
]


def requests_after(page: Page, act: Callable[[], object]) -> list[str]:
    """Do something, and return the requests that the page made because of it."""
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    act()
    page.evaluate("new Promise(requestAnimationFrame)")
    return asked


class DrawingPage:
    """The page `/` and its controls."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.canvas: Locator = page.locator("[data-canvas]")
        self.reading: Locator = page.locator("[data-reading]")
        self.saved: Locator = page.locator("[data-saved]")
        self.alert: Locator = page.get_by_role("alert")

    def draw(self, strokes: Sequence[Stroke] = THREE) -> None:
        """Draw with the mouse."""
        for stroke in strokes:
            self.press(stroke[0])
            for point in stroke[1:]:
                self.page.mouse.move(*self.place(point), steps=3)
            self.page.mouse.up()

    def press(self, point: tuple[float, float]) -> None:
        self.page.mouse.move(*self.place(point))
        self.page.mouse.down()

    def place(self, point: tuple[float, float]) -> tuple[float, float]:
        """Return the window coordinates of a point of the surface."""
        box = self.canvas.bounding_box()
        assert box is not None
        x, y = point
        return box["x"] + x / SURFACE * box["width"], box["y"] + y / SURFACE * box["height"]

    def wait_until(self, state: str) -> None:
        self.page.wait_for_selector(f'[data-reading][data-state="{state}"]')

    def digit(self) -> str | None:
        return self.reading.get_attribute("data-digit")

    def button(self, name: str) -> Locator:
        return self.page.get_by_role("button", name=name, exact=True)

    def inked_pixels(self) -> int:
        """Return the number of inked pixels on the canvas."""
        count = self.canvas.evaluate(
            """canvas => {
                const { width, height } = canvas;
                const copy = new OffscreenCanvas(width, height).getContext("2d");
                copy.drawImage(canvas, 0, 0);
                return copy.getImageData(0, 0, width, height).data
                    .reduce((sum, value, index) => sum + (index % 4 === 3 && value > 127), 0);
            }"""
        )
        assert isinstance(count, int)
        return count

    def hold_requests(self) -> None:
        """Delay previews, and count concurrent ones in `window.atOnce` and their maximum in `window.mostAtOnce`."""
        self.page.evaluate(
            """() => {
                const send = window.fetch;
                window.atOnce = window.mostAtOnce = window.previews = 0;
                window.fetch = async (url, options) => {
                    if (!url.endsWith("/previews")) return send(url, options);
                    window.previews += 1;
                    window.mostAtOnce = Math.max(window.mostAtOnce, ++window.atOnce);
                    try {
                        await new Promise((resolve) => setTimeout(resolve, 80));
                        return await send(url, options);
                    } finally {
                        window.atOnce -= 1;
                    }
                };
            }"""
        )
