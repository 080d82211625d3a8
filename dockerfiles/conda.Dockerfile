# Exactly the packages that a lock of conda, conda-lock or pixi holds, in /opt/venv; then those of Python's own index.
FROM tool AS builder
ARG LOCK
ARG CATEGORIES=""
ARG REQUIREMENTS=""
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
    --mount=type=cache,id=toolkit-uv,target=/root/.cache/uv \
    --mount=type=cache,id=toolkit-conda,target=/root/.cache/rattler,sharing=locked \
    : "step: installing the dependencies"; set -e; . /toolkit/network.sh; \
    /opt/tool/bin/python3 /tool/conda.py install "${LOCK}" /opt/venv /tmp/locked.txt ${CATEGORIES}; \
    if [ ! -x /opt/venv/bin/python3 ]; then /opt/uv/bin/uv venv --quiet --allow-existing /opt/venv; fi; \
    unset UV_PYTHON; set -- --python /opt/venv/bin/python3 --break-system-packages; \
    if [ -s /tmp/locked.txt ]; then /opt/uv/bin/uv pip install "$@" --no-deps -r /tmp/locked.txt; fi; \
    if [ -n "${REQUIREMENTS}" ]; then /opt/uv/bin/uv pip install "$@" -r "${REQUIREMENTS}"; fi; \
    . /toolkit/refuse.sh
