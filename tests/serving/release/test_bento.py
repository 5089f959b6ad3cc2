"""A Bento serves alone: without MLflow and without the packages of training."""

import shutil
from pathlib import Path

import pytest

from recommenders.errors import BundleError, ReleaseError
from serving.champion.pointer import read_pointer, verify
from serving.lists.predictor import Predictor
from serving.release import bento
from serving.release.bento import bento_name, build

# Every Python process of the served Bento imports this; an import of one of these packages fails.
BLOCKER = """
import sys
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in "mlflow torch pyarrow sklearn xgboost pandas dagster evidently".split():
            raise ImportError(f"{name} is not installed where a Bento runs")
sys.meta_path.insert(0, Blocked())
"""


@pytest.mark.slow
def test_a_bento_is_built_and_serves_alone(tmp_path, market):
    settings = market.settings(tmp_path / "home", "Toy_market")
    market.release(settings, 7, 4)
    catalogue = market.catalogue(settings)
    rules = tmp_path / "rules.yaml"
    rules.write_text('rules: [{name: top, action: pin, slot: 2, items: item.id == "107"}]')
    built = build(settings.model_copy(update={"rules_file": rules}))
    assert built.tag.startswith("tradewind_toy_market:v7-")
    assert built.version == 7
    assert built.path.is_relative_to(tmp_path / "home" / "bentoml")
    description = (built.path / "bento.yaml").read_text()
    assert "dataset: Toy_market" in description
    assert "version: '7'" in description
    requirements = (built.path / "env" / "python" / "requirements.txt").read_text()
    assert "numpy==" in requirements
    assert not {"mlflow", "torch", "pyarrow"} & {line.partition("==")[0] for line in requirements.splitlines()}
    assert not list(built.path.rglob("release"))
    (tmp_path / "blocked").mkdir()
    (tmp_path / "blocked" / "sitecustomize.py").write_text(BLOCKER)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    own = {"PYTHONPATH": str(tmp_path / "blocked"), "BENTOML_HOME": str(settings.bentoml_home)}
    own |= {"TRADEWIND_WORKERS": "2", "TMPDIR": str(elsewhere)}
    with market.serve(built.tag, elsewhere / "home", elsewhere, **own) as client:
        market.until(lambda: client.get("/health").status_code == 200, "the Bento's champion was not loaded")
        assert client.get("/health").json()["version"] == 7
        market.until(
            lambda: len(list(elsewhere.glob("tradewind-workers-*/histogram_*.db"))) == 2, "there is no second worker"
        )
        answer = client.post("/predict", json={"user_id": "unknown", "n_recommendations": 1}).json()
        assert answer["items"] == [{"item_id": "105", "rank": 1, "score": None}]
        assert client.get("/health").json()["catalogue"] == catalogue.version
        asked = {"user_id": "unknown", "n_recommendations": 1, "filters": {"colour": "red"}, "fields": ["price"]}
        answer = client.post("/predict", json=asked).json()
        assert [item["fields"] for item in answer["items"]] == [{"price": 3.0}]
        answer = client.post("/predict", json={"user_id": "unknown", "n_recommendations": 2}).json()
        assert answer["items"][1] == {"item_id": "107", "rank": 2, "score": None, "rules": ["top"]}
        page = client.get("/analytics", headers={"accept": "text/html"})
        assert "<h1>Tradewind service</h1>" in page.text  # the templates are in the Bento
        assert client.get("/favicon.ico").status_code == 200


def test_what_a_bento_is_built_from_holds_the_whole_champion(tmp_path, market):
    settings = market.settings(tmp_path / "home")
    market.release(settings, 7, 4)
    pointer = read_pointer(settings.pointer)
    bento.stage(tmp_path / "staged", pointer, pointer.bundle_folder(settings.pointer))
    shutil.rmtree(settings.champions)
    (staged,) = (tmp_path / "staged").glob("*/*.json")
    copied = read_pointer(staged)
    folder = copied.bundle_folder(staged)
    verify(folder, copied.bundle_sha256)
    assert folder.is_relative_to(tmp_path / "staged")
    assert Predictor(folder).predict("unknown", [], 1).item_ids == ["105"]


def test_a_build_without_a_champion_is_an_error(tmp_path, market):
    with pytest.raises(ReleaseError, match=r"no champion at .*toy\.json; promote a version of toy first"):
        build(market.settings(tmp_path))


def test_a_damaged_champion_is_not_packaged(tmp_path, market):
    (market.release(market.settings(tmp_path), 1, 0) / "arrays.safetensors").write_bytes(b"")
    with pytest.raises(BundleError, match=r"arrays\.safetensors was changed"):
        build(market.settings(tmp_path))


def test_a_failed_build_is_an_error_of_one_line(tmp_path, market, monkeypatch):
    market.release(market.settings(tmp_path), 1, 0)
    monkeypatch.setattr(bento.sys, "executable", str(Path("/bin/false")))
    with pytest.raises(ReleaseError, match=r"bentoml could not build from .*: it printed nothing"):
        build(market.settings(tmp_path))


@pytest.mark.parametrize(
    ("dataset", "name"), [("custom_b2b", "tradewind_custom_b2b"), ("My Data!", "tradewind_my-data-"[:-1])]
)
def test_bento_names_are_accepted_by_bentoml(dataset, name):
    assert bento_name(dataset) == name


def test_a_package_that_few_need_is_a_requirement_only_if_it_is_installed(tmp_path, market, monkeypatch):
    settings = market.settings(tmp_path / "home")
    market.release(settings, 7, 4)
    pointer = read_pointer(settings.pointer)
    monkeypatch.setattr(bento, "OPTIONAL", ("httpx", "no-such-package"))
    packages = [line.partition("==")[0] for line in bento.bentofile("toy", pointer)["python"]["packages"]]
    assert packages == [*bento.REQUIREMENTS, "httpx"]
