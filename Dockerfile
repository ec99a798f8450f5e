# syntax=docker/dockerfile:1
# One image is trainer, tuner and Beam worker: the same interpreter and the same wheels, so that what was pickled or
# written by one is read by the other.
#
#   docker build -t seqapps .                                    CPU
#   docker build -t seqapps:gpu --build-arg GPU=1 .             GPU: CUDA from wheels, the host brings the driver
#   docker run -v "$PWD:/work" seqapps run /opt/seqapps/configs/language_model/python_docs.toml
#
# As a Beam worker it is named to the runner (--environment_config, --sdk_container_image); see docker-entrypoint.sh.

ARG PYTHON=3.11
ARG BEAM=2.77.0

FROM apache/beam_python${PYTHON}_sdk:${BEAM} AS beam

FROM python:${PYTHON}-slim-bookworm

ARG GPU=0

ENV PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    PIP_NO_CACHE_DIR=1 \
    TF_CPP_MIN_LOG_LEVEL=2 \
    RUN_PYTHON_SDK_IN_DEFAULT_ENVIRONMENT=1 \
    MLFLOW_DISABLE_TELEMETRY=true

# Wheels first: this layer, nearly all of the image, changes only with the lock file.
COPY requirements.lock /opt/seqapps/requirements.lock
# pip checks the hashes of the lock. It takes none in constraints, where each would ask for one of every CUDA wheel.
RUN python -m pip install --requirement /opt/seqapps/requirements.lock \
    && if [ "$GPU" = 1 ]; then \
        sed -e '/^ *--hash=/d' -e 's/ *\\$//' /opt/seqapps/requirements.lock > /tmp/constraints.txt \
        && python -m pip install --constraint /tmp/constraints.txt "tensorflow[and-cuda]" \
        && rm /tmp/constraints.txt; \
    fi

COPY --from=beam /opt/apache/beam /opt/apache/beam

COPY setup.cfg setup.py pyproject.toml README.md LICENSE /opt/seqapps/
COPY pipelines /opt/seqapps/pipelines
COPY seqapps /opt/seqapps/seqapps
COPY tuning /opt/seqapps/tuning
COPY configs /opt/seqapps/configs
COPY docker-entrypoint.sh /usr/local/bin/docker-entrypoint.sh
RUN python -m pip install --no-deps /opt/seqapps

RUN groupadd --gid 1000 seqapps \
    && useradd --create-home --uid 1000 --gid 1000 seqapps \
    && mkdir /work \
    && chown seqapps:seqapps /work
USER 1000:1000
WORKDIR /work

ENTRYPOINT ["docker-entrypoint.sh"]
CMD ["--help"]
