# The base image and its system packages: an image of its own, which environments with the same packages begin with.
#
# The secrets are mounted below /dev/shm, which is memory, so that not even an empty file of theirs stays in a layer; what
# they hold is no part of the cache's key: INDEXES is what counts of it. A "step:" is what toolkit shows while it runs. There is no `# syntax=` line, since
# it would have to be pulled. A resolver that loses single answers is asked more often than by default (RES_OPTIONS).
# ANEW is another text each time that nothing is to be taken from BuildKit's cache: `--no-cache` beside a build of the same steps
# without it can end the engine of Docker 20.10 ("failed to get edge").
ARG BASE
FROM ${BASE} AS system
USER root
SHELL ["/bin/sh", "-c"]
ARG ANEW=""
ARG SYSTEM_PACKAGES=""
RUN --mount=type=secret,id=ca,target=/dev/shm/toolkit-ca.pem \
    --mount=type=cache,id=toolkit-apt,target=/var/cache/apt,sharing=locked \
    : "step: system packages"; set -e; export RES_OPTIONS="timeout:3 attempts:5" DEBIAN_FRONTEND=noninteractive; \
    if [ -s /dev/shm/toolkit-ca.pem ]; then set -- -o Acquire::https::CaInfo=/dev/shm/toolkit-ca.pem; fi; \
    apt-get "$@" update -q; \
    apt-get "$@" install -q -y --no-install-recommends ${SYSTEM_PACKAGES}; \
    rm -rf /var/lib/apt/lists/* /var/log/apt /var/log/dpkg.log /var/log/alternatives.log /var/cache/ldconfig/aux-cache \
        /var/cache/debconf/*-old /var/lib/dpkg/*-old
