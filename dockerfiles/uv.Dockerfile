# The environment of a project with a uv.lock: exactly what it locks, in /opt/venv.
#
# The secrets are mounted below /dev/shm, which is memory, so that not even an empty file of theirs stays in a layer; what
# they hold is no part of the cache's key. A "step:" is what toolkit shows while it runs. There is no `# syntax=` line, since
# it would have to be pulled. A resolver that loses single answers is asked more often than by default (RES_OPTIONS).
ARG BASE
FROM ${BASE} AS system
USER root
ARG SYSTEM_PACKAGES=""
RUN --mount=type=secret,id=ca,target=/dev/shm/toolkit-ca.pem \
    --mount=type=cache,id=toolkit-apt,target=/var/cache/apt,sharing=locked \
    : "step: system packages"; set -e; export RES_OPTIONS="timeout:3 attempts:5"; \
    if [ -n "${SYSTEM_PACKAGES}" ]; then \
        export DEBIAN_FRONTEND=noninteractive; \
        if [ -s /dev/shm/toolkit-ca.pem ]; then set -- -o Acquire::https::CaInfo=/dev/shm/toolkit-ca.pem; fi; \
        apt-get "$@" update -q; \
        apt-get "$@" install -q -y --no-install-recommends ${SYSTEM_PACKAGES}; \
        rm -rf /var/lib/apt/lists/* /var/log/apt /var/log/dpkg.log /var/cache/ldconfig/aux-cache; \
    fi

FROM system AS builder
ARG UV_REQUIREMENT
RUN --mount=type=secret,id=ca,target=/dev/shm/toolkit-ca.pem \
    --mount=type=secret,id=pip_config,target=/dev/shm/toolkit-pip.conf \
    --mount=type=secret,id=netrc,target=/dev/shm/toolkit-netrc \
    --mount=type=cache,id=toolkit-pip,target=/root/.cache/pip \
    : "step: installing uv"; set -e; export RES_OPTIONS="timeout:3 attempts:5"; \
    if [ -s /dev/shm/toolkit-ca.pem ]; then export PIP_CERT=/dev/shm/toolkit-ca.pem; fi; \
    if [ -s /dev/shm/toolkit-pip.conf ]; then export PIP_CONFIG_FILE=/dev/shm/toolkit-pip.conf; fi; \
    if [ -s /dev/shm/toolkit-netrc ]; then export NETRC=/dev/shm/toolkit-netrc; fi; \
    python3 -m venv /opt/uv; \
    /opt/uv/bin/python3 -m pip install --disable-pip-version-check --progress-bar off "${UV_REQUIREMENT}"
ARG FOLDER
COPY . /build
WORKDIR /build/${FOLDER}
RUN --mount=type=secret,id=ca,target=/dev/shm/toolkit-ca.pem \
    --mount=type=secret,id=netrc,target=/dev/shm/toolkit-netrc \
    --mount=type=cache,id=toolkit-uv,target=/root/.cache/uv \
    : "step: installing the dependencies"; set -e; export RES_OPTIONS="timeout:3 attempts:5"; \
    if [ -s /dev/shm/toolkit-ca.pem ]; then export SSL_CERT_FILE=/dev/shm/toolkit-ca.pem; fi; \
    if [ -s /dev/shm/toolkit-netrc ]; then export NETRC=/dev/shm/toolkit-netrc; fi; \
    export UV_PROJECT_ENVIRONMENT=/opt/venv UV_LINK_MODE=copy UV_COMPILE_BYTECODE=1 UV_NO_PROGRESS=1 UV_HTTP_RETRIES=5; \
    export UV_PYTHON_DOWNLOADS=never UV_PYTHON="$(command -v python3)"; \
    /opt/uv/bin/uv sync --locked --no-install-project --no-dev --no-install-package samerun; \
    if ls /opt/venv/lib/python3*/site-packages | grep -q '^toolkit-[^-]*\.dist-info$'; then \
        echo "toolkit-refused: a dependency needs the distribution toolkit"; exit 1; \
    fi

FROM system
COPY --from=builder /opt/venv /opt/venv
ENV VIRTUAL_ENV=/opt/venv PATH=/opt/venv/bin:$PATH
