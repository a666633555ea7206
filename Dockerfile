# The image holds the whole folder: train.py, configs/, src/ and the library trainworks/ beside them.
# docker build -t project . && docker run --rm -v "$PWD/logs:/project/logs" project --config configs/digits.yaml
# With GPUs (the default build of torch brings CUDA; the host needs the driver and NVIDIA's container toolkit):
#   docker run --rm --gpus all --shm-size 8g -v "$PWD/logs:/project/logs" -v "$PWD/data:/project/data" project --config C
# A CPU-only image, some GB smaller: docker build --build-arg TORCH_INDEX=... with the address that pytorch.org prints.
FROM python:3.11-slim

ARG TORCH_INDEX=""
RUN apt-get update \
    && apt-get install -y --no-install-recommends git \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /project
COPY pyproject.toml constraints.txt README.md LICENSE ./
RUN pip install --no-cache-dir -c constraints.txt ${TORCH_INDEX:+--index-url "$TORCH_INDEX"} torch torchvision \
    && pip install --no-cache-dir -e . -c constraints.txt
COPY . .
ENTRYPOINT ["python", "train.py"]
CMD ["--config", "configs/digits.yaml"]
