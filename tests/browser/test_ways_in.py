"""Input by finger, pen, keyboard and picture."""

import pytest
from playwright.sync_api import CDPSession, expect

from recognizer.models import Correction, Submission
from tests.browser.conftest import OpenPage
from tests.browser.sheet import SEVEN, THREE, DrawingPage, Stroke, requests_after
from tests.drawings import canary, encoded, picture_of

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]

PHONE = {"viewport": {"width": 390, "height": 700}, "has_touch": True, "is_mobile": True, "device_scale_factor": 3}


@pytest.fixture
def phone(open_page: OpenPage) -> DrawingPage:
    return open_page(**PHONE)


def finger(sheet: DrawingPage, stroke: Stroke, session: CDPSession, lift: bool = True) -> None:
    """Draw with a real touch, with which the browser may scroll if the page lets it."""
    for index, point in enumerate(stroke):
        x, y = sheet.place(point)
        kind = "touchMove" if index else "touchStart"
        session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": [{"x": x, "y": y, "id": 1}]})
    if lift:
        session.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})


def test_finger_draws_and_never_scrolls(phone: DrawingPage) -> None:
    session = phone.page.context.new_cdp_session(phone.page)

    for stroke in SEVEN:
        finger(phone, stroke, session)
    phone.wait_until("stored")

    assert phone.digit() == "7"
    assert phone.page.evaluate("[scrollX, scrollY]") == [0, 0]
    assert phone.page.evaluate("document.documentElement.scrollWidth") == 390


def test_second_finger_is_ignored(phone: DrawingPage) -> None:
    session = phone.page.context.new_cdp_session(phone.page)
    finger(phone, [(100, 60), (100, 120)], session, lift=False)
    first, second = (
        {"x": x, "y": y, "id": number} for number, (x, y) in enumerate(map(phone.place, [(100, 120), (200, 200)]), 1)
    )
    session.send("Input.dispatchTouchEvent", {"type": "touchStart", "touchPoints": [first, second]})
    session.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
    phone.wait_until("stored")

    ink = Submission.objects.get().ink
    assert ink is not None
    assert len(ink["strokes"]) == 1


def test_pen_wins_over_the_palm_and_keeps_pressure(sheet: DrawingPage) -> None:
    sheet.canvas.evaluate(
        """canvas => {
            const box = canvas.getBoundingClientRect();
            const fire = (type, pointerType, pointerId, x, y, pressure = 0) => {
                const place = { clientX: box.left + x / 280 * box.width, clientY: box.top + y / 280 * box.height };
                const options = { ...place, pointerType, pointerId, pressure, bubbles: true };
                canvas.dispatchEvent(new PointerEvent(type, { ...options, button: type === "pointermove" ? -1 : 0 }));
            };
            fire("pointerdown", "touch", 11, 250, 250, 1);
            fire("pointerdown", "pen", 12, 100, 60, 0.25);
            fire("pointermove", "pen", 12, 180, 60, 0.7504);
            fire("pointermove", "touch", 11, 240, 240, 1);
            fire("pointermove", "pen", 12, 130, 220, 0.5);
            fire("pointerup", "pen", 12, 130, 220);
            fire("pointerdown", "touch", 13, 250, 250, 1);
            fire("pointerup", "touch", 13, 250, 250);
        }"""
    )
    sheet.wait_until("stored")

    ink = Submission.objects.get().ink
    assert ink is not None
    assert [[point[3] for point in stroke] for stroke in ink["strokes"]] == [[0.25, 0.75, 0.5]]


def test_digit_is_drawn_and_corrected_by_keyboard_alone(sheet: DrawingPage) -> None:
    keyboard = sheet.page.keyboard
    sheet.canvas.focus()
    keyboard.press("Space")
    for _ in range(28):
        keyboard.press("ArrowDown")
    keyboard.press("Space")
    expect(sheet.page.locator("[data-announcer]")).to_contain_text("Pen up")
    keyboard.press("Enter")
    sheet.wait_until("stored")

    assert sheet.digit() == "1"
    expect(sheet.page.locator("[data-announcer]")).to_contain_text("It is a 1")
    keyboard.press("7")
    expect(sheet.saved).to_contain_text("You said: 7")
    keyboard.press("Control+z")
    expect(sheet.saved).to_contain_text("Your answer was withdrawn")
    assert not Correction.objects.standing().exists()
    keyboard.press("Escape")
    sheet.wait_until("empty")


def test_single_key_shortcuts_can_be_switched_off(sheet: DrawingPage) -> None:
    sheet.page.get_by_text("Keyboard", exact=True).click()
    sheet.page.get_by_label("Single-key shortcuts").uncheck()
    sheet.page.reload()

    sheet.draw(THREE)
    sheet.wait_until("stored")

    assert requests_after(sheet.page, lambda: sheet.page.keyboard.press("y")) == []
    assert not Correction.objects.exists()


def test_uploaded_picture_is_shown_and_read(sheet: DrawingPage) -> None:
    picture = encoded(picture_of(canary(7)))

    sheet.page.locator("[data-file]").set_input_files({"name": "seven.png", "mimeType": "image/png", "buffer": picture})
    sheet.wait_until("stored")

    assert sheet.digit() == "7"
    expect(sheet.page.locator("[data-picture]")).to_be_visible()
    assert Submission.objects.get().picture
    sheet.draw(THREE)
    expect(sheet.page.locator("[data-picture]")).to_be_hidden()
    sheet.page.wait_for_selector('[data-state="stored"][data-digit="3"]')


@pytest.mark.parametrize(("event", "carrier"), [("paste", "clipboardData"), ("drop", "dataTransfer")])
def test_pasted_or_dropped_picture_is_read(sheet: DrawingPage, event: str, carrier: str) -> None:
    picture = encoded(picture_of(canary(3)))

    sheet.canvas.evaluate(
        """(canvas, [event, carrier, bytes]) => {
            const data = new DataTransfer();
            data.items.add(new File([new Uint8Array(bytes)], "three.png", { type: "image/png" }));
            const Kind = event === "paste" ? ClipboardEvent : DragEvent;
            canvas.dispatchEvent(new Kind(event, { bubbles: true, cancelable: true, [carrier]: data }));
        }""",
        [event, carrier, list(picture)],
    )
    sheet.wait_until("stored")

    assert sheet.digit() == "3"


def test_unreadable_picture_shows_error(sheet: DrawingPage) -> None:
    broken = {"name": "broken.png", "mimeType": "image/png", "buffer": b"this is no picture"}

    sheet.page.locator("[data-file]").set_input_files(broken)  # type: ignore[arg-type]

    expect(sheet.alert).to_be_visible()
    expect(sheet.button("Choose another")).to_be_visible()
    sheet.wait_until("empty")
    assert not Submission.objects.exists()
