"""`tradewind data versions`: the versions of the tables of a data set."""

import json

from orchestration.cli.options import AsJson, DatasetName, settings_without_source


def versions(
    name: DatasetName,
    as_json: AsJson = False,
) -> None:
    """List all versions of a data set's tables, newest first."""
    found = settings_without_source(name).tables.versions()
    rows = [
        {
            "version": version.number,
            "created": version.created.isoformat(timespec="seconds"),
            "data_version": version.data_version,
            "rows": version.counts.kept,
            "quarantined": version.counts.quarantined,
            "files": len(version.files),
            "restored_from": version.restored_from,
        }
        for version in found
    ]
    if as_json:
        print(json.dumps(rows))
        return
    for row in rows:
        note = "" if row["restored_from"] is None else f"  restored from {row['restored_from']}"
        print(f"{row['version']:>4}  {row['created']}  {row['data_version']}  {row['rows']:>10} rows{note}")
