"""`tradewind data list`: all data sets."""

import json

from orchestration.cli.options import AsJson


def list_datasets(as_json: AsJson = False) -> None:
    """List the data sets, with their licence and the files that --source expects."""
    from orchestration.settings import Settings

    specs = Settings.read().specs.values()
    rows = [{"name": s.name, "title": s.title, "licence": s.licence, "source": s.layout} for s in specs]
    if as_json:
        print(json.dumps(rows))
        return
    for row in rows:
        print(f"{row['name']}\n  {row['title']}\n  source: {row['source']}\n  licence: {row['licence']}")
