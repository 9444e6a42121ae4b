# syntax=docker/dockerfile:1
# Fusion: the only service that computes with torch, on CPU.
#   docker build -f deploy/docker/fusion.Dockerfile -t hilum-fusion .
FROM python:3.11.14-slim-bookworm AS build
WORKDIR /src
# Without pip, so that nothing in the last stage installs anything. The constraint holds for what builds the wheel too.
RUN python -m venv --without-pip /opt/hilum
ENV PIP_CONSTRAINT=/src/constraints.txt PIP_DISABLE_PIP_VERSION_CHECK=1
COPY pyproject.toml constraints.txt README.md LICENSE ./
# The build without CUDA, which PyPI does not have.
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
RUN python -m pip --python /opt/hilum/bin/python install --no-cache-dir --extra-index-url "$TORCH_INDEX" \
    "$(grep '^torch==' constraints.txt)+cpu"
COPY hilum hilum
RUN python -m pip --python /opt/hilum/bin/python install --no-cache-dir ".[fusion]"

FROM python:3.11.14-slim-bookworm
COPY --from=build /opt/hilum /opt/hilum
COPY services/__init__.py /app/services/
COPY services/fusion /app/services/fusion
WORKDIR /app
ENV PATH=/opt/hilum/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
USER 10001:10001
EXPOSE 50053
ENTRYPOINT ["python", "-m", "services.fusion"]
