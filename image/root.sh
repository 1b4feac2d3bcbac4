# shellcheck shell=bash
# The root of the image: Debian's packages, Lucid and the engines, and what is laid over them.
# Sourced by scripts/image, which sets WORK, the directory of this build.

# in_root COMMAND...: runs a program of the root, emulated.
in_root() {
    # shellcheck disable=SC2016 # expanded inside
    unshare --mount --propagation private sh -c '
        set -e
        root=$1
        shift
        mount -t proc proc "$root/proc"
        mount -t tmpfs tmp "$root/tmp"
        exec chroot "$root" /usr/bin/env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C.UTF-8 \
            SOURCE_DATE_EPOCH="$SOURCE_DATE_EPOCH" "$@"
    ' sh "$ROOT" "$@"
}

# natively: what was left out of the emulated installation, done by this machine's processor.
natively() {
    local version=$1 work=/cache/image/root
    inside python3 "/work/image/modules.py" "$work/usr/lib/modules/$version"
    inside depmod -b "$work" "$version"
    # Unchecked: the sources never change, and a read-only root could not keep a new one.
    inside python3 -m compileall -q -j 2 --invalidation-mode unchecked-hash -s "$work" \
        "$work/usr/lib/python3" "$work/usr/lib/python3.13" "$work/usr/share/netplan" >/dev/null || true
}

# initrd VERSION: the initial RAM disk, kept by the hash of what it is made from.
initrd() {
    local version=$1 hash
    hash=$({
        base_hash
        cat "$PROJECT"/image/initramfs/* "$PROJECT/image/modules.py"
        declare -f initrd natively
    } | sha256sum | cut -c1-16)
    INITRD="$CACHE/image/initrd-$hash"
    [ ! -e "$INITRD" ] || return 0
    step "making the initial RAM disk (about 1 minute, emulated)" "see the lines above"
    local etc="$ROOT/etc/initramfs-tools"
    install -m 755 "$PROJECT/image/initramfs/hook" "$etc/hooks/lucid"
    install -m 755 -t "$etc/scripts/init-bottom" "$PROJECT"/image/initramfs/lucid-*
    install -m 644 "$PROJECT/image/initramfs/modules" "$etc/modules"
    printf 'MODULES=list\nBUSYBOX=y\nCOMPRESS=gzip\nCOMPRESSLEVEL=9\nFSTYPE=squashfs\nRESUME=none\n' >"$etc/conf.d/lucid"
    # Kept over commits, so its time is not that of one.
    SOURCE_DATE_EPOCH=$BASE_EPOCH in_root mkinitramfs -o /boot/initrd.img "$version" >&2
    rm -f "$CACHE"/image/initrd-*
    mv "$ROOT/boot/initrd.img" "$INITRD"
}

# install_lucid BIN: the programs, units and files of the appliance.
install_lucid() {
    local bin=$1 unit
    install -m 755 "$bin/lucid" "$ROOT/usr/bin/lucid"
    install -D -m 755 "$bin/secantusd-rs" "$ROOT/usr/lib/lucid/engines/secantusd-rs"
    install -D -m 644 -t "$ROOT/usr/share/doc/lucid" README.md LICENSE
    install -D -m 644 systemd/lucid.sysusers "$ROOT/usr/lib/sysusers.d/lucid.conf"
    install -D -m 644 systemd/lucid.tmpfiles "$ROOT/usr/lib/tmpfiles.d/lucid.conf"
    install -D -m 644 systemd/lucid.modules-load.conf "$ROOT/usr/lib/modules-load.d/lucid.conf"
    install -D -m 644 systemd/lucid.catalog "$ROOT/usr/lib/systemd/catalog/lucid.catalog"
    install -m 644 systemd/lucid.service "$ROOT/usr/lib/systemd/system/lucid.service"
    install -D -m 644 systemd/lucid-subgroup.conf "$ROOT/usr/lib/systemd/system/lucid.service.d/10-subgroup.conf"
    cp -r --no-preserve=ownership,mode overlays/root/. "$ROOT/"
    sed -i "s/@DISK@/$DISK/" "$ROOT/etc/fstab"
    echo "$DISK" >"$ROOT/usr/lib/lucid/image"
    mkdir -p "$ROOT/data" "$ROOT/state" "$ROOT/boot/firmware" "$ROOT/var/lib/cloud"
    ln -sf /run/systemd/resolve/stub-resolv.conf "$ROOT/etc/resolv.conf"
    : >"$ROOT/etc/machine-id"
    # Caches are made here; nothing has to be brought up to date at the first start.
    in_root ldconfig
    : >"$ROOT/etc/.updated"
    : >"$ROOT/var/.updated"
    # It looks for a virtual machine's socket, which no board has.
    mkdir -p "$ROOT/etc/systemd/system-generators"
    ln -sf /dev/null "$ROOT/etc/systemd/system-generators/systemd-ssh-generator"
    rm -f "$ROOT"/etc/ssh/ssh_host_* "$ROOT/etc/ssh/moduli" "$ROOT/var/lib/systemd/random-seed"
    in_root systemd-sysusers
    in_root journalctl --update-catalog
    for unit in "${ENABLED[@]}"; do
        in_root systemctl --quiet enable "$unit"
    done
    in_root systemctl --quiet mask "${MASKED[@]}"
    in_root systemctl --quiet set-default multi-user.target
}

# Units that start, and those that must not: engines and disks are Lucid's, nothing waits for the
# network or the time, nothing asks on the console, nothing writes to a read-only root.
ENABLED=(lucid.service lucid-health.timer lucid-trim.timer lucid-journal.service lucid-hostkey.service lucid-cloud-done.service
    ssh.service avahi-daemon.service systemd-networkd.service systemd-resolved.service
    systemd-timesyncd.service)
MASKED=(redis-server.service smartmontools.service systemd-journal-flush.service
    systemd-networkd-wait-online.service systemd-time-wait-sync.service systemd-firstboot.service
    dpkg-db-backup.timer e2scrub_all.timer e2scrub_reap.service fstrim.timer
    systemd-pcrphase.service wpa_supplicant.service)

# trim: what a finished root does not need. Licence texts stay.
trim() {
    rm -rf "${ROOT:?}"/boot/* "$ROOT"/var/cache/* "$ROOT"/var/log/* "$ROOT"/var/backups "$ROOT"/usr/lib/raspi-firmware \
        "$ROOT"/usr/lib/linux-image-* "$ROOT"/usr/share/man "$ROOT"/usr/share/perl5/Debconf/Element/Gnome* \
        "$ROOT"/usr/share/initramfs-tools "$ROOT"/etc/initramfs-tools "$ROOT"/etc/apt "$ROOT"/etc/kernel \
        "$ROOT"/etc/dpkg/dpkg.cfg.d/*mmdebstrap* "$ROOT"/var/lib/dpkg/*-old "$ROOT"/etc/*- "$ROOT"/tmp/*
    mkdir -p "$ROOT/boot/firmware"
}

# make_root: leaves the root in ROOT, and beside it what goes to the firmware partition.
make_root() {
    local base=$1 bin=$2 version
    ROOT="$CACHE/image/root"
    step "laying out the root" "free disk: df -h $CACHE"
    rm -rf "$ROOT"
    mkdir -p "$ROOT"
    tar -C "$ROOT" --numeric-owner -xpf "$base"
    version=$(ls "$ROOT/usr/lib/modules")
    natively "$version"
    initrd "$version"
    install_lucid "$bin"
    # shellcheck disable=SC2153 # set by scripts/image
    mkdir -p "$WORK/firmware"
    # Without the variants for cameras and debugging.
    cp "$ROOT"/usr/lib/raspi-firmware/{bootcode.bin,start.elf,start4.elf,fixup.dat,fixup4.dat} "$WORK/firmware/"
    cp "$ROOT/usr/share/doc/raspi-firmware/copyright" "$WORK/firmware/LICENCE.raspi-firmware"
    cp "$ROOT/usr/lib/linux-image-$version"/broadcom/bcm27* "$ROOT/usr/lib/linux-image-$version"/broadcom/bcm2837* "$WORK/firmware/"
    cp "$ROOT/boot/vmlinuz-$version" "$WORK/firmware/vmlinuz"
    cp "$INITRD" "$WORK/firmware/initrd.img"
    cp image/firmware/* "$WORK/firmware/"
    compile_overlays "image/work/firmware/overlays"
    sed -i "s/@DISK@/$DISK/" "$WORK/firmware/cmdline.txt"
    mv "$ROOT/usr/share/lucid-packages" "$WORK/packages"
    trim
}
