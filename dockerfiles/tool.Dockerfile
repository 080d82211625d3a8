# The tool whose lock is read, in a virtual environment of its own, where that is not uv. Nothing of this stage is in the image.
FROM tools AS tool
ARG TOOL=""
COPY tool /tool
RUN --mount=type=secret,id=ca,target=/dev/shm/toolkit-ca.pem \
    --mount=type=secret,id=pip_config,target=/dev/shm/toolkit-pip.conf \
    --mount=type=secret,id=netrc,target=/dev/shm/toolkit-netrc \
    --mount=type=secret,id=variables,target=/dev/shm/toolkit-variables.sh \
    --mount=type=cache,id=toolkit-pip,target=/root/.cache/pip \
    --mount=type=cache,id=toolkit-uv,target=/root/.cache/uv \
    : "step: installing what reads the lock"; set -e; . /toolkit/network.sh; \
    if [ -n "${TOOL}" ]; then \
        set -- --require-hashes -r /tool/requirements.txt; \
        python3 -m venv /opt/tool; \
        if [ -s /dev/shm/toolkit-pip.conf ]; then \
            fetch /opt/tool/bin/python3 -m pip install --disable-pip-version-check --progress-bar off "$@"; \
        else \
            fetch /opt/uv/bin/uv pip install --python /opt/tool/bin/python3 "$@"; \
        fi; \
    fi
