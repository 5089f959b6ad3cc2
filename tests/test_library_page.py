"""The code of docs/library.md runs in the order of the page, and imports the library without the platform."""

import os
import re
import subprocess
import sys
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent
PLATFORM = ("dagster", "mlflow", "bentoml", "evidently", "orchestration", "serving", "monitoring")


def test_the_code_of_the_library_page_runs_without_the_platform(tmp_path: Path) -> None:
    blocks = re.findall(
        r"^```python\n(.*?)^```$", (PROJECT / "docs" / "library.md").read_text(), re.MULTILINE | re.DOTALL
    )
    assert len(blocks) == 4
    check = f"import sys\nprint('platform:', [name for name in {PLATFORM} if name in sys.modules])"
    (tmp_path / "page.py").write_text("\n".join([*blocks, check]))
    done = subprocess.run(
        [sys.executable, "page.py"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(PROJECT)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    first, *_, last = done.stdout.splitlines()
    assert re.match(r"\d+ \[('\d+'\s?)+", first), done.stdout
    assert last == "platform: []"
