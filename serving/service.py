"""The service as BentoML runs it: `bentoml serve serving.service:Tradewind`.

The decorator switches off what costs and is not used, each measured: access log, metrics of its own, tracing.
"""

import os
from pathlib import Path

import bentoml

from serving.application import Application
from serving.settings import ServingSettings

SWAGGER = Path(bentoml.__file__).parent / "_internal" / "server" / "static_content"

application = Application(SWAGGER)


@bentoml.service(
    name="tradewind",
    workers=1,
    traffic={"timeout": 5},  # every request leaves a timer of this length behind
    logging={"access": {"enabled": False}},
    metrics={"enabled": False},
    tracing={"excluded_urls": ".*"},
)
@bentoml.asgi_app(application, path="/")
class Tradewind:
    """One worker: it follows the champion pointer and answers at once, with 503 until a champion is warm."""

    def __init__(self) -> None:
        for library in ("OMP", "OPENBLAS", "MKL"):  # one list is too small a task to share between cores
            os.environ.setdefault(f"{library}_NUM_THREADS", "1")
        from threadpoolctl import threadpool_limits

        from serving.champion_watcher import Live

        settings = ServingSettings()
        self.live = application.live = Live(settings.pointer)
        threadpool_limits(1)  # where a library was loaded before
        self.live.start()

    def __is_ready__(self) -> bool:
        return self.live.current is not None

    @bentoml.on_shutdown  # type: ignore[untyped-decorator]
    def stop(self) -> None:
        """Ends the watch."""
        self.live.stop()
