"""A data set's files from their publisher into a folder, after the person agreed to its terms.

Every file is checked before it appears under its name; `.fetched` in the folder remembers what each came from, so
that a second call does nothing. Where the publisher cannot be reached, the error says how to do it by hand.
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
from recommenders.datasets.downloads.transfer import NoRoomError, Part, Patience, TransferError, reason, transfer
from recommenders.errors import ConfigurationError, DataError
from recommenders.storage.files import atomic_file, sha256

RECEIPT = ".fetched"
Report = Callable[[str], None]
Confirm = Callable[[str], bool]


@dataclass(frozen=True)
class Outcome:
    """What became of one data set. `error` is its line if it failed."""

    dataset: str
    done: Literal["fetched", "already there", "made here", "failed"]
    folder: str = ""
    files: tuple[str, ...] = ()
    error: str = ""

    def to_json(self) -> dict[str, Any]:
        """For --json."""
        return asdict(self)


def fetch(
    name: str,
    variant: str,
    folder: Path,
    confirm: Confirm,
    report: Report,
    plan: Sequence[Download] | None = None,
    patience: Patience | None = None,
) -> Outcome:
    """Puts the files of a data set's variant ("" is its default) into `folder`, unless the same ones lie there.

    The terms are reported and `confirm` is asked before the first byte. A zip that lies in the folder already is
    checked and unpacked instead of downloaded. `plan` stands in for the declared downloads. Raises UnknownNameError
    for a name or variant, DataError with the steps by hand if the publisher cannot be reached or wants a login, and
    DataError if the terms are declined, a check fails, or files that came from elsewhere are in the way.
    """
    wanted = downloads(name, variant) if plan is None else plan
    if not wanted:
        report(f"{name} is made by this project: nothing to fetch; tradewind run --dataset {name}")
        return Outcome(name, "made here")
    folder = folder.expanduser().resolve()
    folder.mkdir(parents=True, exist_ok=True)
    files = tuple(file for download in wanted for file in download.files)
    missing = [download for download in wanted if not _is_there(download, folder, report)]
    if not missing:
        report(f"{name}: already there in {folder}; nothing to do")
        return Outcome(name, "already there", str(folder), files)
    remote = [download for download in missing if not _is_at_hand(download, folder)]
    _refuse_login(remote, folder)
    _agree(name, remote, confirm, report)
    for place, download in enumerate(missing):
        _obtain(download, missing[place:], folder, report, patience or Patience())
    next_step = f"tradewind data describe {name} --source {shlex.quote(str(folder))}"
    report(f"{name}: {', '.join(files)} in {folder}; next: {next_step}")
    return Outcome(name, "fetched", str(folder), files)


def fetch_all(
    root: Path,
    confirm: Confirm,
    report: Report,
    plans: Mapping[str, Sequence[Download]] | None = None,
    patience: Patience | None = None,
) -> list[Outcome]:
    """Each data set in its default variant, each into its own folder below `root`; one that fails stops no other."""
    outcomes = []
    for name in PUBLICATIONS if plans is None else plans:
        plan = None if plans is None else plans[name]
        try:
            outcomes.append(fetch(name, "", folder_of(root, name, ""), confirm, report, plan, patience))
        except (DataError, OSError) as error:
            report(str(error))
            outcomes.append(Outcome(name, "failed", error=str(error)))
    return outcomes


def folder_of(root: Path, name: str, variant: str) -> Path:
    """Where a variant goes if no folder is named: root/NAME, with the variant below if there are several."""
    several = len(list(variants(name))) > 1
    return root / name / (variant or publication(name).default).replace(":", "-") if several else root / name


def consent(yes: bool, is_terminal: bool, ask: Confirm) -> Confirm:
    """How the terms are agreed to: by --yes, or by a person who is asked. A pipe cannot agree: ConfigurationError."""

    def agree(question: str) -> bool:
        if not yes and not is_terminal:
            fix = "read them above and say --yes, or run this in a terminal"
            raise ConfigurationError(f"data fetch: the terms need a yes and there is no terminal to ask on; {fix}")
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
        raise DataError(f"{name}: the terms were not agreed to, so nothing was downloaded; say yes, or --yes")


def _obtain(download: Download, left: Sequence[Download], folder: Path, report: Report, patience: Patience) -> None:
    """One download: transferred unless it is at hand, checked, put in place, and written down."""
    at_hand = folder / download.file
    if _is_at_hand(download, folder):
        report(f"{at_hand} is at hand and is not downloaded")
        _check(download, at_hand, report, patience)
        unpack(at_hand, download.members, folder)
    else:
        try:
            part = transfer(download.url, at_hand, report, patience)
        except TransferError as error:
            raise DataError(f"{download.dataset}: {error}; {by_hand(left, folder)}") from error
        _settle(download, part, folder, report, patience)
    _write_receipt(download, folder)


def _settle(download: Download, part: Part, folder: Path, report: Report, patience: Patience) -> None:
    """What was transferred, checked and in its place; forgotten if it is not what it should be."""
    try:
        _check(download, part.path, report, patience)
        if download.members:
            unpack(part.path, download.members, folder)
        else:
            part.path.replace(part.target)
    except NoRoomError:
        raise  # the bytes are good: they wait for room
    except DataError:
        part.forget()
        raise
    part.forget()


def _check(download: Download, path: Path, report: Report, patience: Patience) -> None:
    """Raises DataError unless the file has the size and the checksum that are known, and a gzip its own CRC."""
    size = path.stat().st_size
    if download.n_bytes not in (None, size):
        raise DataError(f"{path} has {size} bytes; expected {download.n_bytes}; fetch it again, or see {download.url}")
    checksum = download.checksum or _published(download, report, patience)
    if checksum:
        kind, _, expected = checksum.partition(":")
        with path.open("rb") as file:
            got = hashlib.file_digest(file, kind).hexdigest()
        if got != expected:
            fix = "it is damaged or was changed by the publisher: fetch it again"
            raise DataError(f"{path} has the {kind} {got}; expected {expected}; {fix}")
    else:
        report(f"{download.file}: no checksum is published; its length and the CRCs inside it are checked")
    if download.file.endswith(".gz"):
        check_gzip(path)


def _published(download: Download, report: Report, patience: Patience) -> str:
    """The checksum in the publisher's .md5 file; "" with a word if there is none to be had."""
    if not download.checksum_url:
        return ""
    try:
        answer = httpx.get(download.checksum_url, timeout=patience.timeout, follow_redirects=True)
        found = re.search(r"\b[0-9a-f]{32}\b", answer.raise_for_status().text.lower())
    except httpx.HTTPError as error:
        report(f"{download.checksum_url} cannot be read: {reason(error)}")
        return ""
    return f"md5:{found[0]}" if found else ""


def by_hand(missing: Iterable[Download], folder: Path) -> str:
    """The steps that need no program: what to download, where to put it, and how to go on."""
    steps, again, name = [], False, ""
    for download in missing:
        name, again = download.dataset, again or bool(download.members)
        steps.append(f"download {download.url} as {folder / download.file}")
        if download.members and not any(member.convert for member in download.members):
            steps[-1] += f" (or unpack {', '.join(download.files)} into {folder} yourself)"
    quoted = shlex.quote(str(folder))
    variant = f" --variant {download.variant}" if len(list(variants(name))) > 1 else ""
    unpacking = f", then tradewind data fetch {name}{variant} --to {quoted} unpacks it" if again else ""
    return f"by hand: {' and '.join(steps)}{unpacking}; then tradewind data describe {name} --source {quoted}"


def _is_at_hand(download: Download, folder: Path) -> bool:
    """Whether its zip lies there, put there by hand. What is no zip is the data itself, and _is_there speaks of it."""
    return bool(download.members) and (folder / download.file).is_file()


def _refuse_login(remote: Sequence[Download], folder: Path) -> None:
    for download in remote:
        if download.login:
            who = f"{download.dataset}: {download.login} wants a login, which this command has not"
            raise DataError(f"{who}; {by_hand(remote, folder)}")


def _is_there(download: Download, folder: Path, report: Report) -> bool:
    """Whether its files are there and are those that were fetched. Raises DataError if others are in the way."""
    receipt = _receipt(folder)
    present = [file for file in download.files if (folder / file).is_file()]
    strangers = [file for file in present if receipt.get(file, {}).get("url") != download.url]
    if strangers and len(present) == len(download.files) and not any(file in receipt for file in strangers):
        report(f"{', '.join(strangers)} in {folder} came from elsewhere and stay as they are, unchecked")
        return True
    if strangers:
        what = f"{folder} holds {', '.join(strangers)} from elsewhere, not from {download.url}"
        raise DataError(f"{download.dataset}: {what}; move them away, or choose another folder with --to")
    changed = [file for file in present if receipt[file]["sha256"] != sha256(folder / file)]
    if changed:
        report(f"{', '.join(changed)} in {folder} changed since it was fetched; fetching it again")
    return len(present) == len(download.files) and not changed


def _receipt(folder: Path) -> dict[str, dict[str, str]]:
    """file -> {"url", "sha256"} of what this command put into the folder."""
    path = folder / RECEIPT
    try:
        held: dict[str, dict[str, str]] = json.loads(path.read_text()) if path.is_file() else {}
    except json.JSONDecodeError as error:
        raise DataError(f"{path} is damaged: {error}; delete it, and the files it should be about") from error
    return held


def _write_receipt(download: Download, folder: Path) -> None:
    ours = {file: {"url": download.url, "sha256": sha256(folder / file)} for file in download.files}
    with atomic_file(folder / RECEIPT) as staging:
        staging.write_text(json.dumps(_receipt(folder) | ours, indent=2))
