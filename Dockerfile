# One image for every process of the product: api, worker, bootstrap, scripted runtime.
# PYTHON: the version that the tests run on; every package of the lock has wheels up to 3.14, so no compiler is needed.
ARG PYTHON=3.11
FROM python:${PYTHON}-slim-bookworm AS build
COPY requirements/uv.txt requirements/runtime.txt /build/
RUN python -m venv /opt/waystation \
 && pip install --no-cache-dir --require-hashes -r /build/uv.txt \
 && uv pip sync --no-cache --require-hashes --compile-bytecode --python /opt/waystation/bin/python /build/runtime.txt

FROM python:${PYTHON}-slim-bookworm
# Workers clone the repositories of sessions.
RUN apt-get update && apt-get install --yes --no-install-recommends git && rm -rf /var/lib/apt/lists/*
RUN useradd --system --uid 10001 --home-dir /var/lib/waystation --create-home waystation
COPY --from=build /opt/waystation /opt/waystation
COPY . /srv/waystation
WORKDIR /srv/waystation
ENV PATH=/opt/waystation/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    WAYSTATION_HOST=0.0.0.0 \
    WAYSTATION_STATE_DIR=/var/lib/waystation
USER waystation
VOLUME /var/lib/waystation
EXPOSE 8700
# Exec form: SIGTERM reaches the program itself, which ends in order.
CMD ["python", "-m", "api"]
