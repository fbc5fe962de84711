# syntax=docker/dockerfile:1
#
# docker build --target worker -t comet-worker .   the daemon (the default target)
# docker build --target sim    -t comet-sim .      the stand-in for CometAPI, for trying things without an API key
#
# Written without a Docker engine at hand, so not yet built.

FROM rust:1.95-slim-bookworm AS build
WORKDIR /build
COPY . .
# Registry and compiled dependencies stay in the cache between builds; the programs are copied out of it.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/build/target \
    cargo build --locked --release --bin comet-worker --example comet-sim \
    && install -D target/release/comet-worker /out/comet-worker \
    && install -D target/release/examples/comet-sim /out/comet-sim

FROM debian:bookworm-slim AS base
# The certificates come from the build, which spares this image an apt-get.
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
RUN useradd --system --uid 10001 --home-dir /var/lib/comet-worker --create-home --shell /usr/sbin/nologin comet-worker
USER 10001
WORKDIR /var/lib/comet-worker

FROM base AS sim
COPY --from=build /out/comet-sim /usr/local/bin/comet-sim
EXPOSE 8099
ENTRYPOINT ["comet-sim"]
CMD ["--listen", "0.0.0.0:8099"]

# Last, so that it is what a build without --target makes.
FROM base AS worker
COPY --from=build /out/comet-worker /usr/local/bin/comet-worker
# Where the default `file:./images` of storage.url leads; owned by the worker, and so is a volume mounted here.
RUN mkdir images
# Alive, not ready: a worker that waits for RabbitMQ or for the account must not be restarted. The image has no curl.
HEALTHCHECK --interval=10s --timeout=3s --start-period=10s CMD ["bash", "-c", \
    "exec 3<>/dev/tcp/127.0.0.1/9464 && printf 'GET /livez HTTP/1.0\\r\\n\\r\\n' >&3 && read -r _ status _ <&3 && [[ $status == 200 ]]"]
# The daemon hands its jobs back within seconds, but waits for a POST under way: give it `api.submit_timeout_s` and some.
STOPSIGNAL SIGTERM
ENTRYPOINT ["comet-worker"]
CMD ["run"]
