#!/bin/sh
# Renew requirements/*.txt: the newest versions that pyproject.toml allows, for every Python it names,
# with hashes, and without a trace of the machine or the index that they were found with.
set -eu
command -v uv >/dev/null || { echo "Install uv (pip install uv), then run make lock again." >&2; exit 1; }
unset PIP_FIND_LINKS PIP_INDEX_URL PIP_EXTRA_INDEX_URL
for group in test lab; do
    uv pip compile pyproject.toml --group "$group" --output-file "requirements/$group.txt" \
        --upgrade --universal --python-version 3.10 --generate-hashes --no-annotate \
        --custom-compile-command "make lock" --quiet
done
