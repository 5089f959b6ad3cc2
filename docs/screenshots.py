"""Makes the README's pictures anew: runs the platform in a temporary home and looks at it with a real browser.

make docs          needs Debian's chromium (or CHROMIUM=/path/to/chromium)
"""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import httpx
from playwright.sync_api import sync_playwright

from orchestration.settings import Settings

IMAGES = Path(__file__).parent / "images"
START_S = 600


def main() -> None:
    """Starts `tradewind run`, waits for the champion, takes the pictures, ends it."""
    with tempfile.TemporaryDirectory() as home:
        os.environ["TRADEWIND_HOME"] = home
        settings = Settings.read()
        command = [str(Path(sys.executable).with_name("tradewind")), "run"]
        with subprocess.Popen(command, start_new_session=True) as platform:
            try:
                await_health(settings, platform)
                photograph(settings)
                report = settings.lake / settings.dataset / "evaluation_report" / "report.png"
                shutil.copyfile(report, IMAGES / "evaluation.png")
            finally:
                platform.send_signal(signal.SIGINT)
                platform.wait(60)


def await_health(settings: Settings, platform: "subprocess.Popen[bytes]") -> None:
    """Waits until the service serves a champion."""
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline and platform.poll() is None:
        try:
            if httpx.get(f"{settings.urls['service']}/health").status_code == 200:
                return
        except httpx.HTTPError:
            time.sleep(1)
        time.sleep(1)
    raise SystemExit("the platform did not start; see its output above")


def photograph(settings: Settings) -> None:
    """The lineage of all assets as Dagster draws it."""
    chromium = os.environ.get("CHROMIUM") or shutil.which("chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page(viewport={"width": 1800, "height": 1780})
        groups = ("data", "features", "models", "evaluation", "release", "monitoring")
        opened = ",".join(f"global@global:{group}" for group in groups)
        page.goto(f"{settings.urls['dagster']}/asset-groups?expanded={opened}")
        page.get_by_text("evaluation_report").first.wait_for()
        page.get_by_text("Hide navigation").click()
        page.mouse.move(1000, 900)
        page.mouse.wheel(0, -100)  # the graph is a little taller than it is centred
        page.wait_for_timeout(4000)  # the layout settles
        IMAGES.mkdir(exist_ok=True)
        page.screenshot(path=IMAGES / "lineage.png")
        browser.close()


if __name__ == "__main__":
    main()
