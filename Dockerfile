# The workbench on CPU, as a user without rights. See docs/operating.md.
#
#   docker build -t wordbrush .
#   docker run --read-only --tmpfs /tmp -e WORDBRUSH_AUTH=user:password -p 127.0.0.1:7860:7860 wordbrush
#
# pip's default torch for Linux brings several GB of GPU libraries. An index with the CPU build is named by
#   --build-arg PIP_INDEX_URL=... or --build-arg PIP_EXTRA_INDEX_URL=...
FROM python:3.12-slim AS build
ARG PIP_INDEX_URL
ARG PIP_EXTRA_INDEX_URL
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /source
RUN python -m venv /opt/wordbrush
# What changes seldom comes first: the dependencies are installed anew only when one of these two files changes.
COPY pyproject.toml constraints.txt ./
RUN python -c "import tomllib; p = tomllib.load(open('pyproject.toml', 'rb'))['project']; \
print('\n'.join(p['dependencies'] + p['optional-dependencies']['web']))" > requirements.txt \
 && /opt/wordbrush/bin/pip install -c constraints.txt -r requirements.txt
COPY LICENSE README.md ./
COPY examples examples
COPY src src
RUN /opt/wordbrush/bin/pip install -c constraints.txt ".[web]"

FROM python:3.12-slim
RUN useradd --uid 10001 --user-group --create-home wordbrush
COPY --from=build /opt/wordbrush /opt/wordbrush
# Everything written at run time lies under TMPDIR; a model folder or a hub cache can be mounted read-only.
ENV PATH=/opt/wordbrush/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 TMPDIR=/tmp
USER 10001:10001
WORKDIR /home/wordbrush
EXPOSE 7860
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s \
  CMD ["python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:7860/wordbrush/health', timeout=4)"]
# It does not start without WORDBRUSH_AUTH=user:password, unless the command ends in --no-auth.
CMD ["wordbrush", "ui", "--host", "0.0.0.0"]
