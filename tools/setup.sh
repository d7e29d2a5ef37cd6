#!/bin/sh
# tools/setup.sh VENV REQUIREMENTS: make the virtual environment VENV and fill it with exactly REQUIREMENTS.
# VENV/.ready, a copy of REQUIREMENTS, is written last: an interrupted run is never taken for done.
set -eu
venv=$1 requirements=$2

if cmp -s "$requirements" "$venv/.ready"; then
    touch "$venv/.ready"
    exit 0
fi

# The first Python that is new enough and can make environments; the complaint is kept for the case that none is.
complaint="Install Python 3.10 or newer (Debian, Ubuntu: apt install python3 python3-venv), then run make again."
found=
for python in "${PYTHON:-python3}" python3 python3.13 python3.12 python3.11 python3.10; do
    "$python" -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null || continue
    if "$python" -c 'import ensurepip, venv' 2>/dev/null; then
        found=$python
        break
    fi
    version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
    complaint="Install python$version-venv (Debian, Ubuntu: apt install python$version-venv), then run make again."
done
if [ -z "$found" ]; then
    echo "$complaint" >&2
    exit 1
fi

echo "Setting up $venv with $("$found" --version) from $requirements (once, about a minute) ..."
rm -rf "$venv"
mkdir -p "$TMPDIR"
"$found" -m venv "$venv"
"$venv/bin/python" -m pip install --quiet --quiet --no-cache-dir --disable-pip-version-check \
    --require-hashes -r "$requirements"
"$venv/bin/python" -m pip install --quiet --quiet --no-cache-dir --disable-pip-version-check \
    --no-build-isolation --no-deps -e . -e ./blog
cp "$requirements" "$venv/.ready"
