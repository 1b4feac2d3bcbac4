# shellcheck shell=bash
# A Debian trixie chroot with the compilers and tools that build the image, so that what comes out
# does not depend on the machine that builds. Sourced after lib.sh.

SUITE=trixie
RECIPE=
CHROOT=

# need_chroot: makes it where it is missing, and sets CHROOT and RECIPE, the hash of how it is made.
need_chroot() {
    [ "$(id -u)" = 0 ] || fail "a chroot needs root" "run: sudo ./scripts/$(basename "$0")"
    apt_packages mmdebstrap debian-archive-keyring ca-certificates
    RECIPE=$(declare -f make_chroot | sha256sum | cut -c1-16)
    CHROOT="$CACHE/cross/$SUITE-$RECIPE"
    [ ! -d "$CHROOT" ] || return 0
    mkdir -p "$CACHE/cross"
    step "making the build chroot (about 3 minutes, 1.8 GB)" "check the network; free disk: df -h $CACHE"
    rm -rf "$CACHE/cross/$SUITE"-*
    make_chroot
    mv "$CHROOT.new" "$CHROOT"
}

make_chroot() {
    local packages=(
        rustc:amd64 cargo:amd64 libstd-rust-dev:amd64 libstd-rust-dev:arm64
        gcc g++ libc6-dev gcc-aarch64-linux-gnu g++-aarch64-linux-gnu libc6-dev:arm64
        zlib1g-dev zlib1g-dev:arm64 cmake make pkg-config ca-certificates
        squashfs-tools e2fsprogs dosfstools mtools fdisk bmap-tools xz-utils device-tree-compiler
        kmod cpio zstd python3-minimal
    )
    local mirror pins
    mirror=$(debian_mirror)
    # Without ":any" a pin holds for one architecture only, and the other's packages conflict.
    pins=$(printf 'Package: rustc:any cargo:any libstd-rust*:any\nPin: release n=%s-backports\nPin-Priority: 900\n' "$SUITE")
    # shellcheck disable=SC2016 # mmdebstrap gives the hook the chroot as $1
    mmdebstrap --quiet --mode=root --variant=minbase --architectures=amd64,arm64 \
        --setup-hook='mkdir -p "$1/etc/apt/preferences.d"' \
        --setup-hook="printf '%s\n' '$pins' >\"\$1/etc/apt/preferences.d/rust\"" \
        --include="$(
            IFS=,
            echo "${packages[*]}"
        )" \
        "$SUITE" "$CHROOT.new" \
        "deb $mirror $SUITE main" "deb $mirror $SUITE-backports main" >&2
}

# inside COMMAND...: runs in the chroot, with the project and the cache bound in. The mounts live in
# a namespace of their own and go with it.
inside() {
    mkdir -p "$CHROOT/work" "$CHROOT/cargo" "$CHROOT/target" "$CHROOT/cache" "$CACHE/cross/cargo" "$CACHE/cross/target"
    # The certificates and the network's names are the host's.
    cp /etc/resolv.conf "$CHROOT/etc/resolv.conf" 2>/dev/null || true
    local config="${CARGO_HOME:-$HOME/.cargo}/config.toml"
    [ ! -e "$config" ] || cp "$config" "$CACHE/cross/cargo/config.toml"
    # shellcheck disable=SC2016 # expanded inside
    unshare --mount --propagation private sh -c '
        set -e
        chroot=$1 project=$2 cache=$3
        shift 3
        mount --bind "$project" "$chroot/work"
        mount --bind "$cache" "$chroot/cache"
        mount --bind "$cache/cross/cargo" "$chroot/cargo"
        mount --bind "$cache/cross/target" "$chroot/target"
        mount -t proc proc "$chroot/proc"
        mount --bind /dev "$chroot/dev"
        mount --bind /etc/ssl/certs "$chroot/etc/ssl/certs"
        if [ -d /usr/local/share/ca-certificates ]; then
            mkdir -p "$chroot/usr/local/share/ca-certificates"
            mount --bind /usr/local/share/ca-certificates "$chroot/usr/local/share/ca-certificates"
        fi
        exec chroot "$chroot" /usr/bin/env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root \
            LC_ALL=C.UTF-8 CARGO_HOME=/cargo CARGO_TARGET_DIR=/target CARGO_TERM_COLOR=never \
            CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=aarch64-linux-gnu-gcc \
            CC_aarch64_unknown_linux_gnu=aarch64-linux-gnu-gcc \
            CXX_aarch64_unknown_linux_gnu=aarch64-linux-gnu-g++ \
            "$@"
    ' sh "$CHROOT" "$PROJECT" "$CACHE" "$@"
}
