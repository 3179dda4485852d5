"""Clicks through the page of `understudy play` in Chromium, and checks what a user sees on a desktop and on a phone.

    pip install playwright
    python scripts/click_through_play.py runs/demo --screenshots shots --chromium /usr/bin/chromium

Without `--chromium` it is the one that `playwright install chromium` downloads. The run's teacher must have a network;
that of an API is imitated by changing the server's responses.
"""

import argparse
import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import ConsoleMessage, Dialog, Page, Route, expect, sync_playwright

SIZES = {"desktop": (1200, 900), "phone": (390, 844)}
HOSTILE = "<img src=x onerror=alert(1)> <script>alert(2)</script> “</p>” &amp; \u202eabc\u202c " + "w" * 2000
GENERATED = re.compile(r"\d m?s, \d+ tokens")


@contextmanager
def playing(run: Path) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """A server of the page: its URL and its process."""
    command = [sys.executable, "-m", "understudy", "play", str(run), "--port", "0"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        line = process.stderr.readline()
        found = re.search(r"http://\S+", line)
        assert found is not None, line + process.stderr.read()
        try:
            yield found[0], process
        finally:
            process.terminate()


def ask(page: Page, source: str) -> None:
    """Types an input and presses the button."""
    page.locator("#source").fill(source)
    page.get_by_role("button", name="Generate").click()


def finished(page: Page) -> None:
    """Waits until both texts are there."""
    for name in ("student", "teacher"):
        expect(page.locator(f"#{name} .state")).to_have_text(GENERATED)


def test_input(page: Page) -> None:
    """A chosen input is shown with its references, and both systems answer it."""
    page.locator("#picker summary").click()
    expect(page.locator("#inputs button").first).to_be_visible()
    first = page.locator("#inputs button").first.inner_text()
    page.locator("#contains").fill("zzzz no such input")
    expect(page.locator("#found")).to_have_text("0 found")
    page.locator("#contains").fill(first[:20].upper())
    page.locator("#inputs button").first.click()
    finished(page)
    expect(page.locator("#source")).to_have_value(re.compile("^" + re.escape(first[:20])))
    expect(page.locator("#references li").first).to_be_visible()
    shown = page.locator("#student .text").inner_text()
    source = page.locator("#source").input_value()
    answer = page.request.post("api/answers/student", data=json.dumps({"source": source})).json()
    assert "".join(text for text, _ in answer["pieces"]).strip() == answer["text"] == shown.rstrip("■").strip()


def tokens(page: Page) -> None:
    """The token that is pointed at is shown with its probability; a click does the same."""
    for act in ("hover", "click"):
        token = page.locator("#teacher .text span").nth(2 if act == "hover" else 0)
        getattr(token, act)()
        expect(page.locator("#teacher .token")).to_have_text(re.compile(r": probability [01]\.\d{3}$"))
        expect(page.locator("#teacher .text .shown")).to_have_count(1)


def threshold(page: Page) -> None:
    """At 1 everything is deferred, at 0 nothing."""
    page.locator("#threshold").fill("1")
    expect(page.locator("#student .deferred")).to_have_text("would be deferred")
    expect(page.locator("#decision")).to_contain_text("the teacher would answer")
    page.locator("#threshold").fill("0")
    expect(page.locator("#student .deferred")).to_have_count(0)
    expect(page.locator("#decision")).to_contain_text("the student's text would be used")
    page.locator("#threshold").fill("0.5")


def refusals(page: Page) -> None:
    """An empty input and one over the limit are a sentence in each card."""
    for source, said in (("  \n", "The input is empty; type a text."), ("word " * 20_000, "and the limit is")):
        ask(page, source)
        for name in ("student", "teacher"):
            expect(page.locator(f"#{name} .state.finding")).to_contain_text(said)
            expect(page.locator(f"#{name} .text")).to_be_hidden()
        expect(page.locator("#references")).to_be_hidden()


def hostile(page: Page) -> None:
    """Markup is text, also where the server's answer contains it."""

    def changed(route: Route) -> None:
        body = route.fetch().json()
        piece = [HOSTILE, 0.4]
        route.fulfill(json={**body, "text": HOSTILE, "pieces": [piece], "missing": [HOSTILE], "invented": [HOSTILE]})

    page.route("**/api/answers/*", changed)
    ask(page, "<b>bold</b> <img src=x onerror=alert(1)>")
    finished(page)
    expect(page.locator("#student .text")).to_contain_text("<img src=x onerror=alert(1)>")
    assert page.locator("#systems img, #systems b, #systems script").count() == 0
    page.unroute("**/api/answers/*")


def slow_teacher(page: Page, shot: Callable[[str], None]) -> None:
    """The student's text is there while the teacher's is generated; a newer input replaces both."""
    held: list[Route] = []
    page.route("**/api/answers/teacher", lambda route: held.append(route))  # noqa: PLW0108 - it takes functions alone
    page.get_by_role("button", name="Random test input").click()
    expect(page.locator("#student .state")).to_have_text(GENERATED)
    expect(page.locator("#teacher progress")).to_be_visible()
    expect(page.locator("#teacher")).to_have_attribute("aria-busy", "true")
    expect(page.locator("#teacher .state")).to_have_text("generating, 2 s")
    shot("slow")
    page.unroute("**/api/answers/teacher")
    page.locator("#source").press("Control+Enter")
    finished(page)
    expect(page.locator("#teacher progress")).to_be_hidden()


def api_teacher(page: Page, shot: Callable[[str], None]) -> None:
    """Of a teacher behind an API the recorded text of a test input is shown, and nothing of another input."""
    recorded = {"text": "A recorded text.", "missing": [], "invented": []}
    page.route(
        "**/api/run", lambda route: route.fulfill(json={**route.fetch().json(), "systems": {"student": "distilled"}})
    )
    page.route(
        re.compile(r"/api/inputs/\d+"), lambda route: route.fulfill(json={**route.fetch().json(), "recorded": recorded})
    )
    page.reload()
    expect(page.locator("#teacher .state")).to_contain_text("known for test inputs only")
    page.get_by_role("button", name="Random test input").click()
    expect(page.locator("#teacher .text")).to_have_text("A recorded text.")
    shot("api")
    ask(page, "another input")
    expect(page.locator("#student .state")).to_have_text(GENERATED)
    expect(page.locator("#teacher .state")).to_contain_text("known for test inputs only")
    page.unroute_all()


def calibrated(page: Page, shot: Callable[[str], None]) -> None:
    """With a calibration the threshold is one of the probability, and the curve on dev is shown."""
    curve = [
        {"threshold": 0.25, "deferred": 0.1, "score": 41.0, "quality": 0.97},
        {"threshold": 0.75, "deferred": 0.4, "score": 42.5, "quality": 0.99},
    ]
    page.route(
        "**/api/run",
        lambda route: route.fulfill(
            json={**route.fetch().json(), "calibrated": True, "metric": "bleu", "curve": curve}
        ),
    )
    page.route("**/api/answers/student", lambda route: route.fulfill(json={**route.fetch().json(), "probability": 0.7}))
    page.reload()
    page.get_by_role("button", name="Random test input").click()
    finished(page)
    page.locator("#threshold").fill("0.71")
    expect(page.locator("#student .deferred")).to_be_visible()
    expect(page.locator("#curve")).to_contain_text("threshold of 0.75: 40.0 % of the inputs")
    shot("calibrated")
    page.unroute_all()
    page.reload()


def click_through(page: Page, shot: Callable[[str], None]) -> None:
    """All of it, with a screenshot after each part."""
    expect(page.locator("h1")).to_contain_text("student and teacher")
    shot("start")
    page.locator("#picker summary").click()
    expect(page.locator("#inputs button").first).to_be_visible()
    shot("picker")
    page.locator("#picker summary").click()
    for part in (test_input, tokens, threshold):
        part(page)
    shot("answered")
    refusals(page)
    shot("refused")
    hostile(page)
    shot("hostile")
    for shown in (slow_teacher, api_teacher, calibrated):
        shown(page, shot)


def main() -> None:
    """Runs it at both sizes, and a last time without the server."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--screenshots", type=Path, default=Path("play-screenshots"))
    parser.add_argument("--chromium", help="path of the browser")
    options = parser.parse_args()
    options.screenshots.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright, playing(options.run) as (url, process):
        browser = playwright.chromium.launch(executable_path=options.chromium)
        for size, (width, height) in SIZES.items():
            page = browser.new_page(viewport={"width": width, "height": height}, base_url=url)
            page.set_default_timeout(60_000)
            faults, requests = watched(page)
            page.goto(url)

            def shot(name: str, page: Page = page, size: str = size) -> None:
                page.screenshot(path=options.screenshots / f"{size}-{name}.png", full_page=True)
                wide = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
                assert wide == 0, f"{size}, {name}: the page is {wide} px wider than the window"

            click_through(page, shot)
            assert {request for request in requests if not request.startswith((url, "data:"))} == set()
            assert faults == [], faults
            print(f"{size}: as expected, {len(requests)} requests, all to {url}")
        process.terminate()
        process.wait()
        ask(page, "anything")
        expect(page.locator("#student .state.finding")).to_contain_text("The server does not answer")
        print("without the server: as expected")
        browser.close()


def watched(page: Page) -> tuple[list[str], list[str]]:
    """Lists that a page fills: what went wrong, and the URLs of its requests."""
    faults: list[str] = []
    requests: list[str] = []

    def alert(dialog: Dialog) -> None:
        faults.append(dialog.message)
        dialog.dismiss()

    def logged(line: ConsoleMessage) -> None:
        # A refused input is a response of status 400, which the browser logs as an error.
        if line.type == "error" and "400" not in line.text:
            faults.append(line.text)

    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("dialog", alert)
    page.on("console", logged)
    page.on("request", lambda request: requests.append(request.url))
    return faults, requests


if __name__ == "__main__":
    main()
