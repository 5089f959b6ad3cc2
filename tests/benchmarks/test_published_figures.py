"""The figures in README.md and docs/accuracy.md equal those of the results files, to three decimal places."""

import importlib
import json
from pathlib import Path
from typing import Any

import pytest
from measuring.accuracy import published_figures
from measuring.accuracy.comparisons import AHEAD, NOT_BEHIND
from measuring.benchmark_tasks import LATER_VISITS

readme = importlib.import_module("readme")


@pytest.mark.parametrize("page", readme.PAGES, ids=lambda page: page.name)
def test_the_figures_of_a_page_equal_the_results_files(page: Path) -> None:
    written = page.read_text()
    text = published_figures.figures(published_figures.accuracy_results(), readme.PAGES[page])
    assert written == published_figures.page_with(written, text), (
        f"{page.name}: run `python benchmarks/readme.py --write`"
    )


def line(entrant: str, value: float, view: str = "all", **more: Any) -> dict[str, Any]:
    what = {"data_set": "custom_b2b", "view": view, "entrant": entrant, "users": 970, "value": value}
    no_bounds = {"floor": None, "floor_met": None, "met": None, "note": ""}
    return {**what, **no_bounds, "interval": [round(value - 0.01, 4), round(value + 0.01, 4)], **more}


def comparison(role: str, met: bool, p: float = 0.0005) -> dict[str, Any]:
    return {"difference": [0.02, 0.01, 0.03], "p": p, "bounds": role, "floor": 0.0, "floor_met": met, "met": met}


def results(*rows: dict[str, Any]) -> dict[str, Any]:
    return {"custom_b2b": {"rows": list(rows), "date": "2026-11-29", "commit": "0123456789"}}


def test_a_changed_figure_changes_the_page() -> None:
    page = f"before\n{published_figures.BEGIN}\nold\n{published_figures.END}\nafter"
    texts = [published_figures.figures(results(line("hybrid_learned", value))) for value in (0.3814, 0.3816)]
    assert [(".381 [" in text, ".382 [" in text) for text in texts] == [(True, False), (False, True)]
    written = published_figures.page_with(page, texts[0])
    assert written != published_figures.page_with(page, texts[1])
    assert written == published_figures.page_with(written, texts[0])
    with pytest.raises(ValueError, match="no markers"):
        published_figures.page_with("a page", "text")


def test_misses_and_stale_settings_are_on_the_page() -> None:
    stale = "settings of an older grid; of 9 trials, not 16; factors on the edge of the grid (all)"
    text = published_figures.figures(
        results(
            line("hybrid_learned", 0.5, share=0.866, share_interval=[0.854, 0.878]),
            line("repurchase", 0.48, **comparison(NOT_BEHIND, False)),
            line("implicit_als", 0.4, **comparison(AHEAD, True), note=f"{stale}; ease minus this model +0.1"),
            line("hybrid_learned", 0.3, LATER_VISITS),
            line("popularity", 0.2, LATER_VISITS),
        )
    )
    assert "1 of the 2 are met." in text
    assert "not met:\n\n- `repurchase`, on `custom_b2b`, all items: +0.020" in text
    assert f"{published_figures.STALE}\n\n- `implicit_als`: {stale}\n" in text
    assert "reaches 87% [85%, 88%]" in text
    assert "not a proven upper bound" in text
    assert "(970 users; " in text
    assert "`hybrid_learned` .300 [.290, .310], `popularity` .200" in text
    assert "Not measured with this version yet: `online_retail`" in text
    assert published_figures.NO_PEERS not in text


def test_notes_of_results_files_are_in_plain_words() -> None:
    note = "not tuned: library defaults; training was ended by its seconds"
    text = published_figures.figures(results(line("hybrid_learned", 0.5), line("rectools_sasrec", 0.4, note=note)))
    assert "`rectools_sasrec`: not tuned, it has the defaults of its library; its training reached the time" in text


def test_a_run_without_peers_is_marked() -> None:
    assert published_figures.NO_PEERS in published_figures.figures(
        results(line("hybrid_learned", 0.5), line("repurchase", 0.4))
    )


def test_a_lead_that_is_not_significant_after_holm_is_listed() -> None:
    text = published_figures.figures(
        results(line("hybrid_learned", 0.5), line("implicit_als", 0.49, **comparison(AHEAD, True, 0.2)))
    )
    assert "0 of the 1 are met." in text
    assert "not met:\n\n- `implicit_als`" in text


def test_a_page_lists_every_miss_and_the_insignificant_differences_of_its_tables() -> None:
    found = {
        name: {
            **results()["custom_b2b"],
            "rows": [
                line("hybrid_learned", 0.5, data_set=name),
                line("repurchase", 0.49, data_set=name, **comparison(NOT_BEHIND, True, 0.2)),
                line("implicit_als", 0.49, data_set=name, **comparison(AHEAD, True, 0.2)),
            ],
        }
        for name in ("custom_b2b", "ml-100k")
    }
    text = published_figures.figures(found, ("ml-100k",))
    missed, not_significant = text[text.index("not met:") :].split("not significant:")
    names = ("`custom_b2b`, all", "`ml-100k`, all", "repurchase")
    assert [name in missed for name in names] == [True, True, False]
    assert [name in not_significant for name in names] == [False, True, True]


def test_results_of_the_test_window_are_read_for_each_data_set_with_a_file(tmp_path: Path) -> None:
    (tmp_path / "accuracy-ml-100k.json").write_text(json.dumps({"rows": [1]}))
    (tmp_path / "accuracy-ml-100k-validation.json").write_text(json.dumps({"rows": [2]}))
    assert published_figures.accuracy_results(tmp_path) == {"ml-100k": {"rows": [1]}}
    assert published_figures.figures({}).startswith("*Not measured")
