"""An emulated board that starts the image: what scripts/boot and the tests of the image drive.

QEMU and mtools come from the tools' chroot (scripts/chroot.sh), whose path is in LUCID_TOOLS, so that
every machine runs the same version.
"""

import ctypes
import json
import os
import pathlib
import re
import signal
import socket
import subprocess
import time

FIRMWARE_OFFSET = 4 << 20
USER = "pi"


class BoardError(Exception):
    """Something that a person must know, with the way out."""


def tool(name):
    """The command of a program in the tools' chroot, run with its own loader and libraries."""
    root = os.environ.get("LUCID_TOOLS")
    if not root:
        raise BoardError("LUCID_TOOLS is not set; start this through scripts/boot or ./scripts/test image")
    loader = next(pathlib.Path(root, "usr/lib64").glob("ld-linux-*"), None) or next(pathlib.Path(root, "usr/lib").glob("ld-linux-*"))
    libraries = sorted(str(path.parent) for path in pathlib.Path(root, "usr/lib").glob("*-linux-gnu/libc.so.6"))
    program = next(path for path in (pathlib.Path(root, "usr/bin", name), pathlib.Path(root, "usr/sbin", name)) if path.exists())
    return [str(loader), "--library-path", ":".join(libraries), str(program)]


def firmware(image, *arguments, stdin=None):
    """Runs an mtools command on the firmware partition of an image."""
    name, *rest = arguments
    command = [*tool(name), "-i", f"{image}@@{FIRMWARE_OFFSET}", *rest]
    environment = {**os.environ, "MTOOLS_SKIP_CHECK": "1"}
    subprocess.run(command, check=True, input=stdin, env=environment, stdout=subprocess.DEVNULL)


def put(image, name, text):
    """Writes a file to the firmware partition, as a person does at another computer."""
    firmware(image, "mcopy", "-o", "-", f"::{name}", stdin=text.encode())


def take(image, name, target):
    """Reads a file from the firmware partition."""
    firmware(image, "mcopy", "-o", "-n", f"::{name}", str(target))


def imager_files(key, hostname="lucid-test"):
    """The user-data that Raspberry Pi Imager writes for a user with a key."""
    return f"""#cloud-config
hostname: {hostname}
manage_etc_hosts: true
timezone: Europe/Berlin
users:
- name: {USER}
  groups: users,adm,sudo
  shell: /bin/bash
  sudo: ALL=(ALL) NOPASSWD:ALL
  ssh_authorized_keys:
    - {key}
"""


def copy_image(image, target, size):
    """A card with the image on it, of `size` bytes; holes stay holes."""
    subprocess.run(["cp", "--sparse=always", str(image), str(target)], check=True)
    if os.path.getsize(target) > size:
        raise BoardError(f"the image does not fit a card of {size} bytes")
    os.truncate(target, size)
    return pathlib.Path(target)


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def key_pair(directory):
    key = pathlib.Path(directory, "key")
    if not key.exists():
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", str(key)], check=True)
    return key, key.with_suffix(".pub").read_text().strip()


class Board:
    """One emulated board with a card. `disks` are further QEMU arguments; `append` goes to the
    kernel command line; `tree` changes the device tree's file before the start."""

    def __init__(self, card, work, board="virt", memory=1024, append="", extra=(), drive=None, key=None, tree=None):
        self.card, self.work, self.board = pathlib.Path(card), pathlib.Path(work), board
        self.change_tree = tree
        self.memory, self.append, self.extra, self.key = memory, append, list(extra), key
        self.drive = drive or f"file={self.card},format=raw,cache=writeback"
        self.console = self.work / "console.log"
        self.port = free_port()
        self.process = None
        self.began = None

    def _command(self):
        for name in ("vmlinuz", "initrd.img", "cmdline.txt"):
            take(self.card, name, self.work / name)
        cmdline = (self.work / "cmdline.txt").read_text().strip()
        net = f"user,id=net,restrict=on,hostfwd=tcp:127.0.0.1:{self.port}-:22"
        qmp = self.work / "qmp"
        qmp.unlink(missing_ok=True)
        share = pathlib.Path(os.environ["LUCID_TOOLS"], "usr/share/qemu")
        command = [
            *tool("qemu-system-aarch64"), "-L", str(share), "-display", "none", "-nodefaults", "-qmp", f"unix:{qmp},server=on,wait=off",
            "-kernel", str(self.work / "vmlinuz"), "-initrd", str(self.work / "initrd.img"),
        ]
        serial = f"file,id=console,path={self.console},append=on"
        if self.board == "virt":
            command += [
                "-M", "virt", "-accel", "tcg,thread=multi", "-cpu", "cortex-a72", "-smp", "2", "-m", str(self.memory),
                "-drive", f"if=none,id=card,{self.drive}", "-device", "virtio-blk-pci,drive=card,serial=card",
                "-netdev", net, "-device", "virtio-net-pci,netdev=net,romfile=", "-device", "virtio-rng-pci",
                "-chardev", serial, "-serial", "chardev:console",
                "-device", "pcie-root-port,id=slot1,chassis=1", "-device", "pcie-root-port,id=slot2,chassis=2",
                # The emulated machine has no watchdog of its own.
                "-append", f"{cmdline} console=ttyAMA0 modules_load=softdog {self.append}",
            ]
            if self.change_tree:
                tree = self.work / "virt.dtb"
                machine = ["-M", f"virt,dumpdtb={tree}", "-cpu", "cortex-a72", "-smp", "2", "-m", str(self.memory), "-display", "none"]
                subprocess.run([*tool("qemu-system-aarch64"), "-L", str(share), *machine], check=True, capture_output=True)
                self.change_tree(self, tree)
                command += ["-dtb", str(tree)]
        else:
            tree = {"raspi3b": "bcm2837-rpi-3-b.dtb", "raspi4b": "bcm2711-rpi-4-b.dtb"}[self.board]
            take(self.card, tree, self.work / tree)
            if self.board == "raspi4b":
                patch_pi4(self.work / tree)
            if self.change_tree:
                self.change_tree(self, self.work / tree)
            port = "ttyS1" if self.board == "raspi3b" else "ttyAMA0"
            first, second = ("null", "chardev:console") if self.board == "raspi3b" else ("chardev:console", "null")
            command += [
                "-M", self.board, "-dtb", str(self.work / tree), "-drive", f"if=sd,{self.drive}",
                "-chardev", serial, "-serial", first, "-serial", second,
                # The emulated watchdog does not count: arming it resets the board at once.
                "-append", f"{cmdline} console={port},115200 module_blacklist=bcm2835_wdt {self.append}",
            ]
            if self.board == "raspi3b":
                command += ["-netdev", net, "-device", "usb-net,netdev=net"]
        return [*command, *self.extra]

    def start(self):
        """Power on."""
        self.work.mkdir(parents=True, exist_ok=True)
        self.console.write_text("")
        command = self._command()
        self.errors = open(self.work / "qemu.log", "ab")
        self.began = time.monotonic()
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=self.errors, stderr=self.errors,
                                        preexec_fn=die_with_parent)
        return self

    def seconds(self):
        """Since power on."""
        return time.monotonic() - self.began

    def text(self):
        return self.console.read_text(errors="replace")

    def wait_console(self, pattern, limit):
        """Waits for a line on the console; gives the seconds since power on."""
        expression = re.compile(pattern)
        while True:
            if expression.search(self.text()):
                return time.monotonic() - self.began
            self._alive(f"the console did not show \"{pattern}\"")
            if time.monotonic() - self.began > limit:
                raise BoardError(f"the console did not show \"{pattern}\" within {limit} s:\n{self.tail()}")
            time.sleep(0.2)

    def tail(self):
        return "\n".join(self.text().splitlines()[-40:])

    def _alive(self, what):
        if self.process.poll() is not None:
            raise BoardError(f"{what}: the emulator ended with {self.process.returncode}:\n{self.tail()}\n"
                             + (self.work / "qemu.log").read_text(errors="replace")[-2000:])

    def ssh_command(self, *arguments):
        options = [
            "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR",
            "-o", "ConnectTimeout=30", "-o", "ServerAliveInterval=15", "-o", "BatchMode=yes", "-o", "IdentitiesOnly=yes",
            "-i", str(self.key), "-p", str(self.port),
        ]
        return ["ssh", *options, f"{USER}@127.0.0.1", *arguments]

    def run(self, command, limit=120, check=True, stdin=None):
        """Runs a command in the guest as root; gives what it printed."""
        result = subprocess.run(self.ssh_command("sudo", "sh", "-c", quote(command)), capture_output=True, text=True,
                                timeout=limit, input=stdin)
        if check and result.returncode != 0:
            raise BoardError(f"`{command}` ended with {result.returncode} in the guest: {result.stdout}{result.stderr}")
        return result.stdout

    def wait_ssh(self, limit):
        """Waits until somebody can log in."""
        while True:
            try:
                self.run("true", limit=60)
                return time.monotonic() - self.began
            except (BoardError, subprocess.TimeoutExpired):
                self._alive("nobody could log in")
                if time.monotonic() - self.began > limit:
                    raise BoardError(f"nobody could log in within {limit} s:\n{self.tail()}") from None
                time.sleep(1)

    def status(self):
        """`lucid status` in the guest; None while no supervisor answers."""
        text = self.run("lucid --json status", check=False)
        try:
            status = json.loads(text)
        except ValueError:
            return None
        return status if "state" in status else None

    def wait_state(self, state, limit):
        began = time.monotonic()
        status = None
        while time.monotonic() - began < limit:
            status = self.status()
            if status and status["state"] == state:
                return status
            self._alive(f"the appliance did not become {state}")
            time.sleep(1)
        raise BoardError(f"not {state} within {limit} s: {json.dumps(status, indent=1)}\n{self.tail()}")

    def physical(self, address):
        """A word of the guest's physical memory, as a device shows it to the processor."""
        answer = self.qmp("human-monitor-command", **{"command-line": f"xp /1wx {address:#x}"})
        return int(answer.split(":")[1], 16)

    def qmp(self, command, **arguments):
        """One command to the emulator; gives its answer."""
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(str(self.work / "qmp"))
            stream = connection.makefile("rw")
            stream.readline()
            for request in ({"execute": "qmp_capabilities"}, {"execute": command, "arguments": arguments}):
                stream.write(json.dumps(request) + "\n")
                stream.flush()
                while "event" in (answer := json.loads(stream.readline())):
                    pass
                if "error" in answer:
                    raise BoardError(f"the emulator refused {command}: {answer['error']['desc']}")
            return answer["return"]

    def power_off(self, limit=180):
        """A clean shutdown."""
        self.run("systemctl --no-block poweroff", check=False)
        if self.board != "virt":
            # Without the watchdog's driver the kernel cannot switch off.
            self.wait_console(r"reboot: (System halted|Power off not available|Power down)", time.monotonic() - self.began + limit)
            self.cut()
            return
        try:
            self.process.wait(limit)
        except subprocess.TimeoutExpired:
            self.cut()
            raise BoardError(f"the board did not power off within {limit} s:\n{self.tail()}") from None

    def cut(self):
        """The power goes away."""
        if self.process and self.process.poll() is None:
            self.process.kill()
            self.process.wait()


def add_panel(board, tree):
    """Applies the panel's overlay of the image, as the firmware of a board does."""
    overlay = board.work / "lucid-panel.dtbo"
    take(board.card, "overlays/lucid-panel.dtbo", overlay)
    changed = tree.with_suffix(".changed")
    subprocess.run([*tool("fdtoverlay"), "-i", str(tree), "-o", str(changed), str(overlay)], check=True)
    changed.rename(tree)


def add_lines(tree, label="lucid-sim"):
    """A GPIO chip for a machine that has none: the kernel's simulator, with as many lines as a
    Raspberry Pi, one of them in use by somebody else."""
    source = subprocess.run([*tool("dtc"), "-q", "-I", "dtb", "-O", "dts", str(tree)], check=True, capture_output=True, text=True).stdout
    source += """
/ {
    gpio-sim {
        compatible = "gpio-simulator";

        gpio: bank0 {
            gpio-controller;
            #gpio-cells = <2>;
            ngpios = <54>;
            gpio-sim,label = "@LABEL@";

            taken-hog {
                gpio-hog;
                gpios = <5 0>;
                output-high;
                line-name = "somebody-else";
            };
        };
    };
};
""".replace("@LABEL@", label)
    subprocess.run([*tool("dtc"), "-q", "-@", "-I", "dts", "-O", "dtb", "-o", str(tree), "-"], check=True, input=source.encode())


def patch_pi4(tree):
    """QEMU's raspi4b lacks parts that the kernel's device tree names: they are switched off, and the
    card is moved to the controller that QEMU connects it to."""
    def status(node, value):
        subprocess.run([*tool("fdtput"), "-t", "s", str(tree), node, "status", value], check=True)

    for node in ("/soc/hdmi@7ef00700", "/soc/hdmi@7ef05700", "/soc/interrupt-controller@7ef00100", "/soc/serial@7e215040"):
        status(node, "disabled")
    status("/soc/mmc@7e300000", "okay")
    # The bus has been renamed between kernels; the alias has not.
    bus = subprocess.run([*tool("fdtget"), str(tree), "/aliases", "emmc2bus"], check=True, capture_output=True, text=True)
    status(f"{bus.stdout.strip()}/mmc@7e340000", "disabled")


def die_with_parent():
    """The emulator ends with the program that started it, however that ends (prctl(2), PR_SET_PDEATHSIG)."""
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)


def quote(text):
    return "'" + text.replace("'", "'\\''") + "'"
