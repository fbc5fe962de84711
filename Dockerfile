# docker build --target worker -t comet-worker .   the daemon (the default target)
# docker build --target sim    -t comet-sim .      the stand-in for CometAPI, for trying things without an API key
#
# It needs BuildKit, with which every Docker since 23 builds (20.10: DOCKER_BUILDKIT=1), and no front end from
# elsewhere. `make image-test` builds and tries both.

# --- What the images hold beside the program: the C library, certificates, a user. No shell, no package manager. ---

FROM rust:1.95-slim-bookworm AS system
WORKDIR /system
RUN mkdir -p etc/ssl/certs var/lib/dpkg/status.d var/lib/comet-worker/store \
    && libraries=$(gcc -print-file-name=libc.so.6) && libraries=$(dirname "$(realpath "$libraries")") \
    && ldd /bin/true > /tmp/loader && loader=$(grep -oE '/lib[^ ]*/ld-linux[^ ]*' /tmp/loader) \
    && cp -L --parents "$loader" . \
    && for library in libc.so.6 libm.so.6 libgcc_s.so.1; do install -D -m 755 "$libraries/$library" "./${libraries#/usr/}/$library"; done \
    && cp -L /etc/ssl/certs/ca-certificates.crt etc/ssl/certs/ \
    && cp -L /etc/os-release etc/ \
    && echo 'comet-worker:x:10001:10001::/var/lib/comet-worker:/usr/sbin/nologin' > etc/passwd \
    && echo 'comet-worker:x:10001:' > etc/group \
    && echo 'hosts: files dns' > etc/nsswitch.conf \
    # This shows image scanners which packages these files belong to, and under which licences.
    && for package in libc6 libgcc-s1 ca-certificates; do \
         dpkg -s "$package" > "var/lib/dpkg/status.d/$package" \
         && cp -L --parents "/usr/share/doc/$package/copyright" .; \
       done \
    && chown -R 10001:10001 var/lib/comet-worker

FROM scratch AS base
COPY --from=system /system /
USER 10001
WORKDIR /var/lib/comet-worker

# --- The programs. The registry and the compiled files stay in caches between builds; the programs are copied out. ---

FROM rust:1.95-slim-bookworm AS sources
WORKDIR /build
COPY Cargo.toml Cargo.lock ./
COPY config config
COPY src src

FROM sources AS build
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/build/target \
    cargo build --locked --release --bin comet-worker \
    && install -D target/release/comet-worker /out/comet-worker

FROM sources AS build-sim
COPY tests tests
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/build/target \
    cargo build --locked --release --example comet-sim \
    && install -D target/release/examples/comet-sim /out/comet-sim

# --- The images ---

FROM base AS sim
COPY --from=build-sim /out/comet-sim /usr/local/bin/comet-sim
EXPOSE 8099
ENTRYPOINT ["comet-sim"]
CMD ["--listen", "0.0.0.0:8099"]

# This target is the last one, so a build without --target makes it.
FROM base AS worker
COPY --from=build /out/comet-worker /usr/local/bin/comet-worker
# This checks that the worker is alive, not ready: a worker that waits for RabbitMQ or the account must not be
# restarted.
HEALTHCHECK --interval=10s --timeout=3s --start-period=10s CMD ["comet-worker", "health"]
# The daemon requeues its jobs within seconds, but waits for a POST under way: give it `api.submit_timeout_s` and a
# margin.
STOPSIGNAL SIGTERM
ENTRYPOINT ["comet-worker"]
CMD ["run"]
