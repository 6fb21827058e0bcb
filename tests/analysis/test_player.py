"""The report in a browser: it plays without a network, on a desk, a projector and a phone, light and dark."""

from __future__ import annotations

import re
import shutil
from contextlib import contextmanager

import pytest

from analysis.page import MOST_BYTES
from analysis.report import write_report
from tests.analysis.test_report import make

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
DESK, PROJECTOR, PHONE = (1440, 900), (1280, 720), (390, 844)
RATE = "boundaries=[{to: cloud, allow: [embeddings, synthetic], at_most_rate: {messages: 2, per: 20 ms}}]"

pytestmark = [pytest.mark.browser, pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")]


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    found = make(tmp_path_factory.mktemp("runs"), RATE)
    return write_report(found, found.path / "report.html")


@pytest.fixture(scope="module")
def crowd(tmp_path_factory):
    """The report of a run with a hundred sites."""
    found = make(
        tmp_path_factory.mktemp("runs"), "baselines=[]", "partition={clients: 100, scheme: iid}", "method.iterations=1",
        "method.local_steps=2",
    )  # fmt: skip
    return write_report(found, found.path / "report.html")


@pytest.fixture(scope="module")
def chromium(report, crowd):
    """A browser; after the reports, for while it is open an event loop runs here, and no simulation can."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@contextmanager
def opened(chromium, path, size=DESK, **options):
    """The page, that made no request but for itself and complained of nothing while the block lasted."""
    context = chromium.new_context(viewport={"width": size[0], "height": size[1]}, offline=True, **options)
    page = context.new_page()
    complaints, requests = [], []
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("request", lambda request: requests.append(request.url))
    page.goto(path.as_uri())
    page.wait_for_selector("#player.ready")
    yield page
    assert complaints == []
    assert [url for url in requests if not url.startswith("data:")] == [path.as_uri()]
    context.close()


def moment(page):
    return int(page.get_attribute("#player", "data-at-us"))


def until(page, come):
    """Wait for a moment of the run; the page's own policy forbids Playwright's way, which evaluates a text."""
    for _ in range(600):
        if come(moment(page)):
            return
        page.wait_for_timeout(50)
    pytest.fail(f"the player stays at {moment(page)} us")


def end(page):
    return page.evaluate("JSON.parse(document.getElementById('recordings').textContent).recordings[0].endUs")


def seek(page, part):
    page.eval_on_selector(".slider", f"s => {{ s.value = {1000 * part}; s.dispatchEvent(new Event('input')); }}")


def upload(page):
    """A moment in the middle of the longest upload, as a part of the run, and the number of its message."""
    return page.evaluate("""() => {
        const recording = JSON.parse(document.getElementById('recordings').textContent).recordings[0];
        const rows = recording.messages.map((row, id) => ({ id, row }))
            .filter(({ row }) => row[1] === 1 && recording.kinds[row[6]] !== "control");
        const { id, row } = rows.reduce((one, other) => (other.row[4] > one.row[4] ? other : one));
        const at = (part) => (row[2] + row[3] + row[4] * part) / recording.endUs;
        return [at(0.3), at(0.7), id];
    }""")


def test_it_plays_and_pauses(chromium, report):
    with opened(chromium, report) as page:
        assert moment(page) == 0
        page.click(".play")
        until(page, lambda at: at > 0)
        first = moment(page)
        until(page, lambda at: at > first)
        assert page.get_attribute(".play", "aria-label") == "pause"
        page.click(".play")
        paused = moment(page)
        page.wait_for_timeout(200)
        assert moment(page) == paused
        assert page.get_attribute(".play", "aria-label") == "play"


def test_it_plays_to_the_end_and_from_the_start_again(chromium, report):
    with opened(chromium, report) as page:
        page.select_option(".speed", "8")
        seek(page, 0.98)
        page.click(".play")
        page.wait_for_selector("#player:not(.playing)")
        assert moment(page) == end(page)
        page.select_option(".speed", "60")
        page.click(".play")
        until(page, lambda at: at < end(page) // 2)


def test_an_upload_moves_along_its_route_when_somebody_scrubs(chromium, report):
    with opened(chromium, report) as page:
        early, late, message = upload(page)
        places = []
        for part in (early, late):
            seek(page, part)
            packet = page.locator(f'.packet.up[data-message="{message}"]')
            places.append((float(packet.get_attribute("cx")), float(packet.get_attribute("cy"))))
            assert page.locator(".facts").inner_text().count("under way") == 1
            assert page.locator("line.use:visible").count() >= 1
            assert page.locator(".busiest meter").count() >= 1
        server = page.locator("rect.host").bounding_box()
        picture = page.locator("svg.stage").bounding_box()
        goal = (server["x"] + server["width"] / 2 - picture["x"], server["y"] + server["height"] / 2 - picture["y"])
        far = [((x - goal[0]) ** 2 + (y - goal[1]) ** 2) ** 0.5 for x, y in places]
        assert far[1] < far[0] - 10
        seek(page, 1)
        assert page.locator(f'.packet[data-message="{message}"]').count() == 0


def test_hosts_that_compute_are_marked_and_how_far_they_are(chromium, report):
    with opened(chromium, report) as page:
        start, stop = page.evaluate("""() => {
            const recording = JSON.parse(document.getElementById('recordings').textContent).recordings[0];
            return recording.computations[0].slice(1, 3).map((at) => at / recording.endUs);
        }""")
        seek(page, (start + stop) / 2)
        assert page.locator(".host.computing").count() >= 1
        assert page.locator("circle.ring:visible").count() == page.locator(".host.computing").count()
        seek(page, 1)
        assert page.locator(".host.computing").count() == 0


def test_what_a_boundary_refused_is_crossed_out_in_red(chromium, report):
    with opened(chromium, report) as page:
        at = page.evaluate("""() => {
            const recording = JSON.parse(document.getElementById('recordings').textContent).recordings[0];
            return (recording.refusals[0][0] + 1) / recording.endUs;
        }""")
        seek(page, at + 0.001)
        assert page.locator("path.refusal").count() >= 1
        assert page.locator(".trouble").inner_text().startswith("refused: ")
        colour = page.eval_on_selector("path.refusal", "path => getComputedStyle(path).stroke")
        assert colour == "rgb(213, 94, 0)"
        seek(page, 1)
        assert page.locator(".trouble").inner_text() == ""


def test_the_keyboard(chromium, report):
    with opened(chromium, report) as page:
        for key, expected in (("End", 1.0), ("Home", 0.0), ("ArrowRight", 0.005), ("Shift+ArrowRight", 0.055),
                              ("ArrowLeft", 0.05)):  # fmt: skip
            page.keyboard.press(key)
            assert moment(page) == pytest.approx(expected * end(page), abs=2)
        page.keyboard.press(" ")
        page.wait_for_selector("#player.playing")
        page.keyboard.press(" ")
        page.wait_for_selector("#player:not(.playing)")
        page.focus(".speed")
        page.keyboard.press("Home")
        assert moment(page) > 0


def test_another_method_is_another_recording(chromium, report):
    with opened(chromium, report) as page:
        seek(page, 0.5)
        sites = page.locator(".facts").inner_text()
        page.select_option(".method", "2")
        assert moment(page) == 0
        assert "of 1 in" in page.locator(".facts").inner_text()
        assert "of 4 in" in sites


def test_who_asked_for_less_motion_gets_stills(chromium, report):
    with opened(chromium, report, reduced_motion="reduce") as page:
        page.click(".play")
        still = end(page) / 24
        seen = []
        until(page, lambda at: seen.append(at) or at > 0)
        assert [at for at in seen if abs(at - still * round(at / still)) > 2] == []


@pytest.mark.parametrize("size", [DESK, PROJECTOR, PHONE])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_is_wider_than_the_screen(chromium, report, size, scheme):
    with opened(chromium, report, size, color_scheme=scheme) as page:
        assert page.evaluate("document.documentElement.scrollWidth") == size[0]
        paper = page.evaluate("getComputedStyle(document.querySelector('section')).backgroundColor")
        assert paper == ("rgb(255, 255, 255)" if scheme == "light" else "rgb(23, 29, 35)")
        shown = ".narrow" if size == PHONE else ".wide"
        assert page.locator("#data svg.figure:visible").count() == 1
        assert page.locator(f"#data {shown} svg.figure").bounding_box()["width"] <= size[0]
        ink = page.eval_on_selector("svg.figure text", "text => getComputedStyle(text).fill")
        assert ink == ("rgb(29, 39, 51)" if scheme == "light" else "rgb(230, 235, 240)")
        assert page.locator("svg.stage .host").count() == 5


def test_the_choice_between_light_and_dark_is_remembered(chromium, report):
    with opened(chromium, report, color_scheme="light") as page:
        page.click("#theme")
        assert page.get_attribute("html", "data-theme") == "dark"
    context = chromium.new_context(color_scheme="light")
    page = context.new_page()
    page.goto(report.as_uri())
    page.click("#theme")
    page.reload()
    assert page.get_attribute("html", "data-theme") == "dark"
    page.emulate_media(media="print")
    assert page.evaluate("getComputedStyle(document.querySelector('section')).backgroundColor") == "rgb(255, 255, 255)"
    context.close()


@pytest.mark.parametrize("size", [PROJECTOR, PHONE])
def test_a_hundred_sites(chromium, crowd, size):
    assert crowd.stat().st_size < MOST_BYTES
    with opened(chromium, crowd, size) as page:
        assert page.locator("svg.stage .host").count() == 101
        assert 10 <= page.locator("svg.stage .name").count() < 101
        boxes = page.evaluate("""() => [...document.querySelectorAll('svg.stage .name')].map((name) => {
            const box = name.getBoundingClientRect();
            return [box.left + 1, box.top + 3, box.right - 1, box.bottom - 3];
        })""")
        for index, one in enumerate(boxes):
            for other in boxes[:index]:
                assert one[2] < other[0] or one[0] > other[2] or one[3] < other[1] or one[1] > other[3]
        seek(page, 0.9)
        before = moment(page)
        page.click(".play")
        until(page, lambda at: at > before)
        assert page.evaluate("document.documentElement.scrollWidth") == size[0]


def test_on_a_projector_picture_and_controls_are_seen_together(chromium, report):
    with opened(chromium, report, PROJECTOR) as page:
        page.eval_on_selector("#player", "player => player.scrollIntoView()")
        for part in (".play", ".slider", "svg.overview", ".clock"):
            box = page.locator(part).bounding_box()
            assert box["y"] >= 0, part
            assert box["y"] + box["height"] <= PROJECTOR[1], part


def test_it_is_small(report):
    assert report.stat().st_size < 1_000_000 < MOST_BYTES
    assert not re.search(r'(?:src|href)="https?:', report.read_text())
