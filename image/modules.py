"""Removes kernel modules that no listed board can use, and keeps whatever a kept one needs.

    modules.py DIRECTORY      such as usr/lib/modules/7.3.4-arm64

Works on the files and on modules.builtin alone; depmod runs afterwards.
"""

import lzma
import pathlib
import re
import sys

# Directories below kernel/ that go, unless KEEP names something inside.
DROP = (
    "sound drivers/media drivers/infiniband drivers/isdn drivers/staging drivers/iio drivers/comedi "
    "drivers/gpu drivers/accel drivers/net/ethernet drivers/net/wireless drivers/net/can drivers/net/wwan "
    "drivers/net/dsa drivers/net/ieee802154 drivers/net/hamradio drivers/net/arcnet drivers/net/fddi "
    "drivers/scsi drivers/target drivers/ata drivers/crypto drivers/edac drivers/remoteproc drivers/rpmsg "
    "drivers/soundwire drivers/slimbus drivers/interconnect drivers/perf drivers/hwtracing drivers/nfc "
    "drivers/bluetooth drivers/hid drivers/input drivers/mtd drivers/infiniband drivers/ufs drivers/fpga "
    "drivers/thunderbolt drivers/power/supply drivers/platform drivers/xen drivers/hv drivers/vfio drivers/vhost "
    "drivers/usb/gadget drivers/usb/serial drivers/usb/atm drivers/usb/image drivers/most drivers/greybus "
    "drivers/counter drivers/w1 drivers/parport drivers/firewire drivers/atm drivers/dma drivers/spi "
    "drivers/pinctrl drivers/clk drivers/regulator drivers/mfd drivers/phy drivers/thermal drivers/soc "
    "net/bluetooth net/nfc net/mac802154 net/ieee802154 net/can net/sctp net/tipc net/rds net/dccp net/ax25 "
    "net/netrom net/rose net/appletalk net/lapb net/x25 net/atm net/phonet net/batman-adv net/openvswitch "
    "net/sched net/wireless/tests net/ceph net/9p net/smc net/rxrpc net/l2tp "
    "fs/ocfs2 fs/gfs2 fs/dlm fs/ceph fs/afs fs/coda fs/orangefs fs/jfs fs/hfs fs/hfsplus fs/ufs fs/minix "
    "fs/nilfs2 fs/bfs fs/befs fs/affs fs/adfs fs/omfs fs/qnx4 fs/qnx6 fs/sysv fs/ubifs fs/jffs2 fs/9p fs/smb "
    "fs/nfsd fs/nfs fs/lockd fs/bcachefs fs/zonefs fs/cramfs fs/romfs fs/efs fs/hpfs fs/freevxfs arch/arm64/kvm"
).split()

# What the boards and the emulated machine have, wherever it lies.
KEEP = re.compile(
    r"(bcm2|bcm_|bcm-|brcm|broadcom|raspberry|rpi|rp1|vc4|v3d|genet|lan78|smsc|macb|iproc|sdhci|dwc|"
    r"virtio|gpio|i2c-|pwm|clk-rp|reset-|leds|rtc-|watchdog|softdog|i6300|thermal|hwmon|"
    r"scsi_mod|sd_mod|sg\.ko|scsi_common|usb|hid-generic|hid\.ko|gpio_keys|evdev|phy-generic|"
    r"cdc_ether|cdc_ncm|rndis|r8152|ax88|simpledrm|drm_|spi-bcm|pinctrl-rp|nvme|aes|ghash|sha|cmac|ccm|gcm)"
)


def name(path):
    return path.name.split(".ko")[0].replace("-", "_")


def depends(path):
    """The field depends= of the module's .modinfo section."""
    data = path.read_bytes()
    if path.suffix == ".xz":
        data = lzma.decompress(data)
    for field in re.findall(rb"(?:^|\0)depends=([^\0]*)", data):
        return [part.replace("-", "_") for part in field.decode().split(",") if part]
    return []


def main():
    root = pathlib.Path(sys.argv[1]) / "kernel"
    modules = {name(path): path for path in sorted(root.rglob("*.ko*"))}
    if len(modules) < 500:
        sys.exit(f"{root} holds {len(modules)} modules: this is no Debian kernel")

    def dropped(path):
        inside = path.relative_to(root).as_posix()
        return any(inside.startswith(prefix + "/") for prefix in DROP) and not KEEP.search(inside)

    wanted = [module for module, path in modules.items() if not dropped(path)]
    kept = set()
    while wanted:
        module = wanted.pop()
        if module in kept or module not in modules:
            continue
        kept.add(module)
        wanted.extend(depends(modules[module]))
    for module, path in modules.items():
        if module not in kept:
            path.unlink()
    print(f"{len(kept)} of {len(modules)} kernel modules stay", file=sys.stderr)


main()
