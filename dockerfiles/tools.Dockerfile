# What installs: uv, git where a package comes from a repository, and what the installation alone needs. Nothing of this stage is in
# the image. BASE is the base image, or the one with the system packages (system.Dockerfile, which says what holds for all).
ARG BASE
FROM ${BASE} AS tools
USER root
SHELL ["/bin/sh", "-c"]
COPY toolkit /toolkit
ARG ANEW=""
ARG GIT=""
ARG BUILD_PACKAGES=""
RUN --mount=type=secret,id=ca,target=/dev/shm/toolkit-ca.pem \
    --mount=type=cache,id=toolkit-apt,target=/var/cache/apt,sharing=locked \
    : "step: preparing the installation"; set -e; . /toolkit/network.sh; packages="${BUILD_PACKAGES}"; \
    if [ -n "${GIT}" ] && ! command -v git >/dev/null; then packages="$packages git ca-certificates"; fi; \
    if [ "${GIT}" = ssh ] && ! command -v ssh >/dev/null; then packages="$packages openssh-client"; fi; \
    if [ -n "$packages" ]; then \
        export DEBIAN_FRONTEND=noninteractive; \
        if [ -s /dev/shm/toolkit-ca.pem ]; then set -- -o Acquire::https::CaInfo=/dev/shm/toolkit-ca.pem; fi; \
        apt-get "$@" update -q; \
        apt-get "$@" install -q -y --no-install-recommends $packages; \
    fi
ARG UV_REQUIREMENT=""
ARG INSTALLER="uv"
RUN --mount=type=secret,id=ca,target=/dev/shm/toolkit-ca.pem \
    --mount=type=secret,id=pip_config,target=/dev/shm/toolkit-pip.conf \
    --mount=type=secret,id=netrc,target=/dev/shm/toolkit-netrc \
    --mount=type=secret,id=variables,target=/dev/shm/toolkit-variables.sh \
    --mount=type=cache,id=toolkit-pip,target=/root/.cache/pip \
    --mount=type=cache,id=toolkit-uv,target=/root/.cache/uv \
    : "step: preparing the installation"; set -e; . /toolkit/network.sh; \
    if [ "${INSTALLER}" = uv ]; then \
        python3 -m venv /opt/uv; \
        if [ -n "${UV_REQUIREMENT}" ]; then set -- "${UV_REQUIREMENT}"; else set -- --require-hashes -r /toolkit/tools/uv.txt; fi; \
        fetch /opt/uv/bin/python3 -m pip install --disable-pip-version-check --progress-bar off "$@"; \
    fi
