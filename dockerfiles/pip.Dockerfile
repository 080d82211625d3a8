# What requirements name, in /opt/venv, as pip reads them. The environment with pip itself is made once for a base.
FROM tools AS builder
RUN python3 -m venv /opt/venv
ARG REQUIREMENTS
ARG PIP_OPTIONS=""
ARG INSTALLER=""
ARG UV_PIP_OPTIONS=""
ARG PIP="-m pip"
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
    if [ "${INSTALLER}" = uv ] && [ ! -s /dev/shm/toolkit-pip.conf ]; then \
        /opt/uv/bin/uv pip install --python /opt/venv/bin/python3 ${UV_PIP_OPTIONS} ${PIP_OPTIONS} -r "${REQUIREMENTS}"; \
    else \
        set --; \
        if /opt/venv/bin/python3 -c 'import pip, sys; sys.exit(tuple(map(int, pip.__version__.split(".")[:2])) < (22, 2))'; then \
            set -- --report /tmp/report.json; \
        fi; \
        /opt/venv/bin/python3 ${PIP} install --disable-pip-version-check --progress-bar off --no-compile "$@" ${PIP_OPTIONS} -r "${REQUIREMENTS}"; \
        python3 /toolkit/why.py /tmp/toolkit-pip.log refused; \
        mkdir -p /packed; \
        if [ -s /tmp/report.json ]; then \
            python3 /toolkit/layer.py report /tmp/report.json >/packed/from-source.txt; \
            rm /tmp/report.json; \
        fi; \
    fi; \
    . /toolkit/refuse.sh
