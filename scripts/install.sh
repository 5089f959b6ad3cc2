#!/bin/sh
# Creates .venv and installs the packages: `install.sh run` or `install.sh dev`. A stamp file holds a hash of
# pyproject.toml and constraints.txt, so a second call with the same files installs nothing. uv installs if it is on
# PATH. pip installs otherwise, and where uv fails: uv does not read pip's settings, such as the address of a mirror.
set -eu
cd "$(dirname "$0")/.."
want=$1

fail() { echo "tradewind: $*" >&2; exit 2; }

digest() { cat pyproject.toml constraints.txt | { sha256sum 2>/dev/null || shasum -a 256; } | cut -d' ' -f1; }
key=$(digest)
[ "$(cat ".venv/.installed-$want" 2>/dev/null || true)" = "$key" ] && exit 0

fits() { "$1" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null; }
# Debian's python3 has the module venv without ensurepip until python3-venv is installed.
has_venv() { "$1" -c 'import venv, ensurepip' 2>/dev/null; }

if [ ! -x .venv/bin/python ]; then
    python="" found=""
    for candidate in ${PYTHON:-python3.11 python3.12 python3.13 python3 python}; do
        command -v "$candidate" >/dev/null 2>&1 && fits "$candidate" || continue
        found=$candidate
        if has_venv "$candidate"; then python=$candidate; break; fi
    done
    [ -n "$found" ] || fail "no Python 3.11, 3.12 or 3.13 found; install one (Debian: apt-get install python3 python3-venv) or name it: make setup PYTHON=/path/to/python"
    [ -n "$python" ] || fail "$found has no venv; install it (Debian: apt-get install python3-venv) or name another Python: make setup PYTHON=/path/to/python"
    "$python" -m venv .venv || fail "$python could not create .venv in $(pwd); is the disk full or the folder read-only?"
fi

log=.venv/install-$want.log
extras=""; [ "$want" = dev ] && extras="[dev]"
echo "Installing Tradewind ($want) into .venv: some 2.6 GB, a few minutes the first time. Log: $log"
with_uv() { uv pip install --quiet --python .venv/bin/python "$@" >>"$log" 2>&1; }
with_pip() { .venv/bin/python -m pip install --disable-pip-version-check --quiet "$@" >>"$log" 2>&1; }
# torch first, from its own index: the second call leaves an installed torch of that version in place.
packages() { { [ -z "${TORCH_INDEX:-}" ] || "$1" torch==2.13.0 --index-url "$TORCH_INDEX"; } && "$1" -c constraints.txt -e ".$extras"; }
: >"$log"
if ! { command -v uv >/dev/null 2>&1 && packages with_uv; } && ! packages with_pip; then
    reason=$(grep -E '^ERROR' "$log" | tail -1)
    fail "the installation did not succeed: ${reason:-see $log} (whole log: $log); check the network and the disk, then run make again"
fi
echo "$key" >".venv/.installed-$want"
[ "$want" = dev ] && echo "$key" >.venv/.installed-run
exit 0
