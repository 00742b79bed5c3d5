"""The live page in a real browser, against a stand-in for its server."""

import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.live.conftest import Visit
from tests.live.stub import FAULT, HOSTILE, PAGE, Stub, pictures

pytestmark = pytest.mark.slow

PIXELS = "document.getElementById('frame').toDataURL().length"
DRAWN = """(() => {
    const overlay = document.getElementById('overlay');
    const { data } = overlay.getContext('2d').getImageData(0, 0, overlay.width, overlay.height);
    return data.some((value) => value > 0);
})()"""


def wait_for(condition: Callable[[], Any], page: Any, seconds: float = 60.0) -> None:
    """Let the page go on until something is so."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not come to that"
        page.wait_for_timeout(40)


def text(page: Any, name: str) -> str:
    """Return the text of an element by its id."""
    return str(page.locator(f"#{name}").inner_text())


def see(page: Any, name: str, pattern: str) -> None:
    """Wait until the text of an element, by its id, has a pattern."""
    wait_for(lambda: re.search(pattern, text(page, name)), page)


def taught(stub: Stub) -> list[tuple[dict[str, str], bytes]]:
    """Return query and body of every request to teach."""
    return [(query, body) for path, query, body in stub.asked if path == "/v1/teach"]


def others(stub: Stub) -> list[tuple[str, bytes]]:
    """Return path and body of the other requests that change something."""
    return [
        (path, body) for path, _, body in stub.asked if path not in ("/v1/teach", "/v1/predict")
    ]


# The picture and its answer.


def test_frames_advance(visit: Visit) -> None:
    page = visit(Stub(fps=30))
    see(page, "condition", "^Live$")
    seen = set()
    wait_for(lambda: seen.add(page.evaluate(PIXELS)) or len(seen) > 2, page)  # type: ignore[func-returns-value]
    assert page.evaluate("[live.width, live.height]") == [640, 480]


def test_the_three_best_classes_are_bars_with_percent(visit: Visit) -> None:
    page = visit(Stub())
    see(page, "answer-body", r"cat\s+92\.7\s%\s+dog\s+6\.1\s%")
    bars = "[...document.querySelectorAll('.bars i')].map((bar) => bar.clientWidth)"
    wide, narrow, _ = page.evaluate(bars)
    assert wide / narrow == pytest.approx(0.927 / 0.061, rel=0.05)


def test_html_in_a_label_is_shown_as_text(visit: Visit) -> None:
    page = visit(Stub(task="teach", classes={HOSTILE: {"built": False, "taught": 6}}))
    see(page, "answer-body", re.escape(HOSTILE))
    see(page, "class-rows", "taught")
    assert page.evaluate("document.querySelectorAll('main img, main b').length") == 0
    assert page.evaluate("window.hit") is None


@pytest.mark.parametrize(
    ("task", "words"),
    [
        ("detection", r"cat\s+91\s%"),
        ("pose", r"11 of 13 points\s+71\s%"),
        ("segmentation", r"background\s+60\.0\s%\s+cat\s+27\.0\s%"),
    ],
)
def test_places_are_drawn_over_the_picture_and_listed(visit: Visit, task: str, words: str) -> None:
    page = visit(Stub(task=task))
    see(page, "answer-body", words)
    wait_for(lambda: page.evaluate(DRAWN), page)


def test_a_box_lies_where_the_answer_says(visit: Visit) -> None:
    page = visit(Stub(task="detection"), size=(1000, 900))
    see(page, "answer-body", "cat")
    # The left side of the surest box, at x = 60 and half its height, in the colour of its class.
    pixel = page.evaluate("""(() => {
        const overlay = document.getElementById('overlay');
        const [x, y] = [60 * overlay.width / 640, 305 * overlay.height / 480];
        return [...overlay.getContext('2d').getImageData(x, y, 1, 1).data];
    })()""")
    assert pixel == [0, 158, 115, 255]


def test_an_embedding_is_a_short_text(visit: Visit) -> None:
    page = visit(Stub(task="embedding"))
    see(page, "answer-body", "^A vector of 64 values")
    see(page, "accuracy", "^the bundle states none$")


def test_a_flattered_score_is_said_to_be(visit: Visit) -> None:
    page = visit(Stub(flattered=["cat", HOSTILE]))
    see(
        page, "accuracy", "200 held-out pictures, flattered: .* same series of cat, .* were learnt$"
    )


def test_readings_are_shown(visit: Visit) -> None:
    page = visit(Stub())
    see(page, "accuracy", r"^98\.0\s% \(95\.0 to 99\.2\) on 200 held-out pictures$")
    assert "71.5\xa0ms" in text(page, "age") and "112\xa0ms" in text(page, "age")
    assert text(page, "camera") == "HD Webcam C525, 640 × 480, MJPG"  # noqa: RUF001
    assert text(page, "runs") == "tflite-int8 on litert, 4 threads"
    assert "61.4\xa0°C" in text(page, "board")
    assert text(page, "teach-why").startswith("The bundle has no head")
    assert not page.locator("#hold").is_visible()


def test_the_answer_is_spoken_at_most_once_in_three_seconds(visit: Visit) -> None:
    page = visit(Stub(fps=60))  # the best class is another one every 0.7 s
    said = "[speech.at, document.getElementById('spoken').textContent]"
    wait_for(lambda: page.evaluate(said)[1], page)
    first, one = page.evaluate(said)
    wait_for(lambda: page.evaluate(said)[1] != one, page)
    second, other = page.evaluate(said)
    assert {one, other} == {"cat", "dog"}
    assert second - first > 2900


# Buttons of the picture.


def test_pause_holds_the_picture(visit: Visit) -> None:
    stub = Stub(fps=30)
    page = visit(stub)
    see(page, "condition", "^Live$")
    page.get_by_role("button", name="Pause").click()
    see(page, "condition", "^Paused$")
    page.wait_for_timeout(100)
    number = page.evaluate("live.number")
    page.wait_for_timeout(400)
    assert page.evaluate("live.number") == number
    page.get_by_role("button", name="Resume").click()
    wait_for(lambda: page.evaluate("live.number") > number, page)


def test_pause_while_a_picture_is_decoded_says_so(visit: Visit) -> None:
    page = visit(Stub(fps=30))
    see(page, "condition", "^Live$")
    page.evaluate("""() => {
        const decode = window.createImageBitmap;
        window.createImageBitmap = async (...all) => {
            window.decoding = true;
            await new Promise((done) => setTimeout(done, 300));
            window.decoding = false;
            return decode(...all);
        };
    }""")
    paused_at = """() => {
        if (!window.decoding) return null;
        document.getElementById('pause').click();
        return live.number;
    }"""
    number = page.wait_for_function(paused_at).json_value()
    page.wait_for_timeout(600)
    assert text(page, "condition") == "Paused"
    assert page.evaluate("live.number") == number


def test_a_page_that_nobody_sees_asks_for_no_picture(visit: Visit) -> None:
    page = visit(Stub(fps=30))
    see(page, "condition", "^Live$")
    hide = """(value) => {
        Object.defineProperty(document, 'hidden', { value, configurable: true });
        document.dispatchEvent(new Event('visibilitychange'));
    }"""
    page.evaluate(hide, True)
    page.wait_for_timeout(100)
    number = page.evaluate("live.number")
    page.wait_for_timeout(400)
    assert page.evaluate("live.number") == number
    page.evaluate(hide, False)
    wait_for(lambda: page.evaluate("live.number") > number, page)


def test_the_snapshot_is_the_picture_that_is_shown(visit: Visit) -> None:
    page = visit(Stub())
    see(page, "condition", "^Live$")
    with page.expect_download() as download:
        page.get_by_role("button", name="Snapshot").click()
    assert download.value.suggested_filename.startswith("classification-of-the-hall-")
    assert Path(download.value.path()).read_bytes() in pictures(None)


# What goes wrong.


def test_a_restarted_device_is_shown_again_by_itself(visit: Visit) -> None:
    stub = Stub(fps=30)
    page = visit(stub, refused=True)
    see(page, "condition", "^Live$")
    stub.stop()
    see(page, "condition", "does not answer; trying again")
    see(page, "veil", "The device does not answer")
    page.wait_for_timeout(300)
    stub.start()  # its frames count from 1 again
    see(page, "condition", "^Live$")
    before = page.evaluate(PIXELS)
    wait_for(lambda: page.evaluate(PIXELS) != before, page)
    assert not page.locator("#veil").is_visible()


def test_a_camera_that_is_gone_is_said_and_the_picture_dimmed(visit: Visit) -> None:
    stub = Stub()
    page = visit(stub)
    see(page, "condition", "^Live$")
    stub.fault = dict(FAULT)
    see(page, "condition", "^The camera is gone$")
    assert FAULT["message"] in text(page, "veil")
    wait_for(lambda: float(page.evaluate("getComputedStyle(frame).opacity")) < 0.5, page)
    stub.fault = None
    see(page, "condition", "^Live$")
    assert not page.locator("#veil").is_visible()


def test_a_token_that_is_missing_is_asked_for(visit: Visit) -> None:
    page = visit(Stub(token="sesame"), refused=True, context={})
    page.get_by_role("textbox", name="Token").fill("sesame")
    page.keyboard.press("Enter")
    see(page, "condition", "^Live$")
    assert "sesame" not in page.url


# Teaching.


@pytest.mark.parametrize("way", ["pointer", " ", "Enter"])
def test_holding_the_button_teaches_one_burst(visit: Visit, way: str) -> None:
    stub = Stub(task="teach")
    page = visit(stub)
    page.get_by_label("Class", exact=True).fill("cup")
    button = page.get_by_role("button", name="Hold to take pictures")
    began = time.monotonic()
    if way == "pointer":
        button.hover()
        page.mouse.down()
        page.mouse.move(5, 5)  # it is held all the same
    else:
        button.focus()
        page.keyboard.down(way)
    wait_for(lambda: len(taught(stub)) >= 3, page)
    seconds = time.monotonic() - began
    see(page, "hold", r"Teaching cup\s+\d learnt, 1 left out")
    page.mouse.up() if way == "pointer" else page.keyboard.up(way)
    see(page, "teach-said", r"^cup: \d learnt, 1 left out: nearly the same picture\.$")
    asked = taught(stub)
    page.wait_for_timeout(300)
    assert len(taught(stub)) == len(asked)  # it ended with the press
    assert seconds > 0.45  # about four a second
    assert stub.most_at_once == 1
    assert {query["label"] for query, _ in asked} == {"cup"}
    assert len({query["burst"] for query, _ in asked}) == 1
    assert {(query["from"], body) for query, body in asked} == {("camera", b"")}
    see(page, "class-rows", r"cup\s+taught")


def test_two_presses_are_two_bursts(visit: Visit) -> None:
    stub = Stub(task="teach")
    page = visit(stub)
    page.get_by_label("Class", exact=True).fill("cup")
    for count in (1, 2):
        page.get_by_role("button", name="Hold to take pictures").click()
        wait_for(lambda count=count: len(taught(stub)) == count, page)  # type: ignore[misc]
        see(page, "hold", "Hold")
    assert len({query["burst"] for query, _ in taught(stub)}) == 2


def test_without_a_class_nothing_is_taught(visit: Visit) -> None:
    stub = Stub(task="teach")
    page = visit(stub)
    page.get_by_role("button", name="Hold to take pictures").click()
    assert text(page, "label-bad") == "Name the class first."
    assert page.evaluate("document.activeElement.id") == "label"
    assert taught(stub) == []


def test_a_device_that_has_too_much_to_do_is_asked_again(visit: Visit) -> None:
    stub = Stub(task="teach")
    page = visit(stub, refused=True)
    stub.refusals["/v1/teach"].append((429, {"error": "too many wait"}))
    page.get_by_label("Class", exact=True).fill("cup")
    page.get_by_role("button", name="Hold to take pictures").click()
    wait_for(lambda: len(taught(stub)) == 1, page)
    assert text(page, "alerts") == ""


def test_a_refusal_is_an_alert_and_ends_the_press(visit: Visit) -> None:
    stub = Stub(task="teach")
    page = visit(stub, refused=True)
    refusal = {"error": "2000 pictures are taught already", "hint": "Forget a class."}
    stub.refusals["/v1/teach"].append((400, refusal))
    page.get_by_label("Class", exact=True).fill("cup")
    page.get_by_role("button", name="Hold to take pictures").hover()
    page.mouse.down()
    see(page, "alerts", r"2000 pictures are taught already\s+Forget a class\.")
    page.wait_for_timeout(300)
    assert taught(stub) == []
    page.mouse.up()
    page.get_by_role("button", name="Dismiss").click()
    assert text(page, "alerts") == ""


def test_a_camera_that_is_pulled_out_ends_the_press_and_the_next_one_goes_on(visit: Visit) -> None:
    stub = Stub(task="teach")
    page = visit(stub, refused=True)
    page.get_by_label("Class", exact=True).fill("cup")
    page.get_by_role("button", name="Hold to take pictures").hover()
    page.mouse.down()
    wait_for(lambda: len(taught(stub)) >= 2, page)
    stub.fault = dict(FAULT)
    gone = {"error": f"the camera gives no picture: {FAULT['message']}", "hint": ""}
    stub.refusals["/v1/teach"].append((400, gone))
    see(page, "alerts", "The camera gives no picture: /dev/video0 is gone")
    before = len(taught(stub))
    page.wait_for_timeout(600)
    assert len(taught(stub)) == before  # although the button is still down
    see(page, "teach-said", rf"cup: {before} learnt")
    page.mouse.up()
    stub.fault = None
    see(page, "condition", "^Live$")
    page.get_by_role("button", name="Hold to take pictures").click()
    wait_for(lambda: len(taught(stub)) == before + 1, page)


def test_the_picture_that_stands_still_is_the_one_taught(visit: Visit) -> None:
    stub = Stub(task="teach")
    page = visit(stub)
    see(page, "condition", "^Live$")
    page.get_by_role("button", name="Pause").click()
    page.get_by_label("Class", exact=True).fill("cup")
    page.get_by_role("button", name="Hold to take pictures").click()
    wait_for(lambda: len(taught(stub)) == 1, page)
    [(query, body)] = taught(stub)
    assert "from" not in query
    assert body in pictures(None)


def test_dropped_files_are_taught_and_errors_are_said_by_file(visit: Visit) -> None:
    stub = Stub(task="teach", duplicates=False)
    page = visit(stub, refused=True)
    stub.refusals["/v1/teach"].append((415, {"error": "it is no picture"}))
    page.get_by_label("Class", exact=True).fill("cup")
    data = page.evaluate_handle("""() => {
        const data = new DataTransfer();
        for (const name of ['notes.txt', 'one.jpg', 'two.jpg'])
            data.items.add(new File(['bytes of ' + name], name, { type: 'image/jpeg' }));
        return data;
    }""")
    page.dispatch_event("#drop", "drop", {"dataTransfer": data})
    see(page, "upload-text", r"^cup: 2 learnt, 1 could not be added\.$")
    assert text(page, "upload-errors") == "notes.txt: it is no picture"
    bodies = [body for _, body in taught(stub)]
    assert bodies == [b"bytes of one.jpg", b"bytes of two.jpg"]
    assert len({query["burst"] for query, _ in taught(stub)}) == 2


def test_chosen_files_are_taught(visit: Visit, tmp_path: Path) -> None:
    stub = Stub(task="teach")
    page = visit(stub)
    (tmp_path / "cup.jpg").write_bytes(pictures(None)[0])
    page.get_by_label("Class", exact=True).fill("cup")
    page.get_by_label("Add pictures").set_input_files(tmp_path / "cup.jpg")
    see(page, "upload-text", r"^cup: 1 learnt\.$")
    assert taught(stub)[0][1] == pictures(None)[0]


def test_this_browsers_camera_is_shown_and_taught(visit: Visit) -> None:
    stub = Stub(task="teach")
    page = visit(stub)
    see(page, "condition", "^Live$")
    page.get_by_role("button", name="Use this browser’s camera").click()  # noqa: RUF001
    see(page, "condition", "this browser")
    see(page, "readings-note", "of the device and its own camera")
    wait_for(lambda: any(path == "/v1/predict" for path, _, _ in stub.asked), page)
    page.get_by_label("Class", exact=True).fill("cup")
    page.get_by_role("button", name="Hold to take pictures").click()
    wait_for(lambda: taught(stub), page)
    query, body = taught(stub)[0]
    assert "from" not in query
    assert body.startswith(b"\xff\xd8")
    page.get_by_role("button", name="Use the device’s camera").click()  # noqa: RUF001
    see(page, "condition", "^Live$")
    assert not page.locator("#readings-note").is_visible()


def test_a_page_over_plain_http_says_why_it_has_no_camera(visit: Visit) -> None:
    stub = Stub()
    page = visit(stub, context={})
    page.add_init_script("Object.defineProperty(window, 'isSecureContext', { value: false })")
    page.reload(wait_until="domcontentloaded")
    page.locator("#browser-why summary").click()
    assert f"ssh -L {stub.port}:localhost:{stub.port} 127.0.0.1" in text(page, "browser-why-text")
    assert not page.locator("#browser").is_visible()


# What was taught.


def learnt() -> Stub:
    """Return a stub that was taught a class."""
    doubt = {"image": "a" * 64, "label": "cup", "answered": "cat", "why": "It is far away."}
    stub = Stub(task="teach", doubts=[doubt])
    stub.classes["cup"] = {"built": False, "taught": 12}
    stub.history.append(("cup", {"burst": "press-1", "count": 5}))
    return stub


def test_what_was_taught_is_shown_with_its_worth(visit: Visit) -> None:
    page = visit(learnt(), size=(1440, 900))
    see(page, "class-rows", r"cup\s+taught\s+12\s+10 of 12\s+83\.3\s% \(62\.0 to 96\.0\)")
    assert "10 of 12 answered rightly without their series: 83.3\xa0% (71.0 to 95.0), 95 %" in text(
        page, "overall"
    )
    assert "other days may be harder" in text(page, "taught-note")
    assert text(page, "confusion-rows") == "cup answered as cat: 2 pictures"
    assert "It is far away." in text(page, "doubt-rows")
    # The colour of the thumbnail that the stub gives.
    pixel = """(() => {
        const pen = document.querySelector('#doubt-rows canvas').getContext('2d');
        return [...pen.getImageData(9, 9, 1, 1).data];
    })()"""
    wait_for(lambda: page.evaluate(pixel)[0] > 150, page)


def test_undo_says_what_it_takes_back(visit: Visit) -> None:
    stub = learnt()
    page = visit(stub)
    page.get_by_role("button", name="Undo: teaching 5 pictures of cup").click()
    see(page, "class-rows", r"cup\s+taught\s+7")
    assert others(stub) == [("/v1/undo", b"{}")]
    assert not page.locator("#undo").is_visible()


def test_forget_asks_first(visit: Visit) -> None:
    stub = learnt()
    page = visit(stub)
    forget = page.get_by_role("button", name="Forget cup")
    forget.focus()
    page.keyboard.press("Enter")
    assert "12 pictures" in page.get_by_role("dialog").inner_text()
    page.keyboard.press("Enter")  # on Cancel, where the focus is
    assert page.get_by_role("dialog").count() == 0
    assert others(stub) == []
    forget.click()
    page.get_by_role("dialog").get_by_role("button", name="Forget").click()
    wait_for(lambda: "cup" not in text(page, "class-rows"), page)
    assert others(stub) == [("/v1/forget", b'{"label":"cup"}')]
    assert page.evaluate("document.activeElement.id") == "classes-title"  # not lost


def test_rename_and_remove(visit: Visit) -> None:
    stub = learnt()
    page = visit(stub)
    page.get_by_role("button", name="Rename cup").click()
    page.get_by_label("New name").fill("mug")
    page.keyboard.press("Enter")
    see(page, "class-rows", r"mug\s+taught\s+12")
    page.get_by_role("button", name="Remove this picture of cup").click()
    page.get_by_role("dialog").get_by_role("button", name="Remove").click()
    wait_for(lambda: not page.locator("#doubts").is_visible(), page)
    assert others(stub) == [
        ("/v1/rename", b'{"label":"cup","to":"mug"}'),
        ("/v1/remove", b'{"images":["%s"]}' % (b"a" * 64)),
    ]


def test_export_tells_how_it_goes(visit: Visit) -> None:
    stub = learnt()
    page = visit(stub)
    page.get_by_role("button", name="Export").click()
    see(page, "export-error", "Name the bundle first")
    page.get_by_label("Name of the new bundle").fill("desk-2")
    page.keyboard.press("Enter")
    see(page, "export-said", "^Written to /home/ada/desk-2: done$")
    stub.exporting |= {"running": True, "message": "converting 2 of 5", "bundle": None}
    page.evaluate("readState()")  # the page does so every 2 s
    see(page, "export-said", "^converting 2 of 5$")
    assert page.get_by_role("button", name="Export").is_disabled()
    stub.exporting |= {"running": False, "error": "the disk is full"}
    page.evaluate("readState()")
    see(page, "export-error", "the disk is full")


# Whoever uses it, on whatever screen.


@pytest.mark.parametrize("task", ["detection", "teach"])
def test_nothing_is_wider_than_a_small_screen(visit: Visit, task: str) -> None:
    stub = learnt() if task == "teach" else Stub(task=task)
    if task == "teach":
        stub.classes["W" * 60] = {"built": False, "taught": 3}
    page = visit(stub, size=(320, 640))
    see(page, "condition", "^Live$")
    see(page, "accuracy", "%|none")
    assert page.evaluate("document.documentElement.scrollWidth") == 320


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious(visit: Visit, axe: Path, scheme: str) -> None:
    page = visit(learnt(), context={"color_scheme": scheme, "bypass_csp": True})
    see(page, "class-rows", "cup")
    page.add_script_tag(path=axe)
    serious = """async () => (await axe.run()).violations
        .filter((it) => ['serious', 'critical'].includes(it.impact))
        .map((it) => `${it.id}: ${it.nodes.map((node) => node.target).join(' ')}`)"""
    assert page.evaluate(serious) == []
    page.get_by_role("button", name="Forget cup").click()
    page.evaluate("showError('It failed', 'Try again.')")
    assert page.evaluate(serious) == []


def test_everything_is_reached_with_the_keyboard(visit: Visit) -> None:
    page = visit(learnt())
    see(page, "class-rows", "cup")
    reached = set()
    for _ in range(25):
        page.keyboard.press("Tab")
        name = "document.activeElement.getAttribute('aria-label') || document.activeElement.id"
        reached.add(page.evaluate(name))
    wanted = {"pause", "snapshot", "fullscreen", "browser", "undo", "label", "hold", "files"}
    wanted |= {"Rename cup", "Forget cup", "Remove this picture of cup", "export-name", "export-go"}
    assert wanted <= reached


def test_the_page_is_one_file_that_fits_its_policy() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert page.count("<script>") == page.count("<style>") == 1
    assert not re.search(r"\s(style|on[a-z]+)=\"", page)
    assert "innerHTML" not in page
    assert not re.search(r"(src|href)=\"(?!data:,|#)", page)
