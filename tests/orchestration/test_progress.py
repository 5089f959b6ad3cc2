"""The lines that a run prints."""

import dagster as dg
import pytest

from orchestration.assets.metadata import APPLICABLE
from orchestration.progress import console

ERROR, WARN = dg.AssetCheckSeverity.ERROR, dg.AssetCheckSeverity.WARN


@dg.asset
def stock() -> int:
    return 3


def check(name: str, **found: object) -> dg.AssetChecksDefinition:
    @dg.asset_check(asset=stock, name=name)
    def result(stock: int) -> dg.AssetCheckResult:
        return dg.AssetCheckResult(description=f"{stock} of 9 [rows]", **found)  # type: ignore[arg-type]

    return result


def test_only_a_check_that_applied_and_passed_gets_a_tick(capsys: pytest.CaptureFixture[str]) -> None:
    checks = [
        check("holds", passed=True),
        check("warns", passed=False, severity=WARN),
        check("fails", passed=False, severity=ERROR),
        check("idle", passed=True, metadata={APPLICABLE: False}),
    ]
    defs = dg.Definitions([stock], asset_checks=checks, jobs=[dg.define_asset_job("all")], loggers={"console": console})
    defs.resolve_job_def("all").execute_in_process(run_config={"loggers": {"console": {}}})
    lines = [line.split() for line in capsys.readouterr().err.splitlines()]
    printed = {words[words.index("s") - 2]: (words[0], " ".join(words[words.index("s") + 1 :])) for words in lines}
    why = "3 of 9 [rows]"
    assert printed == {
        "stock": ("✓", ""),
        "holds": ("✓", ""),
        "warns": ("!", why),
        "fails": ("✗", why),
        "idle": ("-", why),
    }
