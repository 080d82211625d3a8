# Exactly the packages of a list, a pylock.toml or requirements with their versions, in /opt/venv.
FROM tools AS builder
ARG LOCK
ARG SYNC_OPTIONS=""
ARG INDEXES=""
COPY project /build
WORKDIR /build
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
    /opt/uv/bin/uv venv --quiet /opt/venv; \
    /opt/uv/bin/uv pip sync --python /opt/venv/bin/python3 ${SYNC_OPTIONS} "${LOCK}"; \
    . /toolkit/refuse.sh
