"""`tradewind data`: the data sets, the profile of one, and the versions of its tables; one command a file."""

import typer

from orchestration.cli.data import daily_files, describe, fetch, listing, make, restore, versions

app = typer.Typer(
    help="Data sets: list, download, simulate, profile, write day by day; list and restore versions.",
    no_args_is_help=True,
)
app.command("list")(listing.list_datasets)
app.command("describe")(describe.describe)
app.command("daily-files")(daily_files.daily_files)
for former in ("replay", "feed"):
    app.command(former, hidden=True, context_settings={"ignore_unknown_options": True, "allow_extra_args": True})(
        daily_files.former_name
    )
app.command("fetch")(fetch.fetch)
app.command("make")(make.make)
app.command("versions")(versions.versions)
app.command("restore")(restore.restore)
