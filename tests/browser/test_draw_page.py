"""Drawing a digit, having it read, and correcting the answer."""

import re

import pytest
from playwright.sync_api import expect

from recognizer.models import Correction, Submission
from tests.browser.sheet import FOUR, SEVEN, THREE, DrawingPage, requests_after
from tests.processes import until

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]


def standing() -> list[int | None]:
    """Return the labels that were given and not withdrawn."""
    return list(Correction.objects.standing().values_list("digit", flat=True))


def test_drawn_digit_is_read_and_stored(sheet: DrawingPage) -> None:
    sheet.draw(THREE)
    sheet.wait_until("stored")

    assert sheet.digit() == "3"
    expect(sheet.reading).to_contain_text("It is a 3")
    expect(sheet.page.locator("[data-confidence]")).to_have_text(re.compile(r"^>?\d+\.\d%$"))
    expect(sheet.page.get_by_role("listitem").filter(has_text="%")).to_have_count(10)
    expect(sheet.page.locator("[data-input]")).to_have_attribute("src", re.compile("^data:image/png;base64,"))
    assert Submission.objects.get().digit == 3


def test_ink_is_stored_with_time_and_pressure_independent_of_screen(sheet: DrawingPage) -> None:
    sheet.draw(THREE)
    sheet.wait_until("stored")

    ink = Submission.objects.get().ink
    assert ink is not None
    points = [point for stroke in ink["strokes"] for point in stroke]
    times = [time for _, _, time, _ in points]
    assert (ink["width"], ink["height"]) == (280, 280)
    assert points[0][:2] == pytest.approx(THREE[0][0], abs=1)
    assert times[0] == 0
    assert times == sorted(times)
    assert {pressure for *_, pressure in points} == {0.5}


def test_reading_follows_the_pen_and_is_stored_when_it_rests(sheet: DrawingPage) -> None:
    sheet.press(SEVEN[0][0])
    for point in SEVEN[0][1:]:
        sheet.page.mouse.move(*sheet.place(point), steps=3)
    sheet.page.wait_for_selector('[data-state="live"][data-digit="7"]')

    expect(sheet.button("Yes, correct")).to_be_disabled()
    assert not Submission.objects.exists()
    sheet.page.mouse.up()
    sheet.wait_until("stored")


def test_at_most_one_preview_is_in_flight(sheet: DrawingPage) -> None:
    sheet.hold_requests()

    sheet.draw(FOUR * 3)
    sheet.wait_until("stored")

    previews, most = sheet.page.evaluate("[window.previews, window.mostAtOnce]")
    assert previews > 3
    assert most == 1


def test_correction_is_saved_at_once_and_can_be_changed_and_withdrawn(sheet: DrawingPage) -> None:
    sheet.draw(THREE)
    sheet.wait_until("stored")

    sheet.button("8").click()
    expect(sheet.saved).to_contain_text("Saved, thank you")
    expect(sheet.saved).to_contain_text("You said: 8 — waiting for review")
    assert standing() == [8]

    sheet.button("Not a digit").click()
    expect(sheet.saved).to_contain_text("You said: not a digit")
    assert standing() == [None]
    expect(sheet.button("8")).to_have_attribute("aria-pressed", "false")

    sheet.page.locator("[data-withdraw]").click()
    expect(sheet.saved).to_contain_text("Your answer was withdrawn")
    assert standing() == []


def test_yes_confirms_the_digit_and_next_stroke_starts_a_new_drawing(sheet: DrawingPage) -> None:
    sheet.draw(THREE)
    sheet.wait_until("stored")
    sheet.button("Yes, correct").click()
    expect(sheet.saved).to_contain_text("You said: 3")

    sheet.draw(SEVEN)
    expect(sheet.saved).to_be_empty()
    sheet.page.wait_for_selector('[data-state="stored"][data-digit="7"]')

    assert standing() == [3]
    assert set(Submission.objects.values_list("digit", flat=True)) == {3, 7}


def test_correction_in_flight_is_saved_although_next_digit_is_begun(sheet: DrawingPage) -> None:
    sheet.draw(THREE)
    sheet.wait_until("stored")
    sheet.page.evaluate(
        """() => {
            const send = window.fetch;
            window.fetch = async (url, options) => {
                if (url.endsWith("/correction")) await new Promise((resolve) => setTimeout(resolve, 400));
                return send(url, options);
            };
        }"""
    )

    sheet.button("8").click()
    sheet.draw(SEVEN)
    sheet.page.wait_for_selector('[data-state="stored"][data-digit="7"]')

    assert standing() == [8]
    assert set(Submission.objects.values_list("digit", flat=True)) == {3, 7}


def test_layout_does_not_shift_when_answers_appear(sheet: DrawingPage) -> None:
    sheet.page.evaluate(
        """() => {
            window.shifts = 0;
            new PerformanceObserver((list) => {
                for (const entry of list.getEntries()) window.shifts += entry.value;
            }).observe({ type: "layout-shift" });
        }"""
    )

    sheet.draw(THREE)
    sheet.wait_until("stored")
    sheet.button("Yes, correct").click()
    expect(sheet.saved).to_contain_text("Saved")

    assert sheet.page.evaluate("window.shifts") < 0.01


def test_continued_drawing_replaces_its_stored_half(sheet: DrawingPage) -> None:
    sheet.draw(FOUR[:1])
    sheet.wait_until("stored")
    half = Submission.objects.get().pk

    sheet.draw(FOUR[1:])
    sheet.page.wait_for_selector('[data-state="stored"][data-digit="4"]')

    assert [stored.pk != half for stored in Submission.objects.all()] == [True]


def test_undo_removes_last_stroke_and_clear_removes_all(sheet: DrawingPage) -> None:
    sheet.draw(SEVEN)
    one_stroke = sheet.inked_pixels()
    sheet.draw([[(90, 150), (180, 150)]])
    assert sheet.inked_pixels() > one_stroke

    sheet.page.keyboard.press("Control+z")
    expect(sheet.button("Undo")).to_be_enabled()
    until(lambda: sheet.inked_pixels() == one_stroke)

    sheet.button("Clear").click()
    sheet.wait_until("empty")
    assert sheet.inked_pixels() == 0
    expect(sheet.page.get_by_text("Draw a digit 0–9")).to_be_visible()


def test_tap_leaves_a_dot(sheet: DrawingPage) -> None:
    sheet.canvas.click()

    until(lambda: sheet.inked_pixels() > 100)


def test_predict_reads_at_once_and_asks_for_ink_on_empty_canvas(sheet: DrawingPage) -> None:
    sheet.button("Predict").click()
    expect(sheet.alert).to_contain_text("Draw a digit first")

    sheet.draw(SEVEN)
    expect(sheet.alert).to_be_hidden()
    sheet.page.clock.install()
    sheet.button("Predict").click()
    sheet.wait_until("stored")

    assert requests_after(sheet.page, lambda: sheet.page.clock.fast_forward(10_000)) == []
    assert Submission.objects.count() == 1


def test_drawing_can_be_deleted(sheet: DrawingPage) -> None:
    sheet.draw(SEVEN)
    sheet.wait_until("stored")

    sheet.button("Delete this drawing").click()

    expect(sheet.saved).to_contain_text("Deleted")
    sheet.wait_until("empty")
    assert not Submission.objects.exists()


def test_page_loads_little_and_only_from_its_own_address(sheet: DrawingPage) -> None:
    sizes: dict[str, int] = {}
    sheet.page.on("response", lambda response: sizes.update({response.url: len(response.body())}))

    sheet.page.reload(wait_until="networkidle")

    origin = re.match(r"https?://[^/]+", sheet.page.url)
    assert origin is not None
    assert all(url.startswith(origin[0]) for url in sizes)
    assert sum(sizes.values()) < 100_000
