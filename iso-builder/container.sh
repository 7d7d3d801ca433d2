#!/bin/sh
# The container's entry point: a shell on a terminal, the ISO on standard output elsewhere.
# Arguments are those of iso-builder: `docker run boot2docker inspect` and so on.
set -eu
builder=${ISO_BUILDER:-/src/target/debug/iso-builder}

if [ $# -gt 0 ]; then
    exec "$builder" "$@"
fi
if [ -t 1 ]; then
    echo "boot2docker sources are in $(pwd); '$builder' builds target/boot2docker.iso" >&2
    exec "${SHELL:-/bin/sh}"
fi
iso=$(mktemp -d)/boot2docker.iso
# Whatever is said must not get into the ISO.
"$builder" build --output "$iso" >&2
exec cat "$iso"
