# The server image with the module: docker build -t redis-ratelimit .
#
# BUILD_IMAGE compiles the library, SERVER_IMAGE is what it is added to: an image of Redis 7.0 or later or Valkey 7.2 or
# later. Their C libraries have to fit: one of Debian with one of Debian that is as new or newer, Alpine with Alpine.
# docs/containers.md has the combinations. Needs no BuildKit.
ARG BUILD_IMAGE=rust:1-slim-bookworm
ARG SERVER_IMAGE=redis:8

FROM ${BUILD_IMAGE} AS build
# All images of this project have such a label, by which docs/containers.md removes them.
LABEL redis-ratelimit=build

# A C compiler, libclang, which reads the server's C API, and Python, which collects the notices of the crates.
RUN set -eu; \
    if command -v apk >/dev/null; then \
        apk add --no-cache clang-dev gcc musl-dev python3; \
    elif ! dpkg -s gcc libc6-dev libclang-dev python3 >/dev/null 2>&1; then \
        apt-get update; \
        apt-get install -y --no-install-recommends gcc libc6-dev libclang-dev python3; \
    fi

WORKDIR /build
COPY .cargo .cargo
COPY Cargo.toml Cargo.lock ./
COPY benches benches
# The dependencies first: they are compiled again only when they change.
RUN mkdir src && echo '//! Nothing yet.' >src/lib.rs && cargo build --release --locked --lib
COPY src src
RUN touch src/lib.rs && cargo build --release --locked --lib

# What is added to the server image, with its modes.
COPY docker docker
COPY packaging/notices.py packaging/
COPY LICENSE LICENSE
RUN set -eu; \
    documents=/image/usr/share/doc/redis-ratelimit; \
    of_rust=$(rustc --print sysroot)/share/doc/rust/COPYRIGHT-library.html; \
    install -d /image/usr/lib/redis/modules /image/usr/local/bin /image/etc/redis "$documents"; \
    install -m 755 target/release/libredis_ratelimit.so /image/usr/lib/redis/modules; \
    install -m 755 docker/ratelimit-entrypoint docker/ratelimit-health /image/usr/local/bin; \
    install -m 644 docker/ratelimit.conf /image/etc/redis; \
    install -m 644 LICENSE "$documents"; \
    packaging/notices.py >"$documents/THIRD-PARTY-NOTICES"; \
    if [ -e "$of_rust" ]; then install -m 644 "$of_rust" "$documents/RUST-STANDARD-LIBRARY.html"; fi

FROM ${SERVER_IMAGE}

USER root
COPY --from=build /image /
# Alpine's servers come without the library that unwinds Rust's stacks. And the entrypoint leaves a note for the health
# check, which is nobody else's business.
RUN set -eu; \
    if command -v apk >/dev/null; then apk add --no-cache libgcc; fi; \
    mkdir -m 700 /run/ratelimit; \
    chown 999 /run/ratelimit

# redis or valkey, in the images of both, on Debian and on Alpine.
USER 999
EXPOSE 6379
ENTRYPOINT ["ratelimit-entrypoint"]
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=3 CMD ["ratelimit-health"]

ARG VERSION=0.1.0
ARG REVISION=
ARG SERVER_IMAGE
LABEL redis-ratelimit=server \
    org.opencontainers.image.title="redis-ratelimit" \
    org.opencontainers.image.description="Redis or Valkey with commands that limit rates" \
    org.opencontainers.image.licenses="MIT" \
    org.opencontainers.image.version="${VERSION}" \
    org.opencontainers.image.revision="${REVISION}" \
    org.opencontainers.image.base.name="${SERVER_IMAGE}"
