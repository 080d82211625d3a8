# The commands of build.run, each a layer on the environment. What they read lies in /dev/shm, which is memory, so that no layer keeps it.
ARG BASE
FROM ${BASE} AS run
USER root
SHELL ["/bin/sh", "-c"]
ARG ANEW=""
RUN --mount=type=secret,id=ca,target=/dev/shm/toolkit-ca.pem \
    --mount=type=secret,id=pip_config,target=/dev/shm/toolkit-pip.conf \
    --mount=type=secret,id=netrc,target=/dev/shm/toolkit-netrc \
    --mount=type=bind,source=toolkit,target=/dev/shm/toolkit \
    --mount=type=bind,source=project,target=/dev/shm/project,rw \
    : "step: build.run[NUMBER]"; cd /dev/shm/project; why=/dev/shm/toolkit/why.py; . /dev/shm/toolkit/network.sh; \
    unset PIP_LOG; export REQUESTS_CA_BUNDLE="${SSL_CERT_FILE:-}" CURL_CA_BUNDLE="${SSL_CERT_FILE:-}"; \
    if [ -z "$REQUESTS_CA_BUNDLE" ]; then unset REQUESTS_CA_BUNDLE CURL_CA_BUNDLE; fi; \
    sh -e /dev/shm/toolkit/run/NUMBER.sh
