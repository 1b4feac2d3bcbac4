# shellcheck shell=bash
# From a root and the files of the firmware partition to one file that is written to a card. No
# loop device and no mount: every file system is made from a directory. Sourced by scripts/image.

# The partitions, in MiB. An MBR, since boards before the Pi 4 start from nothing else; the last two
# are logical. The data partition is as small as may be: the first start grows it.
ALIGN=4
FIRMWARE=512
SLOT=512
STATE=128
DATA=16

# Identifiers of file systems that are in every image alike.
STATE_UUID=6c756369-642d-4000-8000-7374617465a1
FIRMWARE_ID=4c554349

# In the tools' chroot the work directory is /cache/image/work.
assemble() {
    local image=$1 name="/cache/image/work" at root_bytes
    step "making the file systems" "free disk: df -h $CACHE"
    inside rm -f "$name/root.squashfs" "$name/firmware.img" "$name/state.img"
    inside env -u SOURCE_DATE_EPOCH mksquashfs /cache/image/root "$name/root.squashfs" -noappend -quiet -no-progress \
        -comp zstd -Xcompression-level 15 -b 256K -no-exports \
        -mkfs-time "$SOURCE_DATE_EPOCH" -all-time "$SOURCE_DATE_EPOCH" >&2
    root_bytes=$(stat -c %s "$WORK/root.squashfs")
    [ "$root_bytes" -le $((SLOT << 20)) ] ||
        fail "the root has $((root_bytes >> 20)) MiB, a slot holds $SLOT" "drop packages or raise SLOT in image/assemble.sh"

    find "$WORK/firmware" -exec touch -h -d "@$SOURCE_DATE_EPOCH" {} +
    inside sh -c "truncate -s ${FIRMWARE}M $name/firmware.img
        mkfs.vfat -F 32 -n BOOTFS -i $FIRMWARE_ID --invariant $name/firmware.img >/dev/null
        cd $name/firmware && mcopy -s -m -i $name/firmware.img \$(ls | LC_ALL=C sort) ::/" >&2
    inside sh -c "truncate -s ${STATE}M $name/state.img
        mke2fs -q -t ext4 -L lucid-state -U $STATE_UUID -E hash_seed=$STATE_UUID,lazy_itable_init=0 \
            -J size=8 -m 1 $name/state.img" >&2

    step "putting the image together" "free disk: df -h $CACHE"
    rm -f "$image"
    truncate -s $((ALIGN + FIRMWARE + 2 * SLOT + 1 + STATE + 1 + DATA))M "$image"
    at=$((ALIGN * 2048))
    {
        echo "label: dos"
        echo "label-id: 0x$DISK"
        echo "start=$at, size=$((FIRMWARE * 2048)), type=c, bootable"
        echo "start=$((at += FIRMWARE * 2048)), size=$((SLOT * 2048)), type=83"
        echo "start=$((at += SLOT * 2048)), size=$((SLOT * 2048)), type=83"
        echo "start=$((at += SLOT * 2048)), size=$(((1 + STATE + 1 + DATA) * 2048)), type=f"
        echo "start=$((at += 2048)), size=$((STATE * 2048)), type=83"
        echo "start=$((at += (STATE + 1) * 2048)), size=$((DATA * 2048)), type=83"
    } | inside sfdisk --quiet "/cache/${image#"$CACHE"/}" >&2
    put "$WORK/firmware.img" "$image" "$ALIGN"
    put "$WORK/root.squashfs" "$image" $((ALIGN + FIRMWARE))
    put "$WORK/state.img" "$image" $((ALIGN + FIRMWARE + 2 * SLOT + 1))
}

# put FILE IMAGE MIB: writes a file system to its place; holes stay holes.
put() {
    dd if="$1" of="$2" bs=1M seek="$3" conv=notrunc,sparse status=none
}
