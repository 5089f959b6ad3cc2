"""Downloads the files of a data set from their publisher into a folder, after the user agreed to the terms.

Every file is checked before it gets its final name. `.fetched` in the folder records the origin of each file, so that a
second call does nothing. If the publisher cannot be reached, the error lists the manual steps.
"""

import hashlib
import json
import re
import shlex
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import httpx

from recommenders.datasets.downloads.archive import check_gzip, unpack
from recommenders.datasets.downloads.publications import PUBLICATIONS, Download, downloads, publication, variants
from recommenders.datasets.downloads.transfer import NoRoomError, Part, RetryPolicy, TransferError, reason, transfer
from recommenders.errors import ConfigurationError, DataError
from recommenders.storage.atomic_files import atomic_file, sha256

RECEIPT = ".fetched"
Report = Callable[[str], None]
Confirm = Callable[[str], bool]


@dataclass(frozen=True)
class Outcome:
    """The result for one data set. `error` is the message if it failed."""

    dataset: str
    done: Literal["fetched", "already there", "made here", "failed"]
    folder: str = ""
    files: tuple[str, ...] = ()
    error: str = ""

    def to_json(self) -> dict[str, Any]:
        """The fields as plain values, for --json."""
        return asdict(self)


def fetch(
    name: str,
    variant: str,
    folder: Path,
    confirm: Confirm,
    report: Report,
    plan: Sequence[Download] | None = None,
    retry: RetryPolicy | None = None,
) -> Outcome:
    """Downloads the files of a data set's variant ("" is its default) into `folder`, unless they are already there.

    The terms are reported and `confirm` is called before the first byte. A zip that is already in the folder is checked
    and unpacked, not downloaded. `plan` replaces the declared downloads. Raises UnknownNameError for an unknown name or
    variant; DataError with the manual steps if the publisher cannot be reached or requires a login; DataError if the
    terms are refused, a check fails, or the folder has files of another origin.
    """
    wanted = downloads(name, variant) if plan is None else plan
    if not wanted:
        report(f"{name} is made by this project: nothing to download; tradewind run --dataset {name}")
        return Outcome(name, "made here")
    folder = folder.expanduser().resolve()
    folder.mkdir(parents=True, exist_ok=True)
    files = tuple(file for download in wanted for file in download.files)
    missing = [download for download in wanted if not _is_complete(download, folder, report)]
    if not missing:
        report(f"{name}: already there in {folder}; nothing to do")
        return Outcome(name, "already there", str(folder), files)
    remote = [download for download in missing if not _archive_is_present(download, folder)]
    _refuse_login(remote, folder)
    _agree(name, remote, confirm, report)
    for place, download in enumerate(missing):
        _download(download, missing[place:], folder, report, retry or RetryPolicy())
    next_step = f"tradewind data describe {name} --source {shlex.quote(str(folder))}"
    report(f"{name}: {', '.join(files)} in {folder}; next: {next_step}")
    return Outcome(name, "fetched", str(folder), files)


def fetch_all(
    root: Path,
    confirm: Confirm,
    report: Report,
    plans: Mapping[str, Sequence[Download]] | None = None,
    retry: RetryPolicy | None = None,
) -> list[Outcome]:
    """Fetches each data set in its default variant into its own folder below `root`; a failure does not stop others."""
    outcomes = []
    for name in PUBLICATIONS if plans is None else plans:
        plan = None if plans is None else plans[name]
        try:
            outcomes.append(fetch(name, "", folder_of(root, name, ""), confirm, report, plan, retry))
        except (DataError, OSError) as error:
            report(str(error))
            outcomes.append(Outcome(name, "failed", error=str(error)))
    return outcomes


def folder_of(root: Path, name: str, variant: str) -> Path:
    """The default folder of a variant: root/NAME, with the variant below it if there are several."""
    several = len(list(variants(name))) > 1
    return root / name / (variant or publication(name).default).replace(":", "-") if several else root / name


def consent(yes: bool, is_terminal: bool, ask: Confirm) -> Confirm:
    """A function that agrees to the terms: by --yes, or by a question. Raises ConfigurationError without a terminal."""

    def agree(question: str) -> bool:
        if not yes and not is_terminal:
            fix = "read them above and pass --yes, or run this in a terminal"
            raise ConfigurationError(f"data fetch: the terms need consent and there is no terminal to ask on; {fix}")
        return yes or ask(question)

    return agree


def _agree(name: str, remote: Sequence[Download], confirm: Confirm, report: Report) -> None:
    if not remote:
        return
    terms = publication(name)
    report(f"{name}: {terms.page}\n{terms.terms}")
    sizes = [download.n_bytes for download in remote if download.n_bytes]
    size = f" ({sum(sizes) / 1e6:,.1f} MB)" if len(sizes) == len(remote) else ""
    files = ", ".join(download.file for download in remote)
    host = httpx.URL(remote[0].url).host
    if not confirm(f"Do you agree, and shall {files}{size} be downloaded from {host}?"):
        raise DataError(f"{name}: the terms were not agreed to, so nothing was downloaded; answer yes, or pass --yes")


def _download(download: Download, left: Sequence[Download], folder: Path, report: Report, retry: RetryPolicy) -> None:
    """Downloads one file unless its zip is already there, checks it, moves it into place, and records its origin."""
    archive = folder / download.file
    if _archive_is_present(download, folder):
        report(f"{archive} is already there and is not downloaded")
        _check(download, archive, report, retry)
        unpack(archive, download.members, folder)
    else:
        try:
            part = transfer(download.url, archive, report, retry)
        except TransferError as error:
            raise DataError(f"{download.dataset}: {error}; {manual_steps(left, folder)}") from error
        _check_and_place(download, part, folder, report, retry)
    _write_receipt(download, folder)


def _check_and_place(download: Download, part: Part, folder: Path, report: Report, retry: RetryPolicy) -> None:
    """Checks a finished download and moves it into place; removes it if a check fails."""
    try:
        _check(download, part.path, report, retry)
        if download.members:
            unpack(part.path, download.members, folder)
        else:
            part.path.replace(part.target)
    except NoRoomError:
        raise  # the download is good; it is kept until there is space
    except DataError:
        part.discard()
        raise
    part.discard()


def _check(download: Download, path: Path, report: Report, retry: RetryPolicy) -> None:
    """Raises DataError unless the file has the known size and checksum, and a gzip file a correct CRC."""
    size = path.stat().st_size
    if download.n_bytes not in (None, size):
        raise DataError(f"{path} has {size} bytes; expected {download.n_bytes}; fetch it again, or see {download.url}")
    checksum = download.checksum or _published_checksum(download, report, retry)
    if checksum:
        kind, _, expected = checksum.partition(":")
        with path.open("rb") as file:
            got = hashlib.file_digest(file, kind).hexdigest()
        if got != expected:
            fix = "it is damaged or was changed by the publisher; fetch it again"
            raise DataError(f"{path} has the {kind} {got}; expected {expected}; {fix}")
    else:
        report(f"{download.file}: no checksum is published; its length and the CRCs inside it are checked")
    if download.file.endswith(".gz"):
        check_gzip(path)


def _published_checksum(download: Download, report: Report, retry: RetryPolicy) -> str:
    """The checksum in the publisher's .md5 file; "" if there is none, with a report if it cannot be read."""
    if not download.checksum_url:
        return ""
    try:
        answer = httpx.get(download.checksum_url, timeout=retry.timeout, follow_redirects=True)
        found = re.search(r"\b[0-9a-f]{32}\b", answer.raise_for_status().text.lower())
    except httpx.HTTPError as error:
        report(f"{download.checksum_url} cannot be read: {reason(error)}")
        return ""
    return f"md5:{found[0]}" if found else ""


def manual_steps(missing: Iterable[Download], folder: Path) -> str:
    """The manual steps as text: the files to download, their place, and the next command."""
    steps, again, name = [], False, ""
    for download in missing:
        name, again = download.dataset, again or bool(download.members)
        steps.append(f"download {download.url} as {folder / download.file}")
        if download.members and not any(member.convert for member in download.members):
            steps[-1] += f" (or unpack {', '.join(download.files)} into {folder} yourself)"
    quoted = shlex.quote(str(folder))
    variant = f" --variant {download.variant}" if len(list(variants(name))) > 1 else ""
    unpacking = f", then tradewind data fetch {name}{variant} --to {quoted} unpacks it" if again else ""
    return f"manual steps: {' and '.join(steps)}{unpacking}; then tradewind data describe {name} --source {quoted}"


def _archive_is_present(download: Download, folder: Path) -> bool:
    """Whether the folder has the zip, for example from a manual download. Files without a zip: see _is_complete."""
    return bool(download.members) and (folder / download.file).is_file()


def _refuse_login(remote: Sequence[Download], folder: Path) -> None:
    for download in remote:
        if download.login:
            problem = f"{download.dataset}: {download.login} requires a login, which this command does not have"
            raise DataError(f"{problem}; {manual_steps(remote, folder)}")


def _is_complete(download: Download, folder: Path, report: Report) -> bool:
    """Whether all its files are in the folder and unchanged. Raises DataError if files of another origin are there."""
    receipt = _receipt(folder)
    present = [file for file in download.files if (folder / file).is_file()]
    foreign = [file for file in present if receipt.get(file, {}).get("url") != download.url]
    if foreign and len(present) == len(download.files) and not any(file in receipt for file in foreign):
        report(f"{', '.join(foreign)} in {folder} have another origin; they are kept and not checked")
        return True
    if foreign:
        what = f"{folder} has {', '.join(foreign)} of another origin, not from {download.url}"
        raise DataError(f"{download.dataset}: {what}; move them away, or choose another folder with --to")
    changed = [file for file in present if receipt[file]["sha256"] != sha256(folder / file)]
    if changed:
        report(f"{', '.join(changed)} in {folder} changed since the download; downloading again")
    return len(present) == len(download.files) and not changed


def _receipt(folder: Path) -> dict[str, dict[str, str]]:
    """file -> {"url", "sha256"} of the files that this command wrote into the folder."""
    path = folder / RECEIPT
    try:
        entries: dict[str, dict[str, str]] = json.loads(path.read_text()) if path.is_file() else {}
    except json.JSONDecodeError as error:
        raise DataError(f"{path} is damaged: {error}; delete it and the downloaded files") from error
    return entries


def _write_receipt(download: Download, folder: Path) -> None:
    entries = {file: {"url": download.url, "sha256": sha256(folder / file)} for file in download.files}
    with atomic_file(folder / RECEIPT) as staging:
        staging.write_text(json.dumps(_receipt(folder) | entries, indent=2))
