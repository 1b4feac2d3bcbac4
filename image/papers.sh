# shellcheck shell=bash
# What goes beside the image: packages, bill of materials, licences, source offer, checksums, and
# the entry for Raspberry Pi Imager. Sourced by scripts/image.

# papers: from the root and the lists of the build.
papers() {
    step "writing the bill of materials and the licences" "see the lines above"
    cp "$WORK/packages" "$WORK/$NAME.packages"
    # The sources of both programs, as cargo fetched and verified them.
    need_chroot compilers
    inside sh -c 'cd /work && cargo metadata --locked --quiet --format-version 1 --filter-platform aarch64-unknown-linux-gnu' >"$WORK/lucid.json"
    need_chroot tools
    python3 image/papers.py --name "$NAME" --version "$VERSION" --packages "$WORK/packages" --root "$ROOT" \
        --lucid "$WORK/lucid.json" --secantus "$SECANTUS_VERSION" --cargo-home "$CACHE/cross/cargo" \
        --epoch "$SOURCE_DATE_EPOCH" --sbom "$WORK/$NAME.cdx.json" --offer "$WORK/$NAME.sources.txt" \
        --licences "$WORK/licences"
    tar -C "$WORK" --sort=name --owner=0 --group=0 --numeric-owner --mtime="@$SOURCE_DATE_EPOCH" \
        -cf - licences | xz -T1 -6 >"$WORK/$NAME.licences.tar.xz"
}

# pack: compresses the image and writes what is needed to download, check and write it.
pack() {
    local image="/cache/image/work/$NAME.img"
    step "compressing the image (about a minute)" "free disk: df -h $CACHE"
    inside bmaptool -q create -o "/cache/image/work/$NAME.bmap" "$image"
    # Blocks of a fixed size, so that the number of threads changes nothing.
    inside xz -k -T0 --block-size=32MiB -6 "$image"
    (cd "$WORK" && sha256sum "$NAME.img" "$NAME.img.xz" "$NAME.bmap" "$NAME.cdx.json" "$NAME.packages" \
        "$NAME.sources.txt" "$NAME.licences.tar.xz" >"$NAME.sha256")
    python3 image/imager.py --name "$NAME" --version "$VERSION" --image "$WORK/$NAME.img" \
        --url "${URL:-file://$OUT}" --epoch "$SOURCE_DATE_EPOCH" >"$WORK/$NAME.imager.json"
}
