# Two images from one file:
#   docker build --target web -t digits-web .         web server, without TensorFlow
#   docker build --target worker -t digits-worker .   training worker, the same code with TensorFlow
# All state is in the database. A container's /data is temporary: it may be lost with the container.

FROM python:3.12-slim-bookworm AS build
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
COPY requirements-web.txt /
RUN python -m venv /venv && /venv/bin/pip install -r /requirements-web.txt

FROM build AS build-worker
COPY requirements.txt /
RUN /venv/bin/pip install -r /requirements.txt

FROM python:3.12-slim-bookworm AS base
ENV PATH=/venv/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 HDR_DATA_DIR=/data HOST=0.0.0.0 PORT=8000
RUN useradd --system --uid 10001 --create-home digits && mkdir /data && chown digits /data
WORKDIR /app
COPY --chown=root:root . .
USER digits

FROM base AS web
COPY --from=build /venv /venv
RUN HOST=127.0.0.1 SECRET_KEY=build python manage.py collectstatic --noinput --verbosity 0
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=3s --start-period=30s CMD ["python", "deploy/ready.py"]
CMD ["python", "-m", "hdr_site.server"]

FROM base AS worker
COPY --from=build-worker /venv /venv
CMD ["python", "-m", "celery", "--app", "hdr_site", "worker", "--queues", "training", "--pool", "prefork", "--concurrency", "1", "--max-tasks-per-child", "1"]
