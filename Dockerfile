# One image for every worker: `weft run WORKER` says which.  The lock pins every file by hash; the index is the builder's affair.
FROM python:3.11-slim AS build
WORKDIR /src
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
RUN python -m venv /opt/weft
COPY requirements.lock ./
RUN /opt/weft/bin/pip install --quiet --require-hashes -r requirements.lock
COPY pyproject.toml README.md ./
COPY sdk ./sdk
COPY config ./config
COPY schemas ./schemas
COPY streams ./streams
COPY workers ./workers
RUN /opt/weft/bin/pip install --quiet --no-deps --no-build-isolation ./sdk .

FROM python:3.11-slim
RUN useradd --system --uid 10001 --home-dir /var/lib/weft --create-home weft
COPY --from=build /opt/weft /opt/weft
ENV PATH=/opt/weft/bin:$PATH PYTHONUNBUFFERED=1
USER 10001
WORKDIR /var/lib/weft
ENTRYPOINT ["weft"]
CMD ["--help"]
