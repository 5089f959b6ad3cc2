"""Makes the pictures of README and docs anew: plays a drill, runs the platform, and looks at both with a real browser.

make docs              in a temporary home: trains everything first, which takes minutes
make docs ARGS=HOME    in a home where it ran before: trains nothing

Needs Debian's chromium (or CHROMIUM=/path/to/chromium).
"""

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from playwright.sync_api import Page, ViewportSize, sync_playwright

from orchestration.settings import Settings

DRILL = "demand_shift"
IMAGES = Path(__file__).parent / "images"
GROUPS = ("data", "features", "models", "evaluation", "release", "monitoring")
SIZE: ViewportSize = {"width": 1240, "height": 1150}  # room for the name of every asset beside the graph
BROWSER = """
localStorage.setItem("dagster-nav-collapsed", "true");
localStorage.setItem("asset-graph-direction", '"vertical"');
localStorage.setItem("asset-node-facets", "[]");
"""


def main() -> None:
    """Plays a drill, starts `tradewind run`, waits until it serves, takes the pictures, ends it."""
    given = contextlib.nullcontext(sys.argv[1]) if sys.argv[1:] else tempfile.TemporaryDirectory()
    with given as home:
        os.environ["TRADEWIND_HOME"] = home
        settings = Settings.read()
        photograph_drill(settings.home / "drills" / DRILL / "page.html")
        command = [str(Path(sys.executable).with_name("tradewind")), "run"]
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True) as platform:
            try:
                await_serving(platform)
                IMAGES.mkdir(exist_ok=True)
                photograph_lineage(settings)
                report = settings.lake / settings.dataset / "evaluation_report" / "report.png"
                shutil.copyfile(report, IMAGES / "evaluation.png")
            finally:
                platform.terminate()
                platform.communicate(timeout=60)


def photograph_drill(file: Path) -> None:
    """The plots and the figures of a played scenario."""
    if not file.is_file():
        subprocess.run([str(Path(sys.executable).with_name("tradewind")), "drill", DRILL], check=True)
    with browser_page({"width": 1100, "height": 900}) as page:
        page.goto(file.as_uri())
        end = page.get_by_role("heading", name="What happened").bounding_box()
        assert end is not None
        page.screenshot(
            path=IMAGES / "drill.png", full_page=True, clip={"x": 0, "y": 0, "width": 1100, "height": end["y"]}
        )


@contextlib.contextmanager
def browser_page(size: ViewportSize) -> Iterator[Page]:
    """A page of a real browser."""
    with sync_playwright() as playwright:
        chromium = os.environ.get("CHROMIUM") or shutil.which("chromium")
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        yield browser.new_page(viewport=size, device_scale_factor=1.25)
        browser.close()


def await_serving(platform: "subprocess.Popen[str]") -> None:
    """Passes on what the platform says until everything is made and it serves; raises SystemExit if it ends before."""
    for line in platform.stderr or ():
        print(line, end="", flush=True)
        if line.startswith("Serving"):
            return
    raise SystemExit("the platform ended before it served; see its last lines above")


def photograph_lineage(settings: Settings) -> None:
    """The flow between Dagster's asset groups, the release opened, with every asset's name in the list beside it.

    With all groups opened no name in the graph can be read, and Dagster draws nothing that lies outside the window.
    """
    listed = "&".join(f"open-nodes[{place}]=global@global:{group}" for place, group in enumerate(GROUPS))
    with browser_page(SIZE) as page:
        page.add_init_script(BROWSER)
        page.goto(f"{settings.urls['dagster']}/asset-groups?expanded=global@global:release&{listed}")
        page.get_by_role("button", name="evaluation_report").wait_for()  # in the list
        page.locator("foreignObject").get_by_text("champion").first.wait_for()  # in the graph
        page.wait_for_timeout(3000)  # figures in the boxes come last
        page.screenshot(path=IMAGES / "lineage.png")


if __name__ == "__main__":
    main()
