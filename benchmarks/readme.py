"""Writes the figures of README.md and docs/accuracy.md from benchmarks/results/, which the other scripts fill.

python benchmarks/readme.py            prints them
python benchmarks/readme.py --write    writes them into the pages, between their markers
"""

import argparse
from pathlib import Path

from measuring.accuracy.published_figures import accuracy_results, figures, page_with
from measuring.benchmark_tasks import DATASETS

PROJECT = Path(__file__).resolve().parents[1]
PAGES = {
    PROJECT / "README.md": ("online_retail",),
    PROJECT / "docs" / "accuracy.md": tuple(DATASETS),
}  # page -> data sets


def main() -> None:
    """Prints the texts; with --write also writes them into the pages."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="write them into the pages")
    options = parser.parse_args()
    results = accuracy_results()
    for page, tables in PAGES.items():
        text = figures(results, tables)
        print(f"{page.relative_to(PROJECT)}\n\n{text}\n")
        if options.write:
            page.write_text(page_with(page.read_text(), text))


if __name__ == "__main__":
    main()
