# shellcheck shell=bash
# What every test of the image needs: the image, an emulator, Python clients. Sets IMAGE,
# LUCID_TOOLS and LUCID_TEST_PYTHON. Sourced by the programs in tests/.

# shellcheck source=scripts/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
# shellcheck source=scripts/chroot.sh
. "$PROJECT/scripts/chroot.sh"

[ "$(id -u)" = 0 ] || fail "the emulator is kept in a chroot, which needs root" "run: sudo $0"
apt_packages python3-venv openssh-client
need_clients
need_chroot tools
IMAGE="$PROJECT/target/image/lucid-$(sed -n 's/^version = "\(.*\)"/\1/p' "$PROJECT/Cargo.toml" | head -n 1)-arm64.img"
[ -e "$IMAGE" ] || "$PROJECT/scripts/image" --unpacked >&2
export LUCID_TOOLS=$CHROOT LUCID_TEST_PYTHON="$CACHE/venv/bin/python"
trap - ERR
