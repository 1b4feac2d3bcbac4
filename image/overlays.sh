# shellcheck shell=bash
# The device-tree overlays of the firmware partition. Sourced by image/root.sh.

# compile_overlays DIR: compiles overlays/*.dts into DIR, relative to the cache.
compile_overlays() {
    local dir=$1 source name
    mkdir -p "$CACHE/$dir"
    for source in overlays/*-overlay.dts; do
        name=$(basename "$source" -overlay.dts)
        compile_overlay "$dir/$name.dtbo" <"$source"
    done
    # The header of a Pi 5 hangs on another chip, under another label.
    sed -e 's/<&gpio /<\&rp1_gpio /' -e 's/brcm,bcm2835/brcm,bcm2712/' overlays/lucid-panel-overlay.dts |
        compile_overlay "$dir/lucid-panel-pi5.dtbo"
}

# compile_overlay FILE: what dtc makes of stdin.
compile_overlay() {
    inside dtc -q -@ -I dts -O dtb -o "/cache/$1" -
}
