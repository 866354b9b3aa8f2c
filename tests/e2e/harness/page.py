# SPDX-License-Identifier: Apache-2.0
"""Pages of --report in headless Chromium, opened as a user would open them: from their files."""

import base64
import json
import os
import pathlib

from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By

PICTURES = os.environ.get("GODWIT_TEST_PICTURES")

# The colours of a canvas, in order. An empty one has one.
FIND_COLOURS = """
    const find = (canvas) => {
      const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
      return [...new Set(new Uint32Array(data.buffer))].sort();
    };
    return Object.fromEntries([...document.querySelectorAll("figure.chart")].map((figure) =>
      [figure.querySelector("h3").textContent, find(figure.querySelector("canvas"))]));"""

FIND_TABLE = """
    const found = [...document.querySelectorAll("table")].find((table) =>
      table.querySelector("caption")?.textContent.startsWith(arguments[0]));
    return found && [...found.rows].map((row) => [...row.cells].map((cell) => cell.textContent));"""


class Browser:
    """One for many pages, since it takes longer to start than a page to draw. Leaving the with block ends it."""

    def __init__(self):
        options = webdriver.ChromeOptions()
        options.binary_location = "/usr/bin/chromium"
        # Root has no sandbox. Nothing that a browser does by itself may look like what the page does.
        for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars",
                         "--disable-background-networking", "--disable-component-update", "--window-size=1100,900"):
            options.add_argument(argument)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
        self.driver = webdriver.Chrome(service=Service("/usr/bin/chromedriver"), options=options)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.driver.quit()

    def open(self, path, scheme="light"):
        for kind in ("browser", "performance"):
            self.driver.get_log(kind)
        return Page(self.driver, path, scheme)


class Page:
    def __init__(self, driver, path, scheme):
        self.driver = driver
        self.set_scheme(scheme)
        self.url = path.resolve().as_uri()
        self.driver.get(self.url)

    def set_scheme(self, scheme):
        """Returns when a page that is open has drawn itself anew: it hears of the change in the browser's next frame, before
        that frame's callbacks, and draws in a microtask."""
        self._command("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
        self.driver.execute_async_script("requestAnimationFrame(() => setTimeout(arguments[0]));")

    def complaints(self):
        """What the browser's console has: errors of scripts, and what the page's own policy refused. That a canvas is
        read again and again is said of charts() itself."""
        return [entry for entry in self.driver.get_log("browser") if entry["source"] != "rendering"]

    def requests(self):
        """Whatever was asked for, but the page itself and what is in it."""
        events = [json.loads(entry["message"])["message"] for entry in self.driver.get_log("performance")]
        urls = [event["params"]["request"]["url"] for event in events if event["method"] == "Network.requestWillBeSent"]
        return [url for url in urls if url != self.url and not url.startswith("data:")]

    def run(self, script, *arguments):
        return self.driver.execute_script(script, *arguments)

    def charts(self):
        """The colours that each chart is drawn in, by its name."""
        return self.run(FIND_COLOURS)

    def table(self, caption):
        """The rows of the table whose caption begins so, as texts; of one that is folded away, too."""
        return self.run(FIND_TABLE, caption)

    def text(self):
        return self.driver.find_element(By.TAG_NAME, "body").text

    def chart(self, name):
        """The part of the chart that takes the keyboard."""
        return self.driver.find_element(By.CSS_SELECTOR, f'.plot[aria-label="{name}"]')

    def names_told(self):
        """What a screen reader is told of: (role, name)."""
        nodes = self._command("Accessibility.getFullAXTree")["nodes"]
        told = [node for node in nodes if not node.get("ignored")]
        return {(node["role"]["value"], node.get("name", {}).get("value", "")) for node in told}

    def background(self):
        return self.run("return getComputedStyle(document.body).backgroundColor")

    def show(self, name):
        """For people to look at: a picture of all of it in GODWIT_TEST_PICTURES, a folder, where there is one."""
        if not PICTURES:
            return
        size = self._command("Page.getLayoutMetrics")["cssContentSize"]
        clip = {"x": 0, "y": 0, "width": size["width"], "height": size["height"], "scale": 1}
        image = self._command("Page.captureScreenshot", captureBeyondViewport=True, clip=clip)
        (pathlib.Path(PICTURES) / f"{name}.png").write_bytes(base64.b64decode(image["data"]))

    def print(self):
        """The page as a PDF."""
        return base64.b64decode(self._command("Page.printToPDF")["data"])

    def _command(self, name, **parameters):
        return self.driver.execute_cdp_cmd(name, parameters)
