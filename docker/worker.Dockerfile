# Image of the worker and its trainer; installed by the Makefile.
#
# torch's wheels contain their CUDA runtime, and the host provides the driver: a CUDA base image would add a second
# runtime of another version (docs/adr/0012).
FROM python:3.11-slim-bookworm AS build
ARG PIP_EXTRA_INDEX_URL=""
RUN apt-get update \
    && apt-get install --no-install-recommends -y make \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /app
ENV PIP_NO_CACHE_DIR=1 PYTHONDONTWRITEBYTECODE=1
COPY Makefile constraints.txt pyproject.toml README.md LICENSE ./
COPY client/pyproject.toml client/README.md client/LICENSE client/
# Enough for pip to locate the packages, so that the layer below is cached when only code changes.
COPY uniapl/__init__.py uniapl/
COPY client/uniapl_client/__init__.py client/uniapl_client/
RUN make install EXTRAS=train,server,otel
COPY models.json ./
COPY docker/healthy.py docker/
COPY examples examples
COPY client client
COPY uniapl uniapl
RUN make models EXTRAS=train,server,otel
COPY store store
COPY migrations migrations
COPY worker worker
COPY admin admin
# The processes run as another user; the files must be readable whatever umask they were created with.
RUN chmod -R a+rX /app

FROM python:3.11-slim-bookworm
# Triton compiles launchers of its kernels at run time.
RUN apt-get update \
    && apt-get install --no-install-recommends -y gcc libc6-dev \
    && rm -rf /var/lib/apt/lists/* \
    && groupadd --gid 10001 uniapl \
    && useradd --uid 10001 --gid uniapl --no-create-home --home-dir /tmp uniapl \
    && install -d -o uniapl -g uniapl /data /hub
COPY --from=build /app /app
WORKDIR /app
ENV PATH=/app/.venv/bin:$PATH PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 PYTHONPATH=/app \
    NVIDIA_VISIBLE_DEVICES=all NVIDIA_DRIVER_CAPABILITIES=compute,utility \
    UNIAPL_DATA_DIR=/data UNIAPL_MODELS_FILE=/app/models.json UNIAPL_LOG_FORMAT=json UNIAPL_METRICS_PORT=9100 \
    HF_HOME=/hub MPLCONFIGDIR=/tmp/matplotlib
USER 10001:10001
VOLUME /data /hub
EXPOSE 9100
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s \
    CMD ["python", "docker/healthy.py", "http://127.0.0.1:9100/metrics"]
CMD ["celery", "-A", "worker.app", "worker", "--without-gossip", "--without-mingle", "--without-heartbeat"]
