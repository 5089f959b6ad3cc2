"""The progress of a run on the terminal: one line per step with its seconds, and errors and warnings."""

import logging
import sys
import time

import dagster as dg
from dagster import AssetCheckEvaluation, DagsterEventType
from rich.console import Console
from rich.markup import escape

from orchestration.assets.metadata import APPLICABLE, PROGRESS

DONE, FAILED, WARNING = "[green]✓[/]", "[red]✗[/]", "[yellow]![/]"
NOT_APPLICABLE = "[dim]-[/]"


class StepLines(logging.Handler):
    """Prints a run's events as lines for people; the whole log is in Dagster's pages."""

    def __init__(self) -> None:
        super().__init__()
        self._console = Console(stderr=True, highlight=False, soft_wrap=True)
        self._status = self._console.status("") if sys.stderr.isatty() else None
        self._started: dict[str, float] = {}
        self._checked: dict[str, AssetCheckEvaluation] = {}  # by step: the result of its check

    def emit(self, record: logging.LogRecord) -> None:
        """Prints one line for a step that ended, a warning, a failure, or the progress within a step."""
        event = getattr(record, "dagster_event", None)
        if event is None:
            message = str(getattr(record, "dagster_meta", {}).get("orig_message", record.msg))
            if record.levelno >= logging.WARNING:
                self._console.print(f"  {WARNING} {escape(message)}")
            elif message.startswith(PROGRESS):
                self._console.print(f"    {escape(message.removeprefix(PROGRESS))}")
        elif event.event_type == DagsterEventType.STEP_START:
            self._begin(event.step_key)
        elif event.event_type == DagsterEventType.ASSET_CHECK_EVALUATION:
            self._checked[event.step_key] = event.asset_check_evaluation_data
        elif event.event_type == DagsterEventType.STEP_SUCCESS:
            self._end(event.step_key, DONE)
        elif event.event_type == DagsterEventType.STEP_FAILURE:
            self._end(event.step_key, FAILED)

    def _begin(self, step: str) -> None:
        self._started[step] = time.perf_counter()
        if self._status:
            self._status.update(f"  {step} ...")
            self._status.start()

    def _end(self, step: str, mark: str) -> None:
        if self._status:
            self._status.stop()
        seconds = time.perf_counter() - self._started.get(step, time.perf_counter())
        name, why = step, ""
        if found := self._checked.pop(step, None):
            name, mark = f"check {found.check_name}", mark_of(found)
            why = "" if mark == DONE else f"  {escape(str(found.description))}"
        self._console.print(f"  {mark} {name:<42} {seconds:6.1f} s{why}")


def mark_of(found: AssetCheckEvaluation) -> str:
    """The mark of a check: a green tick only if it applied and passed."""
    if not found.passed:
        return WARNING if found.severity is dg.AssetCheckSeverity.WARN else FAILED
    applicable = found.metadata.get(APPLICABLE)
    return NOT_APPLICABLE if applicable is not None and not applicable.value else DONE


@dg.logger({"quiet": dg.Field(bool, default_value=False)}, description="One line per step on standard error.")
def console(context: dg.InitLoggerContext) -> logging.Logger:
    """The logger of a run; a new one each time, so that two runs in one process do not print twice."""
    logger = logging.Logger("tradewind.run", logging.DEBUG)  # Dagster logs steps at this level
    logger.addHandler(logging.NullHandler() if context.logger_config["quiet"] else StepLines())
    return logger
