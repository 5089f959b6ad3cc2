"""The registry on a real MLflow store in SQLite."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from urllib.parse import parse_qs

import pytest

from recommenders.errors import BundleError, ReleaseError
from recommenders.models.popularity import Popularity
from serving.champion.pointer import fingerprint, read_pointer
from serving.release import releases
from serving.release.challenger import release
from serving.release.gate import Decision
from serving.release.registry import Registry
from serving.release.versions import Version

# MLflow 3.17's own tables use what SQLAlchemy 2.1 deprecates.
pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy:DeprecationWarning")

PROMOTE_STEPS = ("_released_bundle", "set_tags", "_move_aliases", "write_pointer")


def test_a_run_stores_what_training_logs(registry, tmp_path):
    (tmp_path / "figures.txt").write_text("12")
    params = {"model": {"reg": 0.1, "layers": [1, 2]}, **{f"p{n}": n for n in range(150)}, "long": "x" * 9000}
    with registry.run("runs", "neural", params, {"stage": "evaluation"}) as run:
        assert run.checkpoints == registry.settings.home / "checkpoints" / "runs"
        run.log(1, {"loss": 0.5, "undefined": float("nan")})
        run.log(2, {"loss": 0.4})
        run.log_bytes("plots/curve.txt", b"curve")
        run.log_file(tmp_path / "figures.txt", "tables")
    with registry.resume(run.run_id) as again:
        again.log_metrics({"ndcg": 0.3})
    stored = run.client.get_run(run.run_id)
    assert (stored.info.status, stored.info.run_name) == ("FINISHED", "neural")
    assert stored.data.params["model.layers"] == "[1, 2]"
    assert len(stored.data.params) == 153
    assert stored.data.tags["stage"] == "evaluation"
    assert [m.value for m in run.client.get_metric_history(run.run_id, "loss")] == [0.5, 0.4]
    assert stored.data.metrics["ndcg"] == 0.3
    assert [f.path for f in run.client.list_artifacts(run.run_id, "plots")] == ["plots/curve.txt"]
    assert [f.path for f in run.client.list_artifacts(run.run_id, "tables")] == ["tables/figures.txt"]
    assert run.client.get_experiment(stored.info.experiment_id).name == "tradewind/runs"
    experiment = f"http://127.0.0.1:5003/#/experiments/{stored.info.experiment_id}"
    assert registry.run_url(run.run_id) == f"{experiment}/runs/{run.run_id}"
    assert registry.experiment_url("runs").startswith(f"{experiment}/runs?")


def test_the_newest_fits_of_a_model_are_compared(registry):
    """Other models and other stages do not count, nor does what is older than the newest five."""
    made = []
    for _ in range(6):
        with registry.run("compared", "ease", {}, {"stage": "evaluation"}) as run:
            made.append(run.run_id)
    for name, stage in (("ials", "evaluation"), ("ease", "tuning")):
        with registry.run("compared", name, {}, {"stage": stage}, parent=made[0]):
            pass
    page, _, query = registry.comparison_url("compared", "ease").partition("?")
    assert page == "http://127.0.0.1:5003/#/compare-runs"
    found = {name: json.loads(values[0]) for name, values in parse_qs(query).items()}
    assert sorted(found["runs"]) == sorted(made[1:])
    assert registry.experiment_url("compared").startswith(
        f"http://127.0.0.1:5003/#/experiments/{found['experiments'][0]}/"
    )
    (below,) = registry.find_runs("compared", {"mlflow.parentRunId": made[0], "stage": "tuning"}).values()
    assert below["mlflow.runName"] == "ease"


def test_a_run_fails_if_its_block_raises(registry):
    with pytest.raises(KeyError), registry.run("runs", "broken", {}, {}) as run:
        raise KeyError("training broke")
    assert run.client.get_run(run.run_id).info.status == "FAILED"


def test_an_unknown_run_is_an_error(registry):
    with pytest.raises(ReleaseError, match="no MLflow run 'nowhere'"), registry.resume("nowhere"):
        pass


def test_all_files_are_below_home(registry, tmp_path, monkeypatch, publish):
    monkeypatch.chdir(tmp_path)
    publish("homely")
    assert not (tmp_path / "mlruns").exists()
    assert list((registry.settings.artifact_root / "homely").rglob("arrays.safetensors"))


def test_round_trip_publish_promote_promote_rollback(registry, publish):
    first, second = publish("round"), publish("round")
    assert [v.number for v in registry.versions("round")] == [2, 1]
    assert (first.model, first.tags["cut"], registry.champion("round")) == ("popularity", "x", None)
    registry.promote("round", first.number, {"why": "first"})
    champion = registry.promote("round", second.number, {"why": "better"})
    assert champion.aliases == ("champion",)
    assert champion.tags["gate_record"] == '{"why": "better"}'
    assert registry.version("round", 1).aliases == ("previous",)
    path = registry.pointer_file("round")
    pointer = read_pointer(path)
    assert pointer is not None
    assert (pointer.version, pointer.bundle, pointer.earlier) == (2, "round/2", (1,))
    assert fingerprint(pointer.bundle_folder(path)) == second.tags["bundle_sha256"]
    back = registry.rollback("round")
    assert (back.number, back.aliases) == (1, ("champion",))
    assert registry.version("round", 2).aliases == ()
    assert registry.version_url(back).endswith("/#/models/tradewind-round/versions/1")


def test_a_second_rollback_goes_further_back_and_never_forward(registry, publish):
    for _ in range(3):
        registry.promote("deep", publish("deep").number, {})
    assert [registry.rollback("deep").number for _ in range(2)] == [2, 1]
    with pytest.raises(ReleaseError, match="tradewind-deep cannot be rolled back: version 1 serves, and no earlier"):
        registry.rollback("deep")


def test_a_rollback_without_an_earlier_champion_is_an_error(registry, publish):
    with pytest.raises(ReleaseError, match="tradewind-fresh cannot be rolled back: no version serves"):
        registry.rollback("fresh")
    registry.promote("fresh", publish("fresh").number, {})
    with pytest.raises(ReleaseError, match="version 1 serves, and no earlier champion is left; promote"):
        registry.rollback("fresh")


def test_an_unknown_version_is_an_error_that_names_the_existing_ones(registry, publish):
    with pytest.raises(ReleaseError, match=r"^no version 7 of tradewind-known; no version is published$"):
        registry.version("known", 7)
    publish("known"), publish("known")
    with pytest.raises(ReleaseError, match=r"^no version 7 of tradewind-known; existing versions: 1, 2$"):
        registry.promote("known", 7, {})
    assert read_pointer(registry.pointer_file("known")) is None


def test_promoting_the_champion_again_changes_only_the_time(registry, publish):
    registry.promote("twice", publish("twice").number, {})
    registry.promote("twice", publish("twice").number, {})
    registry.promote("twice", 2, {})
    assert registry.rollback("twice").number == 1


def test_a_bundle_that_was_changed_in_the_store_is_an_error(registry, publish):
    version = publish("forged")
    stored = next((registry.settings.artifact_root / "forged").rglob("arrays.safetensors"))
    stored.write_bytes(stored.read_bytes()[:-1] + b"!")
    with pytest.raises(BundleError, match=r"arrays\.safetensors was changed"):
        registry.promote("forged", version.number, {})
    assert read_pointer(registry.pointer_file("forged")) is None
    assert registry.champion("forged") is None


def test_a_damaged_released_bundle_is_downloaded_again(registry, publish):
    version = publish("repaired")
    registry.promote("repaired", version.number, {})
    released = registry.settings.champions / "repaired" / "1"
    (released / "arrays.safetensors").write_bytes(b"")
    registry.promote("repaired", version.number, {})
    assert registry.download_bundle(version, released.with_name("copy")).is_dir()
    assert fingerprint(released) == version.tags["bundle_sha256"]
    assert (released / "arrays.safetensors").stat().st_size


def test_a_damaged_context_of_a_released_bundle_is_downloaded_again(registry, publish):
    version = publish("context")
    registry.promote("context", version.number, {})
    (path,) = (registry.settings.champions / "context" / "1" / "contexts").iterdir()
    path.unlink()
    registry.promote("context", version.number, {})
    assert path.is_file()


def test_a_bundle_without_its_context_is_not_published(registry, market, tmp_path):
    folder = Popularity().fit(market.log()).save(tmp_path / "b", shared_context=True)
    with registry.run("alone", "x", {}, {}) as run, pytest.raises(BundleError, match="lacks its context"):
        registry.publish("alone", folder, run.run_id, {})
    assert registry.versions("alone") == []


def test_a_damaged_bundle_is_not_published(registry, market, tmp_path):
    folder = market.bundle(tmp_path / "b")
    (folder / "arrays.safetensors").unlink()
    with registry.run("whole", "x", {}, {}) as run, pytest.raises(BundleError, match="lacks arrays"):
        registry.publish("whole", folder, run.run_id, {})
    assert registry.versions("whole") == []


@pytest.mark.parametrize("step", PROMOTE_STEPS)
def test_after_a_crash_in_any_step_the_old_champion_serves_and_a_second_try_completes(
    registry, publish, step, monkeypatch
):
    dataset = f"crash{step.replace('_', '')}"
    registry.promote(dataset, publish(dataset).number, {})
    registry.promote(dataset, publish(dataset).number, {})
    publish(dataset)
    for act, before, after in (
        (lambda: registry.promote(dataset, 3, {}), 2, 3),
        (lambda: registry.rollback(dataset), 3, 2),
    ):
        with monkeypatch.context() as broken:
            broken.setattr(releases if step == "write_pointer" else Registry, step, crash)
            with pytest.raises(OSError, match="power cut"):
                act()
        pointer = read_pointer(registry.pointer_file(dataset))
        assert pointer is not None
        assert pointer.version == before
        assert act().number == after
        assert registry.champion(dataset).number == after


def crash(*_: object) -> None:
    raise OSError("power cut")


def test_a_promotion_replaces_a_damaged_pointer_and_keeps_the_history(registry, publish):
    registry.promote("broken", publish("broken").number, {})
    registry.pointer_file("broken").write_text("{")
    registry.promote("broken", publish("broken").number, {})
    assert registry.rollback("broken").number == 1


def test_tags_are_added(registry, publish):
    assert registry.set_tags(publish("tags"), {"shadow": "yes"}).tags["shadow"] == "yes"


@pytest.mark.slow
def test_processes_that_start_together_share_one_store(tmp_path):
    code = (
        "import sys; from pathlib import Path; from serving.release.registry import Registry\n"
        "from serving.settings import ServingSettings\n"
        "registry = Registry(ServingSettings(home=Path(sys.argv[1])))\n"
        "with registry.run('race', 'x', {}, {}): pass\n"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "home")]
    racers = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True, cwd=tmp_path) for _ in range(2)]
    errors = [racer.communicate(timeout=120)[1] for racer in racers]
    assert [racer.returncode for racer in racers] == [0, 0], errors
    assert not list(Path(tmp_path).glob("mlruns"))


def test_importing_the_registry_does_not_import_mlflow():
    code = "import serving.release.registry, sys; assert 'mlflow' not in sys.modules and 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


class TestDeletedOrDamaged:
    """After any manual change in MLflow or on the disk, one line reports it, and the next release works."""

    def reconcile_once(self, registry: Registry, dataset: str) -> str:
        """The single line that reconcile() returns."""
        (line,) = registry.reconcile(dataset)
        return line

    def artifacts(self, registry: Registry, version: Version) -> Path:
        found = list((registry.settings.artifact_root / version.dataset).rglob(version.tags["bundle_path"]))
        (folder,) = [path for path in found if version.run_id in str(path)]
        return folder

    def test_the_champion_is_deleted_in_mlflow(self, registry, publish):
        for _ in range(2):
            registry.promote("deleted", publish("deleted").number, {})
        registry._client.delete_model_version("tradewind-deleted", "2")
        champion = registry.champion("deleted")
        assert (champion.number, champion.tags["data_version"]) == (2, "")  # from its bundle
        assert registry.pointer("deleted").version == 2
        assert registry.promote("deleted", publish("deleted").number, {}).number == 3
        assert registry.pointer("deleted").earlier == (1,)
        assert registry.aliases("deleted") == {"champion": 3, "previous": 1}
        registry._client.delete_model_version("tradewind-deleted", "3")
        assert registry.rollback("deleted").number == 1
        assert registry.reconcile("deleted") == []

    def test_the_whole_model_is_deleted_in_mlflow_and_numbers_restart(self, registry, publish, market, tmp_path):
        registry.promote("restarted", publish("restarted").number, {})
        registry._client.delete_registered_model("tradewind-restarted")
        assert "it is no longer in the registry" in self.reconcile_once(registry, "restarted")
        with registry.run("restarted", "training", {}, {}) as run:
            again = registry.publish("restarted", market.bundle(tmp_path / "b", 5), run.run_id, {})
        assert again.number == registry.pointer("restarted").version == 1  # another version of the same number
        assert registry.promote("restarted", 1, {}).aliases == ("champion",)
        assert registry.pointer("restarted").bundle_sha256 == again.tags["bundle_sha256"]
        assert registry.pointer("restarted").earlier == ()
        assert registry.reconcile("restarted") == []

    def test_a_promotion_without_its_files_is_an_error_of_one_line(self, registry, publish):
        registry.promote("filed", publish("filed").number, {})
        second = publish("filed")
        shutil.rmtree(self.artifacts(registry, second))
        with pytest.raises(ReleaseError, match="bundle of version 2 of tradewind-filed cannot be downloaded") as caught:
            registry.promote("filed", 2, {})
        assert "\n" not in str(caught.value)
        assert registry.pointer("filed").version == 1
        assert registry.reconcile("filed") == []

    def test_a_rollback_skips_versions_that_cannot_be_loaded(self, registry, publish, caplog):
        versions = [publish("past") for _ in range(3)]
        for version in versions:
            registry.promote("past", version.number, {})
        shutil.rmtree(self.artifacts(registry, versions[1]))
        shutil.rmtree(registry.settings.champions / "past" / "2")
        assert registry.rollback("past").number == 1
        assert "version 2 of tradewind-past is skipped" in caplog.text
        assert registry.aliases("past") == {"champion": 1}

    def test_a_rollback_without_a_loadable_version_changes_nothing(self, registry, publish):
        versions = [publish("stuck") for _ in range(2)]
        for version in versions:
            registry.promote("stuck", version.number, {})
        shutil.rmtree(self.artifacts(registry, versions[0]))
        shutil.rmtree(registry.settings.champions / "stuck" / "1")
        with pytest.raises(ReleaseError, match="no earlier champion can be loaded"):
            registry.rollback("stuck")
        assert registry.pointer("stuck").version == 2
        assert "rolled_back_at" not in registry.version("stuck", 2).tags

    def test_the_folder_of_champions_is_damaged(self, registry, publish):
        version = publish("damaged")
        registry.promote("damaged", version.number, {})
        (registry.settings.champions / "damaged" / "1" / "arrays.safetensors").write_bytes(b"")
        assert "version 1 of tradewind-damaged was damaged and was downloaded again" in self.reconcile_once(
            registry, "damaged"
        )
        assert fingerprint(registry.settings.champions / "damaged" / "1") == version.tags["bundle_sha256"]
        assert registry.reconcile("damaged") == []

    @pytest.mark.parametrize("earlier", [True, False])
    def test_the_champion_is_lost_in_mlflow_and_on_disk(self, registry, publish, earlier):
        name = f"lost{earlier}".lower()
        versions = [publish(name) for _ in range(1 + earlier)]
        for version in versions:
            registry.promote(name, version.number, {})
        shutil.rmtree(self.artifacts(registry, versions[-1]))
        shutil.rmtree(registry.settings.champions / name / str(versions[-1].number))
        line = registry.reconcile(name)[0]
        assert ("version 1 serves" if earlier else "no version serves until one is promoted") in line
        assert (registry.champion(name) is not None) is earlier
        assert registry.promote(name, publish(name).number, {}).aliases == ("champion",)

    @pytest.mark.parametrize("damage", ["unlink", "write_text"])
    def test_the_pointer_file_is_gone_or_damaged(self, registry, publish, damage):
        name = f"pointless{damage.replace('_', '')}"
        for _ in range(2):
            registry.promote(name, publish(name).number, {})
        getattr(registry.pointer_file(name), damage)(*(["{"] if damage == "write_text" else []))
        assert self.reconcile_once(registry, name).endswith("version 2 serves")
        assert registry.pointer(name).earlier == (1,)
        assert registry.reconcile(name) == []

    def test_aliases_are_missing_or_moved(self, registry, publish):
        for _ in range(2):
            registry.promote("moved", publish("moved").number, {})
        registry.set_alias("moved", "champion", 1)
        registry.set_alias("moved", "previous", None)
        assert registry.champion("moved").number == 2  # the pointer wins
        assert "champion: 2, previous: 1" in self.reconcile_once(registry, "moved")
        assert registry.aliases("moved") == {"champion": 2, "previous": 1}

    def test_a_version_that_another_program_registered_is_an_error_of_one_line(self, registry, publish):
        version = publish("foreign")
        made = registry._client.create_model_version("tradewind-foreign", version.run_id, version.run_id)
        with pytest.raises(ReleaseError, match="was not published by tradewind"):
            registry.promote("foreign", int(made.version), {})


def test_a_pin_lasts_until_it_is_removed_or_a_person_promotes(registry, publish):
    with pytest.raises(ReleaseError, match="cannot be pinned: no version serves yet"):
        registry.pin("pinned", 1)
    for _ in range(2):
        registry.promote("pinned", publish("pinned").number, {})
    with pytest.raises(ReleaseError, match="version 1 of pinned cannot be pinned: version 2 serves; promote it first"):
        registry.pin("pinned", 1)
    registry.pin("pinned", 2)
    registry.pin("pinned", 2)
    decision = Decision(True, ("it is better",), {"promote": True, "reasons": ["it is better"]})
    serving, promoted, reasons = release(registry, publish("pinned"), decision)
    assert (serving.number, promoted) == (2, False)
    assert "version 2 is pinned" in reasons[-1]
    assert json.loads(registry.version("pinned", 3).tags["gate_record"])["promote"]  # a person may promote it
    assert registry.pin("pinned", None).pinned
    assert release(registry, registry.version("pinned", 3), decision)[1]
    registry.pin("pinned", 3)
    registry.rollback("pinned")
    assert not registry.pointer("pinned").pinned


def test_a_rollback_is_marked_until_the_recipe_is_promoted_again(registry, publish):
    for recipe in ("one", "two", "two"):
        version = registry.set_tags(publish("marked"), {"recipe": recipe})
        if version.number < 3:
            registry.promote("marked", version.number, {})
    registry.rollback("marked")
    assert registry.version("marked", 2).tags["rolled_back_at"]
    assert not registry.version("marked", 1).tags.get("rolled_back_at")
    registry.promote("marked", 3, {})
    assert not registry.version("marked", 2).tags["rolled_back_at"]


def test_the_first_use_of_a_registry_can_be_the_page_of_a_data_set(registry):
    """The client, which its first use makes, takes the lock that protects the store, too."""
    again = Registry(registry.settings)
    assert again.experiment_url("first use").endswith("/runs?workflowType=machine_learning")
