# What was installed, as the tar of a layer. toolkit puts it on the base: BuildKit would give it the time of the build. The base's own
# variables stay, because its Python may need them, and because they say which bytecode it reads (PYTHONOPTIMIZE).
FROM builder AS packed
RUN : "step: writing the layer"; \
    PYTHONHASHSEED=0 PYTHONPATH= PYTHONPYCACHEPREFIX= LC_ALL=C.UTF-8 \
    /opt/venv/bin/python3 -s -S -B /toolkit/layer.py write /opt/venv /packed

FROM scratch AS exported
COPY --from=packed /packed /
