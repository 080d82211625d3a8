# As result.Dockerfile, where the packages are for another platform than this stage is of: its Python compiles them, since one
# minor version has one bytecode on all platforms, and the virtual environment names the Python that the image has.
FROM builder AS packed
ARG FOREIGN_PYTHON
ARG FOREIGN_VERSION
RUN : "step: writing the layer"; set -e; \
    PYTHONPATH=/toolkit python3 -s -S -B /toolkit/foreign.py adapt /opt/venv "${FOREIGN_PYTHON}" "${FOREIGN_VERSION}"; \
    PYTHONHASHSEED=0 PYTHONPATH= PYTHONPYCACHEPREFIX= LC_ALL=C.UTF-8 \
    python3 -s -S -B /toolkit/layer.py write /opt/venv /packed

FROM scratch AS exported
COPY --from=packed /packed /
