# Exactly what a uv.lock locks, in /opt/venv. The project and the members of its workspace are in the code layer.
FROM tools AS builder
ARG FOLDER
ARG UV_OPTIONS
ARG LEFT_OUT="--no-install-workspace"
COPY project /build
WORKDIR /build/${FOLDER}
RUN --mount=type=secret,id=ca,target=/dev/shm/toolkit-ca.pem \
    --mount=type=secret,id=pip_config,target=/dev/shm/toolkit-pip.conf \
    --mount=type=secret,id=netrc,target=/dev/shm/toolkit-netrc \
    --mount=type=secret,id=variables,target=/dev/shm/toolkit-variables.sh \
    --mount=type=secret,id=git,target=/dev/shm/toolkit-git \
    --mount=type=secret,id=known_hosts,target=/dev/shm/toolkit-known-hosts \
    --mount=type=ssh \
    --mount=type=cache,id=toolkit-pip,target=/root/.cache/pip \
    --mount=type=cache,id=toolkit-uv,target=/root/.cache/uv \
    : "step: installing the dependencies"; set -e; . /toolkit/network.sh; \
    export UV_PROJECT_ENVIRONMENT=/opt/venv; \
    /opt/uv/bin/uv sync ${UV_OPTIONS} --no-dev ${LEFT_OUT} --no-editable --no-install-package samerun; \
    . /toolkit/refuse.sh
