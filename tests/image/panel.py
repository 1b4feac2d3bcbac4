"""The panel on emulated boards: lamps and button on the kernel's GPIO simulator, its values read back
for each state and each press; lamps on the registers of a Raspberry Pi 3."""

import json
import subprocess
import time

from machine import BoardError, add_lines, add_panel, put, tool

RED, GREEN, BLUE, BUTTON = 27, 17, 22, 26
# What a lamp does, as the table of docs/panel.md tells it: milliseconds lit and dark.
RHYTHMS = {
    "identify": [600, 150, 100, 150],
    "failed": [100, 100],
    "rescue": [200, 250, 200, 250, 200, 250, 200, 1500],
    "storage": [200, 250, 200, 250, 200, 1500],
    "degraded": [200, 250, 200, 1500],
    "working": [1800, 200],
    "starting": [500, 500],
    "ready": [80, 2920],
    "safe": [3000, 3000],
}
COLOURS = {
    "identify": {RED, GREEN, BLUE}, "failed": {RED}, "rescue": {RED, GREEN, BLUE}, "storage": {RED, BLUE},
    "degraded": {RED, GREEN}, "working": {GREEN, BLUE}, "starting": {BLUE}, "ready": {GREEN}, "safe": {RED, GREEN, BLUE},
}

# Runs in the guest: the times at which lines change, from the simulator's files.
SAMPLER = """
import json, os, sys, time
lines, seconds = json.loads(sys.argv[1]), float(sys.argv[2])
places = {os.path.basename(place): place for place, _, _ in os.walk("/sys/devices/platform")}
files = {line: open(places[f"sim_gpio{line}"] + "/value", "rb", buffering=0) for line in lines}
seen, changes, end = {}, {line: [] for line in lines}, time.monotonic() + seconds
while time.monotonic() < end:
    for line, file in files.items():
        file.seek(0)
        value = file.read(1) == b"1"
        if seen.get(line) != value:
            if line in seen:
                changes[line].append((time.monotonic(), value))
            seen[line] = value
    time.sleep(0.004)
print(json.dumps({"changes": changes, "last": seen}))
"""


def expect(holds, what):
    if not holds:
        raise BoardError(f"does not hold: {what}")


def sample(board, seconds, before="true", after="true"):
    """For each lamp the lit and dark times in milliseconds, as the lines had them; between two
    commands in the guest."""
    text = board.run(f"{before}; python3 - '{json.dumps([RED, GREEN, BLUE])}' {seconds}; {after}", stdin=SAMPLER)
    found = json.loads(text)
    times = {}
    for line, changes in found["changes"].items():
        pairs = zip(changes, changes[1:])
        times[int(line)] = [(value, round((later - at) * 1000)) for (at, value), (later, _) in pairs]
    return times, {int(line): value for line, value in found["last"].items()}


def fits(times, last, pattern):
    """Whether what the lines did is the pattern: the right lamps, the right times, in order."""
    rhythm = RHYTHMS[pattern]
    for line in (RED, GREEN, BLUE):
        if line not in COLOURS[pattern]:
            if times[line] or last[line]:
                return f"lamp {line} is dark"
            continue
        if len(times[line]) < 2:
            return f"lamp {line} blinks: {times[line]}"
        wanted = list(zip([True, False] * (len(rhythm) // 2), rhythm))

        def near(step, expected):
            # The emulated machine may be late by some of its ticks.
            return step[0] == expected[0] and abs(step[1] - expected[1]) <= 45 + expected[1] * 0.15

        shifts = range(len(wanted))
        if not any(sum(not near(step, wanted[(shift + index) % len(wanted)]) for index, step in enumerate(times[line])) <= len(times[line]) // 6 for shift in shifts):
            return f"lamp {line} keeps {wanted}: {times[line]}"
    return None


def lamps_show(board, pattern, limit=60):
    """Waits until the lamps themselves show the pattern."""
    seconds = max(2.5, 2.2 * sum(RHYTHMS[pattern]) / 1000)
    began = time.monotonic()
    while True:
        wrong = fits(*sample(board, seconds), pattern)
        if not wrong:
            print(f"  {board.seconds():.0f} s: the lamps show {pattern}", flush=True)
            return
        expect(time.monotonic() - began < limit, f"the lamps show {pattern}: {wrong}")


def pull(board, line, way):
    board.run(f"f=$(find /sys/devices/platform -name sim_gpio{line}); echo {way} > $f/pull")


def press(board, seconds):
    """The button goes down for so long; measured in the guest, whose time is its own."""
    board.run(f"f=$(find /sys/devices/platform -name sim_gpio{BUTTON}); echo pull-down > $f/pull; sleep {seconds}; echo pull-up > $f/pull")


def shown(board):
    return board.status()["panel"]


def until(board, what, limit=60):
    began = time.monotonic()
    while True:
        status = board.status()
        if status and what(status):
            return status
        expect(time.monotonic() - began < limit, f"the status comes to it: {json.dumps(status and status['panel'])}")


def journal(board, event):
    return board.run(f"journalctl -b -u lucid LUCID_EVENT={event} -o cat --no-pager")


def simulated_lines(board, tree):
    add_lines(tree)


def lines_and_panel(board, tree):
    add_lines(tree)
    add_panel(board, tree)


def lamps(bench, up):
    """Lamps of the overlay keep every rhythm in the kernel, whoever hangs or dies; presses of the
    button tell, are taken back, lead to rescue and to a clean power-off."""
    board = bench.board(bench.card("lamps"), tree=lines_and_panel)
    try:
        status = up(board)
        panel = status["panel"]
        expect(panel["driver"] == "leds" and panel["pattern"] == "ready", f"the overlay's lamps are in use: {panel}")
        expect("lucid-panel" in (panel["button"] or ""), f"the overlay's button is in use: {panel}")
        lamps_show(board, "ready")

        board.run("lucid panel identify --for 20s")
        lamps_show(board, "identify", 15)
        board.run("lucid panel identify --stop")

        # A supervisor that is stopped in its tracks: the kernel blinks on, until the watchdog tells.
        board.run("mkdir -p /run/systemd/system/lucid.service.d; printf '[Service]\\nRestartSec=7s\\nWatchdogSec=60s\\n' > /run/systemd/system/lucid.service.d/90-test.conf; systemctl daemon-reload; systemctl restart lucid")
        up(board)
        supervisor = "$(systemctl show -P MainPID lucid)"
        times, last = sample(board, 6.6, f"kill -STOP {supervisor}", f"kill -CONT {supervisor}")
        wrong = fits(times, last, "ready")
        expect(not wrong, f"the kernel blinks on without the supervisor: {wrong}")
        # The watchdog is fed again first, every five seconds; with these seven it is less than its fifteen.
        board.run("sleep 6")
        board.run(f"kill -KILL {supervisor}")
        lamps_show(board, "failed", 8)
        board.wait_state("ready", 120)
        lamps_show(board, "ready")

        # One that hangs as the image has it: systemd ends it after ten seconds, before the board's
        # watchdog resets the board, and the lamps say so until the next one has them.
        board.run("rm /run/systemd/system/lucid.service.d/90-test.conf; systemctl daemon-reload; systemctl restart lucid")
        up(board)
        times, _ = sample(board, 16, f"kill -STOP {supervisor}")
        fast = [abs(time - 100) <= 40 for _, time in times[RED]]
        expect(any(all(fast[at : at + 6]) for at in range(len(fast) - 5)), f"a supervisor that hangs is shown: {times[RED]}")
        board.wait_state("ready", 120)
        expect("Watchdog timeout" in board.run("journalctl -b -u lucid -o cat"), "systemd ended it, and the board lived on")
        lamps_show(board, "ready")

        board.run("lucid datastore stop cache")
        lamps_show(board, "degraded")
        # Somebody else has its port: blocked, which is failed for who looks.
        board.run("systemd-run --unit squatter python3 -m http.server --bind 127.0.0.1 6379")
        board.run("sleep 2; lucid datastore start cache", check=False)
        lamps_show(board, "failed")
        board.run("systemctl stop squatter")
        board.wait_state("ready", 60)
        board.run("fallocate -l $(( $(df -B1 --output=avail /data | tail -1) * 85 / 100 )) /data/fill; lucid status", check=False)
        lamps_show(board, "storage")
        board.run("rm /data/fill; sync")
        board.wait_state("ready", 60)
        lamps_show(board, "ready", 120)

        press(board, 0.4)
        until(board, lambda status: status["panel"]["pattern"] == "identify", 10)
        expect("all is well" in journal(board, "button-pressed"), "the journal tells of the press")
        lamps_show(board, "ready")
        # Bouncing is no press.
        before = journal(board, "button-pressed")
        board.run(f"f=$(find /sys/devices/platform -name sim_gpio{BUTTON}); for i in 1 2 3 4; do echo pull-down > $f/pull; echo pull-up > $f/pull; done")
        time.sleep(1)
        bounced = journal(board, "button-pressed").count("\n") - before.count("\n")
        expect(bounced <= 1, f"what bounces within milliseconds is one press at most: {bounced}")
        press(board, 4)
        until(board, lambda status: status["panel"]["pattern"] == "armed-shutdown", 4)
        press(board, 0.3)
        expect(journal(board, "button-cancelled"), "a second press takes it back")
        # The data lies on the card: there is no disk to release.
        press(board, 9)
        until(board, lambda status: status["panel"]["pattern"] == "armed-removal", 4)
        until(board, lambda status: status["panel"]["pattern"] == "ready", 30)
        expect("no disk to release" in journal(board, "button-refused"), "what is not possible is told")

        # Held at power-on: the simulator forgets at a restart, so the supervisor alone starts again.
        board.run("systemctl stop lucid")
        lamps_show(board, "safe")
        for pattern in RHYTHMS:
            board.run(f"lucid panel hold {pattern}")
            lamps_show(board, pattern, 15)
        pull(board, BUTTON, "pull-down")
        board.run("rm /run/lucid/boot.json; systemctl start lucid")
        status = until(board, lambda status: status["panel"]["pattern"] == "rescue", 60)
        pull(board, BUTTON, "pull-up")
        expect(all(d["state"] == "stopped" for d in status["datastores"]), f"no datastore runs: {status['datastores']}")
        lamps_show(board, "rescue")
        expect("active" in board.run("systemctl is-active ssh"), "somebody can log in")
        board.run("lucid datastore start cache; systemctl restart lucid")
        until(board, lambda status: status["panel"]["pattern"] == "rescue", 60)

        press(board, 3.5)
        board.process.wait(180)
        text = board.text()
        expect("reboot: Power down" in text, f"the board powers off: {text[-500:]}")
    finally:
        board.cut()


def removal(bench, up):
    """Eight seconds stop everything, unmount the data disk and say that it may be pulled."""
    card = bench.card("removal")
    put(card, "lucid.toml", '[data]\ndisk = "virtio-ssd"\n')
    _, attach = bench.disk("ssd")
    board = bench.board(card, extra=attach, tree=lines_and_panel)
    try:
        up(board)
        board.run("redis-cli -u \"$(lucid credentials show cache)\" --no-auth-warning set kept yes; sleep 3")
        press(board, 8.5)
        began = time.monotonic()
        while "inactive" not in board.run("systemctl is-active lucid-data || true"):
            expect(time.monotonic() - began < 120, "the data disk is released")
            time.sleep(1)
        lamps_show(board, "safe")
        mounts = board.run("cat /proc/self/mounts")
        expect("/dev/vdb" not in mounts, f"nothing of the disk is mounted: {mounts}")
        board.run("systemctl start lucid-data lucid-journal lucid")
        up(board)
        kept = board.run("redis-cli -u \"$(lucid credentials show cache)\" --no-auth-warning get kept").strip()
        expect(kept == "yes", f"the data is there again: {kept}")
        # A disk that is in use stays in service.
        board.run("systemd-run --unit user sh -c 'cd /data; sleep 600'; systemctl start lucid-remove", check=False)
        board.wait_state("ready", 180)
        lamps_show(board, "ready")
    finally:
        board.cut()


def lines(bench, up):
    """Lamps on lines that the configuration names: driven by the supervisor, refused where somebody
    else has the line, replaced when the chip goes away."""
    card = bench.card("lines")
    put(card, "lucid.toml", f'[panel]\nchip = "lucid-sim"\npins = [{RED}, {GREEN}, {BLUE}]\nbutton = {BUTTON}\n')
    board = bench.board(card, tree=simulated_lines)
    try:
        status = up(board)
        expect(status["panel"]["driver"] == "gpio", f"the lines are in use: {status['panel']}")
        lamps_show(board, "ready")
        board.run("lucid panel identify --for 20s")
        lamps_show(board, "identify", 15)
        press(board, 0.3)
        until(board, lambda status: status["panel"]["pattern"] == "identify", 10)
        lamps_show(board, "ready")
        # Nobody drives the lamps of a dead supervisor: they do not say that all is well.
        board.run("systemctl stop lucid; systemctl mask --runtime lucid")
        _, last = sample(board, 4)
        expect(not any(last.values()), f"without a supervisor the lamps are dark: {last}")
        board.run("systemctl unmask --runtime lucid")

        def configure(text):
            board.run(f"printf '{text}' > /etc/lucid/lucid.toml; systemctl restart lucid")
            return up(board)

        status = configure('[panel]\\nchip = "lucid-sim"\\npins = [5]\\n')
        alert = next((a["message"] for a in status["alerts"] if a["id"] == "panel"), "")
        expect("somebody-else" in alert and status["panel"]["driver"] == "simulated", f"who has the line is told: {alert}")
        status = configure('[panel]\\nchip = "lucid-sim"\\npins = [99]\\n')
        alert = next((a["message"] for a in status["alerts"] if a["id"] == "panel"), "")
        expect("54 lines" in alert, f"a line that is not there is told: {alert}")
        configure(f'[panel]\\nchip = "lucid-sim"\\npins = [{RED}, {GREEN}, {BLUE}]\\n')
        lamps_show(board, "ready")
        board.run("cd /sys/bus/platform/drivers/gpio-sim; for d in *gpio-sim*; do echo $d > unbind; done")
        status = until(board, lambda status: status["panel"]["driver"] == "simulated", 20)
        expect(any(a["id"] == "panel" for a in status["alerts"]), f"a chip that goes away is told: {status['alerts']}")
        expect(status["state"] == "ready", "the datastores do not care")
    finally:
        board.cut()


def panel_of_pi3(board, tree):
    """The panel on the registers of a Pi 3. The emulator has no pull-ups: a button to ground would
    be held for ever, so here it is one that pulls up."""
    add_panel(board, tree)
    node = "/lucid-keys/button"
    found = subprocess.run([*tool("fdtget"), "-t", "x", str(tree), node, "gpios"], check=True, capture_output=True, text=True).stdout.split()
    subprocess.run([*tool("fdtput"), "-t", "x", str(tree), node, "gpios", *found[:2], "0"], check=True)


def named_pi3(board, tree):
    """A machine that calls itself a Pi 3, with the simulator under the name of its GPIO chip."""
    add_lines(tree, "pinctrl-bcm2835")
    for name, values in {"model": ["Raspberry Pi 3 Model B Rev 1.2"], "compatible": ["raspberrypi,3-model-b", "brcm,bcm2837"]}.items():
        subprocess.run([*tool("fdtput"), "-t", "s", str(tree), "/", name, *values], check=True)


def registers(bench, up):
    """The header's chip is found by its name; where Raspberry Pi's own kernel shows the pins' registers
    they are driven through them, and a pin that serves something else is left alone."""
    board = bench.board(bench.card("registers"), tree=named_pi3)
    try:
        up(board)

        def configure(text):
            board.run(f"printf '[panel]\\n{text}\\n' > /etc/lucid/lucid.toml; systemctl restart lucid")
            return up(board)["panel"]

        panel = configure(f"pins = [{RED}, {GREEN}, {BLUE}]")
        expect(panel["driver"] == "gpio" and "pinctrl-bcm2835" in json.dumps(panel), f"the header's chip is found: {panel}")
        lamps_show(board, "ready")
        panel = configure('driver = "rppal"\\npins = [6, 12]')
        expect(panel["driver"] == "simulated", f"without the device it is not used: {panel}")
        # As the device shows them: a page of registers, of which these are read and written.
        board.run("truncate -s 4096 /dev/gpiomem")
        panel = configure('driver = "rppal"\\npins = [6, 12]')
        expect(panel["driver"] == "rppal", f"the registers are used: {panel}")
        board.run("lucid panel identify --for 60s")
        words = [int(word, 16) for word in board.run("sleep 3; od -A n -t x4 -v -N 44 /dev/gpiomem").split()]
        # GPFSEL0 and 1 (3 bits a line, 1 is an output), GPSET0 and GPCLR0 (BCM2835 ARM Peripherals, 6.1).
        expect(words[0] == 1 << 18 and words[1] == 1 << 6, f"lines 6 and 12 are outputs: {words}")
        expect({words[7], words[10]} == {1 << 6, 1 << 12}, f"one is set while the other is cleared, in turns: {words}")
        # Line 6 now serves the function ALT0 (4).
        board.run("systemctl stop lucid; truncate -s 0 /dev/gpiomem; truncate -s 4096 /dev/gpiomem; printf '\\0\\0\\020\\0' | dd of=/dev/gpiomem conv=notrunc 2>/dev/null")
        panel = configure('driver = "rppal"\\npins = [6, 12]')
        expect(panel["driver"] == "simulated" and "another function" in json.dumps(panel), f"a pin that serves something else is left alone: {panel}")
        expect(board.run("od -A n -t x4 -v -N 4 /dev/gpiomem").split() == ["00100000"], "its register is as it was")
    finally:
        board.cut()


def pi3(bench, up):
    """On a Pi 3 the overlay's lamps are on the registers of the processor: read through the emulator,
    since its network does not work here."""
    board = bench.board(bench.card("pi3"), board="raspi3b", tree=panel_of_pi3)
    try:
        board.wait_console("lucid: READY", 1200)
        seen = {line: set() for line in (RED, GREEN, BLUE)}
        began = time.monotonic()
        while time.monotonic() - began < 30:
            # GPLEV0 (BCM2835 ARM Peripherals, 6.1): the levels of lines 0 to 31.
            level = board.physical(0x3F200034)
            for line, values in seen.items():
                values.add(level >> line & 1)
        expect(seen == {RED: {0}, GREEN: {0, 1}, BLUE: {0}}, f"green blinks, red and blue are dark: {seen}")
    finally:
        board.cut()
