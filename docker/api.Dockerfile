# Image of the API, the migrations and `uniapl admin`; installed by the Makefile.
FROM python:3.11-slim-bookworm AS build
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
RUN make install EXTRAS=server,otel
COPY models.json ./
COPY docker/healthy.py docker/
COPY examples examples
COPY client client
COPY uniapl uniapl
COPY store store
COPY migrations migrations
COPY worker worker
COPY admin admin
COPY api api
# The processes run as another user; the files must be readable whatever umask they were created with.
RUN chmod -R a+rX /app

FROM python:3.11-slim-bookworm
RUN groupadd --gid 10001 uniapl \
    && useradd --uid 10001 --gid uniapl --no-create-home --home-dir /tmp uniapl \
    && install -d -o uniapl -g uniapl /data
COPY --from=build /app /app
WORKDIR /app
ENV PATH=/app/.venv/bin:$PATH PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 PYTHONPATH=/app \
    UNIAPL_DATA_DIR=/data UNIAPL_MODELS_FILE=/app/models.json UNIAPL_LOG_FORMAT=json
USER 10001:10001
VOLUME /data
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s \
    CMD ["python", "docker/healthy.py", "http://127.0.0.1:8000/readyz"]
CMD ["python", "-m", "api", "--host", "0.0.0.0", "--port", "8000"]
