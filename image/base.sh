# shellcheck shell=bash
# The lowest layer of the image: Debian's packages and the initial RAM disk, without anything of
# Lucid. Kept as a tar by the hash of what it is made from. Sourced by scripts/image.

# A fixed time for files that are made here; Debian's own files keep theirs, if older.
BASE_EPOCH=1767225600

# packages: the names in image/packages, joined by commas.
packages() {
    sed 's/#.*//' "$PROJECT/image/packages" | tr -s ' \n' '\n' | grep . | paste -sd,
}

# base_hash: what the layer is made from.
base_hash() {
    {
        packages
        cat "$PROJECT"/image/initramfs/*
        declare -f make_base
        echo "$BASE_EPOCH"
    } | sha256sum | cut -c1-16
}

# make_base TAR: builds the layer.
make_base() {
    local tar=$1 mirror pins hooks="$PROJECT/image/initramfs"
    mirror=$(debian_mirror)
    pins='Package: linux-image-* linux-base linux-binary-* linux-modules-* linux-initramfs-tool
Pin: release n=trixie-backports
Pin-Priority: 900
'
    # shellcheck disable=SC2016 # mmdebstrap gives hooks the directory as $1
    SOURCE_DATE_EPOCH=$BASE_EPOCH mmdebstrap --quiet --mode=root --variant=essential \
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
        --essential-hook='for name in usr/sbin/update-initramfs etc/kernel/postinst.d/z50-raspi-firmware etc/initramfs/post-update.d/z50-raspi-firmware; do
            mkdir -p "$(dirname "$1/$name")"
            chroot "$1" dpkg-divert --quiet --local --rename --add "/$name"
        done
        ln -s /bin/true "$1/usr/sbin/update-initramfs"' \
        --include="$(packages)" \
        --customize-hook='rm "$1/usr/sbin/update-initramfs"
        for name in usr/sbin/update-initramfs etc/kernel/postinst.d/z50-raspi-firmware etc/initramfs/post-update.d/z50-raspi-firmware; do
            chroot "$1" dpkg-divert --quiet --local --rename --remove "/$name"
        done' \
        --customize-hook="install -m 755 '$hooks/hook' \"\$1/etc/initramfs-tools/hooks/lucid\"" \
        --customize-hook="install -m 755 '$hooks/lucid-state' \"\$1/etc/initramfs-tools/scripts/init-bottom/lucid-state\"" \
        --customize-hook="install -m 644 '$hooks/modules' \"\$1/etc/initramfs-tools/modules\"" \
        --customize-hook='printf "MODULES=list\nBUSYBOX=y\nCOMPRESS=zstd\nCOMPRESSLEVEL=19\nFSTYPE=squashfs\nRESUME=none\n" >"$1/etc/initramfs-tools/conf.d/lucid"' \
        --customize-hook='version=$(ls "$1/usr/lib/modules")
        mount -t proc proc "$1/proc"
        chroot "$1" mkinitramfs -o /boot/initrd.img "$version"
        code=$?
        umount "$1/proc"
        exit $code' \
        --customize-hook='rm -rf "$1"/var/cache/apt "$1"/var/lib/apt/lists "$1"/etc/apt/sources.list "$1"/etc/apt/sources.list.d/* "$1"/etc/resolv.conf "$1"/var/lib/dbus/machine-id' \
        trixie "$tar" \
        "deb $mirror trixie main non-free-firmware" \
        "deb $mirror trixie-backports main" \
        "deb ${mirror%/debian}/debian-security trixie-security main" >&2
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
