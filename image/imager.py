"""Prints the list that Raspberry Pi Imager takes as a custom repository, with the image as its one
entry (rpi-imager, doc/schema/os-list-schema.json)."""

import argparse
import datetime
import hashlib
import json
import pathlib


def sha256(path):
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def main():
    parser = argparse.ArgumentParser()
    for name in ("name", "version", "image", "url", "epoch"):
        parser.add_argument(f"--{name}", required=True)
    arguments = parser.parse_args()
    image = pathlib.Path(arguments.image)
    packed = image.with_name(image.name + ".xz")
    day = datetime.datetime.fromtimestamp(int(arguments.epoch), datetime.UTC).date()
    entry = {
        "name": f"Lucid {arguments.version}",
        "description": "Database appliance: document store, cache and search, supervised and tuned",
        "icon": "",
        "url": f"{arguments.url}/{packed.name}",
        "extract_size": image.stat().st_size,
        "extract_sha256": sha256(image),
        "image_download_size": packed.stat().st_size,
        "image_download_sha256": sha256(packed),
        "release_date": day.isoformat(),
        "devices": ["pi5-64bit", "pi4-64bit", "pi3-64bit"],
        "init_format": "cloudinit",
    }
    print(json.dumps({"os_list": [entry]}, indent=2))


main()
