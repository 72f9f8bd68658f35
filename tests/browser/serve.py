#!/usr/bin/env python3
"""Drives the page of `trainer serve` in headless Chromium: everything that a person can do on it, wide and narrow, light and dark.

    python tests/browser/serve.py target/release/trainer runs/a runs/b --pictures cat.jpg dog.png --shots shots

It starts a server of its own and needs two models. It fails if the page fetches anything from elsewhere, if the browser reports an
error, or if something is wider than the window. Screenshots are for a person to look at. Needs Playwright; the browser is
Playwright's own, or the system's where there is one (--chromium).
"""

import argparse
import contextlib
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import time

from playwright.sync_api import expect, sync_playwright

FOREIGN_NAME = "<img src=x onerror=document.title='markup'>.jpg"
WINDOWS = {"wide": (1280, 900), "narrow": (390, 844)}
# What the browser says where a test asks for an error.
EXPECTED_ERRORS = ("status of 400", "status of 404", "ERR_CONNECTION_REFUSED")

HAND_OVER = """([kind, name, type, bytes]) => {
  const transfer = new DataTransfer();
  if (name) transfer.items.add(new File([new Uint8Array(bytes)], name, { type }));
  const event = kind === "drop"
    ? new DragEvent("drop", { dataTransfer: transfer, bubbles: true, cancelable: true })
    : new ClipboardEvent("paste", { clipboardData: transfer, bubbles: true, cancelable: true });
  document.body.dispatchEvent(event);
}"""


@contextlib.contextmanager
def server(trainer, runs):
    """The address of a server of these runs, and the process."""
    command = [trainer, "serve", *runs, "--port", "0"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        url = process.stdout.readline().strip()
        if not url:
            sys.exit(f"{' '.join(command)}: no server")
        yield url, process
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=30)


class Watch:
    """What the page fetches, and what the browser complains of."""

    def __init__(self, context, url):
        self.url, self.foreign, self.errors, self.asked = url, [], [], []
        context.on("request", self.on_request)
        context.on("weberror", lambda error: self.errors.append(str(error.error)))
        context.on("console", self.on_console)

    def on_request(self, request):
        if request.url.startswith(self.url):
            self.asked.append(request.url[len(self.url) :])
        elif not request.url.startswith(("blob:", "data:")):
            self.foreign.append(request.url)

    def on_console(self, message):
        if message.type in ("error", "warning") and not any(text in message.text for text in EXPECTED_ERRORS):
            self.errors.append(message.text)

    def check(self):
        assert not self.foreign, f"fetched from elsewhere: {self.foreign}"
        assert not self.errors, f"the browser complains: {self.errors}"


def opened(browser, url, **settings):
    context = browser.new_context(**settings)
    watch = Watch(context, url)
    page = context.new_page()
    page.goto(url)
    expect(page.locator("#facts")).to_contain_text("class")
    return page, watch


def pictures(page):
    return page.locator("#pictures > li")


def hand_over(page, kind, path=None):
    name, bytes_ = (path.name, list(path.read_bytes())) if path else ("", [])
    page.evaluate(HAND_OVER, [kind, name, "image/png", bytes_])


def answered(page, n):
    """All of `n` pictures have their answers."""
    expect(pictures(page)).to_have_count(n)
    expect(page.locator("#status")).to_have_text(f"{n} picture{'' if n == 1 else 's'} looked at", timeout=60_000)
    assert page.locator(".waiting:visible").count() == 0


def camera_shows(page):
    """Waits for the first picture of the camera; the page's policy lets no text be evaluated in it, so it is asked from here."""
    deadline = time.monotonic() + 20
    while not page.evaluate("document.getElementById('video').videoWidth > 0"):
        assert time.monotonic() < deadline, "the camera shows nothing"
        page.wait_for_timeout(50)


def check_choosing(page, files, folder):
    bad = folder / FOREIGN_NAME
    bad.write_text("this is no picture")
    page.get_by_label("Choose pictures").set_input_files([*files, bad])
    answered(page, len(files) + 1)
    first = pictures(page).first
    expect(first.get_by_role("heading")).to_have_text(FOREIGN_NAME)
    expect(first.locator(".error")).to_have_text("text, not a picture")
    assert page.title() == "Ask a model", "the name of a file was taken for markup"
    for i, file in enumerate(reversed(files), start=1):
        item = pictures(page).nth(i)
        expect(item.get_by_role("heading")).to_have_text(file.name)
        assert item.locator("img").first.evaluate("image => image.naturalWidth") > 0, "no thumbnail"
        shares = item.locator(".percent").all_inner_texts()
        shares = [float(share.removesuffix(" %")) for share in shares]
        assert 2 <= len(shares) <= 5 and shares == sorted(shares, reverse=True) and sum(shares) < 100.5, shares
        widths = item.locator(".bar").evaluate_all("bars => bars.map((bar) => bar.getBoundingClientRect().width)")
        assert widths == sorted(widths, reverse=True), widths


def check_handing_over(page, file):
    n = pictures(page).count()
    hand_over(page, "drop", file)
    answered(page, n + 1)
    hand_over(page, "paste", file)
    answered(page, n + 2)
    hand_over(page, "drop")
    expect(page.get_by_role("alert")).to_contain_text("no file")


def check_camera(page):
    n = pictures(page).count()
    page.get_by_role("button", name="Use the camera").click()
    shoot = page.get_by_role("button", name="Take the picture")
    expect(shoot).to_be_focused()
    camera_shows(page)
    page.keyboard.press("Enter")
    answered(page, n + 1)
    expect(pictures(page).first.get_by_role("heading")).to_have_text("camera-1.jpg")
    page.get_by_role("button", name="Close the camera").click()
    expect(page.locator("#viewfinder")).to_be_hidden()
    assert page.evaluate("document.getElementById('video').srcObject") is None, "the camera stays on"


def check_switch(page, watch):
    n = pictures(page).count()
    select = page.get_by_label("Model", exact=True)
    second = select.locator("option").nth(1).inner_text()
    before = page.locator(".percent").all_inner_texts()
    watch.asked.clear()
    select.select_option(index=1)
    answered(page, n)
    asked = [address for address in watch.asked if address.startswith("predict")]
    assert len(asked) >= n - 1 and all(f"model={second}" in address for address in asked), asked
    assert page.locator(".percent").all_inner_texts() != before, "the answers are the first model's"
    select.select_option(index=0)
    answered(page, n)


def check_keyboard(page):
    """Every control can be reached by the Tab key, in the order in which they stand."""
    page.evaluate("document.activeElement.blur()")
    page.locator("h1").click()
    reached = []
    for _ in range(5):
        page.keyboard.press("Tab")
        reached.append(page.evaluate("document.activeElement.id || document.activeElement.tagName"))
    assert reached == ["model", "files", "camera", "clear", "SUMMARY"], reached


def check_width(page):
    wide = page.evaluate("document.documentElement.scrollWidth - window.innerWidth")
    assert wide <= 0, f"{wide} pixels wider than the window"


def check_views(browser, url, files, folder, shots):
    for window, (width, height) in WINDOWS.items():
        for scheme in ("light", "dark"):
            page, watch = opened(
                browser, url, viewport={"width": width, "height": height}, color_scheme=scheme, permissions=["camera"]
            )
            page.screenshot(path=shots / f"{window}-{scheme}-empty.png", full_page=True)
            check_width(page)
            bad = folder / "not-a-picture-with-a-very-long-name-that-has-no-place-to-break-it-0123456789.jpg"
            bad.write_text("this is no picture")
            page.get_by_label("Choose pictures").set_input_files([bad, *files])
            answered(page, len(files) + 1)
            page.wait_for_load_state("networkidle")
            page.get_by_text("From a program").click()
            page.screenshot(path=shots / f"{window}-{scheme}.png", full_page=True)
            check_width(page)
            page.get_by_role("button", name="Use the camera").click()
            camera_shows(page)
            page.screenshot(path=shots / f"{window}-{scheme}-camera.png")
            check_width(page)
            watch.check()
            page.context.close()


def check_without_camera(browser, url, shots):
    context = browser.new_context()
    context.add_init_script("Object.defineProperty(navigator, 'mediaDevices', { value: undefined })")
    page = context.new_page()
    page.goto(url)
    page.get_by_role("button", name="Use the camera").click()
    expect(page.get_by_role("alert")).to_contain_text("over https only")
    page.screenshot(path=shots / "no-camera.png")
    context.close()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("trainer", help="the built binary")
    parser.add_argument("runs", nargs="+", metavar="RUN", help="two models or more")
    parser.add_argument("--pictures", nargs="+", type=pathlib.Path, required=True, metavar="FILE")
    parser.add_argument("--shots", type=pathlib.Path, required=True, metavar="DIR", help="where screenshots go")
    parser.add_argument("--chromium", default=shutil.which("chromium"), metavar="FILE")
    options = parser.parse_args()
    if len(options.runs) < 2:
        parser.error("two models are needed to switch between them")
    options.shots.mkdir(parents=True, exist_ok=True)
    files, shots = options.pictures, options.shots
    flags = ["--use-fake-ui-for-media-stream", "--use-fake-device-for-media-stream"]
    with (
        server(options.trainer, options.runs) as (url, process),
        tempfile.TemporaryDirectory() as folder,
        sync_playwright() as playwright,
        playwright.chromium.launch(executable_path=options.chromium, args=flags) as browser,
    ):
        folder = pathlib.Path(folder)
        page, watch = opened(browser, url, permissions=["camera"])
        check_choosing(page, files, folder)
        check_handing_over(page, files[0])
        check_camera(page)
        check_switch(page, watch)
        check_keyboard(page)
        check_views(browser, url, files, folder, shots)
        check_without_camera(browser, url, shots)
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=30) == 0, "the server does not end well"
        hand_over(page, "drop", files[0])
        expect(pictures(page).first.locator(".error")).to_contain_text("does not answer")
        page.get_by_role("button", name="Clear").click()
        expect(pictures(page)).to_have_count(0)
        expect(page.get_by_label("Choose pictures")).to_be_focused()
        watch.check()
    print(f"the page does what it should; screenshots are in {shots}")


if __name__ == "__main__":
    main()
