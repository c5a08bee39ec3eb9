# What the scripts share. Sourced by them, in bash.
# shellcheck shell=bash

say() {
    printf '%s\n' "$@"
}

fail() {
    printf '%s\n' "$@" >&2
    exit 1
}

# at_least VERSION MINIMUM
at_least() {
    [ "$(printf '%s\n' "$2" "$1" | sort -V | head -n 1)" = "$2" ]
}

# The server to use.
server() {
    printf '%s\n' "${REDIS_SERVER:-redis-server}"
}

# Builds the release library.
build_library() {
    scripts/require cargo build server
    cargo build --release --locked
}

# library [PROFILE]: the path of the library, by default that of a release.
library() {
    cargo metadata --no-deps --format-version 1 --locked |
        sed -n "s|.*\"target_directory\":\"\([^\"]*\)\".*|\1${CARGO_BUILD_TARGET:+/$CARGO_BUILD_TARGET}/${1:-release}/libredis_ratelimit.so|p"
}
