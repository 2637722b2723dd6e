# The image that the pipeline's tasks run in: on Kubeflow and Vertex AI, which name the command to
# run, and on Dataflow's workers. It is no server and holds no model.
# Debian drops superseded versions from its mirrors, so packages pinned here could not be installed:
# hadolint global ignore=DL3008

FROM debian:bookworm-20260824-slim@sha256:88200866dfff7ea7f5cbcb6ec7c8a701889efe6fe859fe64d6990e4b07ea4171 AS base
# Python in both stages: that of an environment is a link to the system's.
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates python3 \
    && rm -rf /var/lib/apt/lists/*

FROM base AS builder
RUN apt-get update \
    && apt-get install -y --no-install-recommends g++ python3-dev python3-pip \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY pyproject.toml .
COPY setup.py .
COPY requirements requirements
COPY data data
COPY components components
COPY pipeline pipeline
COPY serving serving
# Compiled now, because the user of the image may not write there and would compile at every start;
# copied, because the cache is a file system of its own.
ENV UV_COMPILE_BYTECODE=1 UV_LINK_MODE=copy
# `--build-arg GPU=1` adds CUDA, 6 GB.
ARG GPU
RUN --mount=type=cache,target=/root/.cache \
    python3 requirements/install.py --image /opt/dog-emotion ${GPU:+--gpu}

FROM base
RUN useradd --create-home --uid 1000 dog-emotion
COPY --from=builder /opt/dog-emotion /opt/dog-emotion
# What starts a worker of Dataflow. It runs Python in the environment that is here, where it would
# otherwise make one without our packages. To take one build of it and no other, give `docker build`
# --build-context apache/beam_python3.11_sdk:2.77.0=docker-image://apache/beam_python3.11_sdk@DIGEST
COPY --from=apache/beam_python3.11_sdk:2.77.0 /opt/apache/beam /opt/apache/beam
ENV RUN_PYTHON_SDK_IN_DEFAULT_ENVIRONMENT=1
# Kubernetes knows by a number alone that a user is not root.
USER 1000:1000
WORKDIR /home/dog-emotion
ENV HOME=/home/dog-emotion \
    PATH=/opt/dog-emotion/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
ENTRYPOINT ["/opt/apache/beam/boot"]
