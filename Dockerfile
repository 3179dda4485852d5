# Serves a run on a CPU: docker run --init -p 127.0.0.1:8000:8000 -v "$PWD/runs:/runs:ro" understudy serve /runs/demo --host 0.0.0.0
FROM python:3.11-slim

WORKDIR /app
COPY constraints.txt pyproject.toml README.md LICENSE ./
COPY src src
# The extra index has torch without CUDA; the version is that of the constraints.
RUN pip install --no-cache-dir --extra-index-url https://download.pytorch.org/whl/cpu -c constraints.txt '.[serve]' \
    && useradd --create-home understudy
USER understudy
EXPOSE 8000
ENTRYPOINT ["understudy"]
CMD ["--help"]
