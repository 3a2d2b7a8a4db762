# The default target is the job itself; --target test holds the tests and their tools, --target sim
# a simulator.
# Written for BuildKit's built-in frontend (Docker 20.10 and later), hence no syntax line.

FROM debian:trixie-slim AS base
RUN apt-get update \
 && apt-get install -y --no-install-recommends ca-certificates python3 python3-venv \
 && rm -rf /var/lib/apt/lists/*
# What the downloads below trust is what the system trusts, a company's own authority included.
ENV SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt


# The ImageNet ResNet-18, baked in so that nothing is downloaded at run time.
FROM base AS weights
ARG BACKBONE_WEIGHTS=imagenet
ARG BACKBONE_WEIGHTS_URL=https://download.pytorch.org/models/resnet18-f37072fd.pth
ARG BACKBONE_WEIGHTS_SHA256=f37072fd47e89c5e827621c5baffa7500819f7896bbacec160b1a16c560e07ec
WORKDIR /opt/act/weights
RUN case "$BACKBONE_WEIGHTS" in imagenet|none) ;; \
      *) echo "BACKBONE_WEIGHTS is '$BACKBONE_WEIGHTS', expected imagenet or none"; exit 1 ;; esac
RUN [ "$BACKBONE_WEIGHTS" = none ] || \
    python3 -c 'import sys, urllib.request; urllib.request.urlretrieve(*sys.argv[1:])' \
      "$BACKBONE_WEIGHTS_URL" resnet18-f37072fd.pth || \
    { echo "name a mirror as BACKBONE_WEIGHTS_URL, or build with BACKBONE_WEIGHTS=none"; exit 1; }
RUN [ "$BACKBONE_WEIGHTS" = none ] || \
    echo "$BACKBONE_WEIGHTS_SHA256  resnet18-f37072fd.pth" | sha256sum --check || \
    { echo "not the ImageNet weights: $(sha256sum resnet18-f37072fd.pth)"; exit 1; }


# Everything but our own code: a code change does not come past here.
# torch's wheels carry CUDA; the driver comes from the host with --gpus.
FROM base AS packages
# For --compile on: torch.compile makes C++, and on a GPU a launcher in C.
RUN apt-get update \
 && apt-get install -y --no-install-recommends g++ python3-dev \
 && rm -rf /var/lib/apt/lists/*
COPY requirements-uv.lock requirements.lock /opt/
# Byte-compiled now: a read-only or foreign-uid container could not, and would start slowly.
RUN python3 -m venv /opt/uv \
 && /opt/uv/bin/pip install --no-cache-dir --require-hashes -r /opt/requirements-uv.lock \
 && python3 -m venv --without-pip /opt/venv \
 && /opt/uv/bin/uv pip install --no-cache --python /opt/venv/bin/python \
      --compile-bytecode --require-hashes -r /opt/requirements.lock \
 && rm -rf /opt/uv
COPY --from=weights /opt/act/weights /opt/act/weights
ARG BACKBONE_WEIGHTS=imagenet
# A user id that /etc/passwd does not know still needs a name and writable homes, and only
# /tmp is writable everywhere.
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    HOME=/tmp \
    USER=act \
    XDG_CACHE_HOME=/tmp/cache \
    MPLCONFIGDIR=/tmp/matplotlib \
    TORCHINDUCTOR_CACHE_DIR=/tmp/torchinductor \
    TRITON_CACHE_DIR=/tmp/triton \
    NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility \
    BACKBONE_WEIGHTS=$BACKBONE_WEIGHTS \
    BACKBONE_WEIGHTS_FILE=/opt/act/weights/resnet18-f37072fd.pth
# 1777: a named volume mounted there starts with this mode, and any user can write.
RUN install -d /data/input && install -d -m 1777 /data/output
WORKDIR /opt/act


FROM packages AS test
COPY requirements-test.lock /opt/
RUN python3 -m venv /opt/uv \
 && /opt/uv/bin/pip install --no-cache-dir --require-hashes -r /opt/requirements-uv.lock \
 && /opt/uv/bin/uv pip install --no-cache --python /opt/venv/bin/python \
      --compile-bytecode --require-hashes -r /opt/requirements-test.lock \
 && rm -rf /opt/uv
COPY . .
RUN chmod -R a+rX .
ENV HYPOTHESIS_STORAGE_DIRECTORY=/tmp/hypothesis
USER 1000:1000
ENTRYPOINT ["/opt/venv/bin/python", "-m", "pytest", "-p", "no:cacheprovider"]


# docker build --target sim: the job and its simulator, which needs Python 3.11 or 3.12. BuildKit
# comes past here only when it is asked for.
FROM debian:bookworm-slim AS sim
# MuJoCo renders without a display by EGL; on a GPU, if the container may use its graphics.
RUN apt-get update \
 && apt-get install -y --no-install-recommends \
      ca-certificates python3 python3-venv libegl1 libgl1 libopengl0 libgl1-mesa-dri \
 && rm -rf /var/lib/apt/lists/*
ENV SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt
COPY requirements-uv.lock requirements-sim.lock /opt/
RUN python3 -m venv /opt/uv \
 && /opt/uv/bin/pip install --no-cache-dir --require-hashes -r /opt/requirements-uv.lock \
 && python3 -m venv --without-pip /opt/venv \
 && /opt/uv/bin/uv pip install --no-cache --python /opt/venv/bin/python \
      --compile-bytecode --require-hashes -r /opt/requirements-sim.lock \
 && rm -rf /opt/uv
RUN install -d /data/input && install -d -m 1777 /data/output
WORKDIR /opt/act
COPY LICENSE *.schema.json entrypoint.py lerobot_to_act.py ./
COPY job job
COPY episodes episodes
COPY convert convert
COPY act act
RUN python3 -m compileall -q lerobot_to_act.py job episodes convert act && chmod -R a+rX .
ARG COMMIT=
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    HOME=/tmp \
    USER=act \
    XDG_CACHE_HOME=/tmp/cache \
    MPLCONFIGDIR=/tmp/matplotlib \
    MUJOCO_GL=egl \
    NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility,graphics \
    LEROBOT_TO_ACT_COMMIT=$COMMIT \
    LEROBOT_TO_ACT_IMAGE=1
USER 1000:1000
ENTRYPOINT ["/opt/venv/bin/python", "/opt/act/entrypoint.py"]


FROM packages AS runtime
COPY LICENSE *.schema.json entrypoint.py lerobot_to_act.py ./
COPY job job
COPY episodes episodes
COPY convert convert
COPY act act
# a+rX: the checkout may come from a machine whose files only their owner can read.
RUN python -m compileall -q lerobot_to_act.py job episodes convert act && chmod -R a+rX .
# docker build --build-arg COMMIT=$(git rev-parse HEAD): for --version and the manifest. Last, so
# that another commit rebuilds no layer.
ARG COMMIT=
ENV LEROBOT_TO_ACT_COMMIT=$COMMIT \
    LEROBOT_TO_ACT_IMAGE=1
USER 1000:1000
# No shell in between: Python is PID 1 and gets the stop signal itself.
ENTRYPOINT ["/opt/venv/bin/python", "/opt/act/entrypoint.py"]
