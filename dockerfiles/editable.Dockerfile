# Asks the project's build backend what an editable install of it would be (PEP 660), where the project lies in the image.
FROM tools AS exporter
ARG FOLDER
ARG PROJECT_VERSION
COPY project /workspace
WORKDIR /workspace/${FOLDER}
RUN --mount=type=secret,id=ca,target=/dev/shm/toolkit-ca.pem \
    --mount=type=secret,id=pip_config,target=/dev/shm/toolkit-pip.conf \
    --mount=type=secret,id=netrc,target=/dev/shm/toolkit-netrc \
    --mount=type=secret,id=variables,target=/dev/shm/toolkit-variables.sh \
    --mount=type=cache,id=toolkit-uv,target=/root/.cache/uv \
    : "step: asking the project's build backend"; set -e; . /toolkit/network.sh; \
    export SETUPTOOLS_SCM_PRETEND_VERSION="${PROJECT_VERSION}" PDM_BUILD_SCM_VERSION="${PROJECT_VERSION}"; \
    export UV_DYNAMIC_VERSIONING_BYPASS="${PROJECT_VERSION}" POETRY_DYNAMIC_VERSIONING_BYPASS="${PROJECT_VERSION}" \
        PBR_VERSION="${PROJECT_VERSION}"; \
    /opt/uv/bin/uv pip install --python "$(command -v python3)" --no-deps --target /exported -e .

FROM scratch AS exported
COPY --from=exporter /exported /
