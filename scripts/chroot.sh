# shellcheck shell=bash
# Debian trixie chroots with the programs that build and boot the image, so that what comes out does
# not depend on the machine that builds. Sourced after lib.sh.

SUITE=trixie
CHROOT=

# compilers, tools: the packages of the two chroots. The compiler is the one that stable itself keeps
# for browsers: in backports one architecture may be ahead of the other for days, and the library of
# the one fits no compiler of the other.
compilers() {
    echo rustc-web:amd64 cargo-web:amd64 libstd-rust-web-dev:amd64 libstd-rust-web-dev:arm64 \
        gcc g++ libc6-dev gcc-aarch64-linux-gnu g++-aarch64-linux-gnu libc6-dev:arm64 \
        zlib1g-dev zlib1g-dev:arm64 cmake make pkg-config ca-certificates
}
tools() {
    echo squashfs-tools e2fsprogs dosfstools mtools fdisk bmap-tools xz-utils kmod python3-minimal \
        device-tree-compiler qemu-system-arm qemu-utils
}

# recipe NAME: the hash of how a chroot is made.
recipe() {
    {
        "$1"
        declare -f make_chroot
    } | sha256sum | cut -c1-16
}

# need_chroot NAME: makes the chroot where it is missing, and sets CHROOT.
need_chroot() {
    local name=$1
    [ "$(id -u)" = 0 ] || fail "a chroot needs root" "run: sudo ./scripts/$(basename "$0")"
    apt_packages mmdebstrap debian-archive-keyring ca-certificates
    CHROOT="$CACHE/chroot/$name-$(recipe "$name")"
    [ ! -d "$CHROOT" ] || return 0
    mkdir -p "$CACHE/chroot"
    step "making the chroot of the $name (about a minute)" "check the network; free disk: df -h $CACHE"
    rm -rf "$CACHE/chroot/$name"-*
    # shellcheck disable=SC2046 # one package a word
    make_chroot "$CHROOT.new" $("$name")
    mv "$CHROOT.new" "$CHROOT"
}

# make_chroot DIRECTORY PACKAGE...
make_chroot() {
    local dir=$1 mirror
    shift
    mirror=$(debian_mirror)
    mmdebstrap --quiet --mode=root --variant=minbase --architectures=amd64,arm64 \
        --include="$(
            IFS=,
            echo "$*"
        )" \
        "$SUITE" "$dir" \
        "deb $mirror $SUITE main" >&2
}

# inside COMMAND...: runs in the chroot: the project at /work, the cache at /cache. The mounts live
# in a namespace of their own and go with it.
inside() {
    mkdir -p "$CHROOT"/{work,cache,cargo,target} "$CACHE/cross/cargo" "$CACHE/cross/target"
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
        if [ -d "$chroot/etc/ssl/certs" ]; then
            mount --bind /etc/ssl/certs "$chroot/etc/ssl/certs"
        fi
        if [ -d /usr/local/share/ca-certificates ]; then
            mkdir -p "$chroot/usr/local/share/ca-certificates"
            mount --bind /usr/local/share/ca-certificates "$chroot/usr/local/share/ca-certificates"
        fi
        exec chroot "$chroot" /usr/bin/env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root \
            LC_ALL=C.UTF-8 TZ=UTC ${SOURCE_DATE_EPOCH:+"SOURCE_DATE_EPOCH=$SOURCE_DATE_EPOCH"} \
            CARGO_HOME=/cargo CARGO_TARGET_DIR=/target CARGO_TERM_COLOR=never \
            CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=aarch64-linux-gnu-gcc \
            CC_aarch64_unknown_linux_gnu=aarch64-linux-gnu-gcc \
            CXX_aarch64_unknown_linux_gnu=aarch64-linux-gnu-g++ \
            "$@"
    ' sh "$CHROOT" "$PROJECT" "$CACHE" "$@"
}
