# syntax=docker/dockerfile:1
# The encoder: ONNX Runtime in process, or a client of Triton. No torch.
#   docker build -f deploy/docker/encoder.Dockerfile -t hilum-encoder .
FROM python:3.11.14-slim-bookworm AS build
WORKDIR /src
# Without pip, so that nothing in the last stage installs anything. The constraint holds for what builds the wheel too.
RUN python -m venv --without-pip /opt/hilum
ENV PIP_CONSTRAINT=/src/constraints.txt PIP_DISABLE_PIP_VERSION_CHECK=1
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY hilum hilum
RUN python -m pip --python /opt/hilum/bin/python install --no-cache-dir ".[encoder]"

FROM python:3.11.14-slim-bookworm
COPY --from=build /opt/hilum /opt/hilum
COPY services/__init__.py /app/services/
COPY services/encoder /app/services/encoder
WORKDIR /app
ENV PATH=/opt/hilum/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
USER 10001:10001
EXPOSE 50051
ENTRYPOINT ["python", "-m", "services.encoder"]
