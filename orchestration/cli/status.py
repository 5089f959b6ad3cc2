"""`tradewind status`: the platform as it is now."""

import json

from orchestration.cli.options import AsJson, Dataset, settings_without_source


def status(dataset: Dataset = None, as_json: AsJson = False) -> None:
    """Show the champion, the last runs, the services that answer, and the alerts."""
    from orchestration.launcher.console import print_status, status_of

    settings = settings_without_source(dataset)
    found = status_of(settings)
    if as_json:
        print(json.dumps(found))
    else:
        print_status(found)
