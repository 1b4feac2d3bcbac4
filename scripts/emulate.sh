# shellcheck shell=bash
# Running programs of the boards' processor on this machine. Sourced after lib.sh.

# need_emulation: lets the kernel start aarch64 programs through qemu, also inside chroots.
need_emulation() {
    [ "$(uname -m)" != aarch64 ] || return 0
    apt_packages qemu-user-static arch-test
    local binfmt=/proc/sys/fs/binfmt_misc
    [ -e "$binfmt/status" ] || mount -t binfmt_misc binfmt_misc "$binfmt" ||
        fail "binfmt_misc cannot be mounted" "load it: modprobe binfmt_misc"
    # Flag F opens the emulator now, so that it need not be in the chroot.
    [ -e "$binfmt/qemu-aarch64" ] || cat /usr/lib/binfmt.d/qemu-aarch64.conf >"$binfmt/register" ||
        fail "the kernel does not take qemu-aarch64" "see $binfmt/status"
}
