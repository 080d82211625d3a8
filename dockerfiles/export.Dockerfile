# Asks a tool for the exact list of packages. The answer is kept beside the project, and no image is made of it.
FROM tool AS exporter
ARG COMMAND
ARG ANSWER="pylock.toml"
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
    : "step: choosing versions"; set -e; . /toolkit/network.sh; \
    export PATH="/opt/tool/bin:/opt/uv/bin:$PATH"; \
    sh -ec "${COMMAND}"; \
    mkdir /exported; cp "${ANSWER}" /exported/

FROM scratch AS exported
COPY --from=exporter /exported /
