# shellcheck shell=bash
# The lowest layer of the image: Debian's packages, without anything of Lucid. Kept as a tar by the hash of what it is made from. Sourced by scripts/image.

# A fixed time for files that are made here; Debian's own files keep theirs, if older.
BASE_EPOCH=1767225600

# packages: the names in image/packages, joined by commas.
packages() {
    sed 's/#.*//' "$PROJECT/image/packages" | tr -s ' \n' '\n' | grep . | paste -sd,
}

# What takes long under emulation and is done once, natively, later (root.sh); and the hooks of
# raspi-firmware, which write to a mounted firmware partition.
DIVERTED=(usr/sbin/update-initramfs usr/sbin/depmod usr/bin/py3compile usr/bin/py3clean
    etc/kernel/postinst.d/z50-raspi-firmware etc/initramfs/post-update.d/z50-raspi-firmware)

# stand_ins add|remove: a hook that puts /bin/true in the place of these programs, or takes it away.
stand_ins() {
    local name
    for name in "${DIVERTED[@]}"; do
        # shellcheck disable=SC2016 # mmdebstrap gives hooks the directory as $1
        case "$1" in
        add) printf 'mkdir -p "$1/%s"; chroot "$1" dpkg-divert --quiet --local --rename --add "/%s"; ln -s /bin/true "$1/%s"\n' \
            "$(dirname "$name")" "$name" "$name" ;;
        remove) printf 'rm "$1/%s"; chroot "$1" dpkg-divert --quiet --local --rename --remove "/%s"\n' "$name" "$name" ;;
        esac
    done
}

# base_hash: what the layer is made from.
base_hash() {
    {
        packages
        cat "$PROJECT/image/lock.py"
        declare -f make_base stand_ins
        echo "${DIVERTED[@]}"
        echo "$BASE_EPOCH"
    } | sha256sum | cut -c1-16
}

# make_base TAR: builds the layer.
make_base() {
    local tar=$1 mirror pins
    mirror=$(debian_mirror)
    pins='Package: linux-image-* linux-base linux-binary-* linux-modules-* linux-initramfs-tool
Pin: release n=trixie-backports
Pin-Priority: 900
'
    # shellcheck disable=SC2016 # mmdebstrap gives hooks the directory as $1
    SOURCE_DATE_EPOCH=$BASE_EPOCH mmdebstrap --mode=root --variant=essential \
        --architectures=arm64 --components=main,non-free-firmware \
        --dpkgopt='path-exclude=/usr/share/man/*' \
        --dpkgopt='path-exclude=/usr/share/info/*' \
        --dpkgopt='path-exclude=/usr/share/locale/*' \
        --dpkgopt='path-exclude=/usr/share/lintian/*' \
        --dpkgopt='path-exclude=/usr/share/bash-completion/*' \
        --dpkgopt='path-exclude=/usr/share/bug/*' \
        --dpkgopt='path-exclude=/usr/share/doc/*' \
        --dpkgopt='path-include=/usr/share/doc/*/copyright' \
        --dpkgopt='path-exclude=/usr/lib/linux-image-*' \
        --dpkgopt='path-include=/usr/lib/linux-image-*/broadcom/*' \
        --setup-hook='mkdir -p "$1/etc/apt/preferences.d" "$1/etc/default"' \
        --setup-hook="printf '%s' '$pins' >\"\$1/etc/apt/preferences.d/kernel\"" \
        --essential-hook='echo "do_symlinks = no" >"$1/etc/kernel-img.conf"' \
        --essential-hook="$(stand_ins add)" \
        --include="$(packages)" \
        --customize-hook="$(stand_ins remove)" \
        --customize-hook="APT_CONFIG=\"\$MMDEBSTRAP_APT_CONFIG\" apt-cache dumpavail | python3 '$PROJECT/image/lock.py' \"\$1\" >\"\$1/usr/share/lucid-packages\"" \
        --customize-hook='rm -rf "$1"/var/cache/apt "$1"/var/lib/apt/lists "$1"/etc/apt/sources.list "$1"/etc/apt/sources.list.d/* "$1"/etc/resolv.conf "$1"/var/lib/dbus/machine-id' \
        trixie "$tar" \
        "deb $mirror trixie main non-free-firmware" \
        "deb $mirror trixie-backports main" \
        "deb ${mirror%/debian}/debian-security trixie-security main" >"$tar.log" 2>&1 || {
        tail -n 40 "$tar.log" >&2
        return 1
    }
}

# base_layer: makes the layer where it is missing, and prints the path of its tar.
base_layer() {
    local tar
    tar="$CACHE/image/base-$(base_hash).tar"
    if [ ! -e "$tar" ]; then
        mkdir -p "$CACHE/image"
        step "making the root file system from Debian's packages (about 8 minutes)" \
            "check the network; what failed stands above"
        rm -f "$CACHE"/image/base-*
        make_base "$tar.new.tar"
        mv "$tar.new.tar" "$tar"
    fi
    echo "$tar"
}
