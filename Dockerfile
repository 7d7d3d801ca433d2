# Builds the ISO in a container, with nothing of the host but a Docker engine:
#
#     docker build -t boot2docker .
#     docker run --rm --privileged boot2docker > boot2docker.iso
#
# On a terminal the second command gives a shell instead: docker run --rm -it --privileged boot2docker
#
# The compilation enters the tools tree by chroot, with mounts of its own. That needs the privilege to mount, which
# `docker build` never has: so the image holds sources and builder, and the ISO is built when it runs.
# A volume at /root/.cache/boot2docker keeps kernel, packages and tools tree from one run to the next.

# A Debian or Ubuntu with rustup among its packages, or with cargo already there.
ARG BASE=debian:trixie
FROM ${BASE}

# ca-certificates and rustup download over TLS; gcc and libc6-dev link what cargo compiles.
RUN if ! command -v cargo >/dev/null; then \
        apt-get update \
        && apt-get install -y --no-install-recommends ca-certificates gcc libc6-dev rustup \
        && rustup default stable; \
    fi

WORKDIR /src
COPY . .
RUN cargo build --locked -p iso-builder

ENTRYPOINT ["/src/iso-builder/container.sh"]
