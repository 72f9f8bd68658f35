#!/usr/bin/env python3
"""Drives the page of `trainer export --format web` in headless Chromium: its answers are those of `trainer predict`.

    trainer export runs/a --format web                     # then add onnxruntime-web, as runs/a/web/README.txt says
    python tests/browser/web.py target/release/trainer runs/a runs/a/web cat.jpg dog.png --shots shots

It serves the folder itself, and fails if the page fetches anything from elsewhere or if a probability differs by more than a point:
browsers decode JPEGs by rounding of their own. Needs Playwright; the browser is Playwright's own, or --chromium.
"""

import argparse
import functools
import http.server
import json
import pathlib
import subprocess
import sys
import threading

from playwright.sync_api import sync_playwright

TOLERANCE = 0.01


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


def answers(page, pictures):
    """The classes with their probabilities that the page shows, by file name."""
    page.set_input_files("#files", [str(picture) for picture in pictures])
    rows = f"document.querySelectorAll('.picture .bars li:first-child').length >= {len(pictures)}"
    page.wait_for_function(rows, timeout=120_000)
    found = {}
    for item in page.query_selector_all(".picture"):
        shown = [(row.query_selector(".class"), row.query_selector(".percent")) for row in item.query_selector_all(".bars li")]
        found[item.query_selector("h2").inner_text()] = {
            name.inner_text(): float(percent.inner_text().rstrip(" %")) / 100 for name, percent in shown
        }
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("trainer")
    parser.add_argument("run")
    parser.add_argument("folder")
    parser.add_argument("pictures", nargs="+", type=pathlib.Path)
    parser.add_argument("--shots", type=pathlib.Path)
    parser.add_argument("--chromium")
    args = parser.parse_args()
    command = [args.trainer, "predict", args.run, *map(str, args.pictures), "--json", "--top-k", "3"]
    expected = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)["pictures"]
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=args.folder))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url, foreign, wrong = f"http://127.0.0.1:{server.server_port}/", [], []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=args.chromium)
        for name, window, scheme in [("wide", (1100, 900), "light"), ("narrow", (390, 844), "dark")]:
            page = browser.new_page(viewport=dict(zip(["width", "height"], window)), color_scheme=scheme)
            page.on("request", lambda request: request.url.startswith((url, "blob:", "data:")) or foreign.append(request.url))
            page.goto(url)
            found = answers(page, args.pictures)
            for picture in expected:
                shown = found[pathlib.Path(picture["file"]).name]
                for told in picture["predictions"]:
                    if abs(shown.get(told["class"], 0) - told["probability"]) > TOLERANCE:
                        wrong.append(f"{picture['file']}: {told}, the page has {shown}")
            if page.evaluate("document.documentElement.scrollWidth > window.innerWidth"):
                wrong.append(f"{name}: something is wider than the window")
            if args.shots:
                args.shots.mkdir(parents=True, exist_ok=True)
                page.screenshot(path=args.shots / f"web-{name}.png")
        browser.close()
    if foreign or wrong:
        sys.exit("\n".join([*wrong, *foreign]))
    print(f"{len(expected)} pictures: the page answers as `trainer predict` does")


main()
