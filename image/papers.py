"""Writes what belongs beside an image: a bill of materials (CycloneDX), the licence texts, and where
the sources of everything under the GPL are."""

import argparse
import hashlib
import json
import pathlib
import re
import shutil
import uuid

LICENCE_FILES = re.compile(r"^(licen[cs]e|copying|copyright|notice|unlicense)", re.IGNORECASE)


def debian(path):
    """The packages of image/lock.py's list."""
    for line in pathlib.Path(path).read_text(encoding="utf-8").splitlines():
        yield line.split("\t")


def lock(path):
    """Name, version and checksum of every crate from the registry in a Cargo.lock."""
    text = pathlib.Path(path).read_text(encoding="utf-8")
    for block in text.split("[[package]]")[1:]:
        get = dict(re.findall(r'^(name|version|checksum) = "(.*)"$', block, re.MULTILINE))
        if "checksum" in get:
            yield get["name"], get["version"], get["checksum"]


def crate_dir(home, name, version):
    found = sorted(home.glob(f"registry/src/*/{name}-{version}"))
    return found[0] if found else None


def licence_of(directory):
    manifest = (directory / "Cargo.toml").read_text(encoding="utf-8", errors="replace")
    match = re.search(r'^license = "(.*)"$', manifest, re.MULTILINE)
    return match.group(1) if match else None


def main():
    parser = argparse.ArgumentParser()
    for name in ("name", "version", "packages", "root", "lucid", "secantus", "cargo-home", "epoch", "sbom", "offer", "licences"):
        parser.add_argument(f"--{name}", required=True)
    arguments = parser.parse_args()
    home = pathlib.Path(arguments.cargo_home)
    texts = pathlib.Path(arguments.licences)
    shutil.rmtree(texts, ignore_errors=True)
    components, sources = [], set()

    # Debian's packages: their copyright files hold the licences, and lie in the image as well.
    for name, version, arch, sha256, source, source_version in debian(arguments.packages):
        components.append(
            {
                "type": "library",
                "name": name,
                "version": version,
                "purl": f"pkg:deb/debian/{name}@{version}?arch={arch}&distro=trixie",
                "hashes": [{"alg": "SHA-256", "content": sha256}],
            }
        )
        sources.add((source, source_version))
        text = pathlib.Path(arguments.root, "usr/share/doc", name, "copyright")
        if text.is_file():
            target = texts / "debian" / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(text.read_bytes())
    shutil.copytree(pathlib.Path(arguments.root, "usr/share/common-licenses"), texts / "common")

    # Crates that are linked into lucid: those of its target, without what only builds or tests it.
    metadata = json.loads(pathlib.Path(arguments.lucid).read_text(encoding="utf-8"))
    nodes = {node["id"]: node for node in metadata["resolve"]["nodes"]}
    linked, wanted = set(), [metadata["resolve"]["root"]]
    while wanted:
        current = wanted.pop()
        if current in linked:
            continue
        linked.add(current)
        for dependency in nodes[current]["deps"]:
            if any(kind["kind"] is None for kind in dependency["dep_kinds"]):
                wanted.append(dependency["pkg"])
    used = {(p["name"], p["version"]) for p in metadata["packages"] if p["id"] in linked}

    secantus = crate_dir(home, "secantus-mdb", arguments.secantus)
    if secantus is None:
        raise SystemExit("the source of secantus is not in cargo's registry")
    programs = {
        "lucid": [crate for crate in lock("Cargo.lock") if crate[:2] in used],
        "secantus": list(lock(secantus / "Cargo.lock")),
    }
    for program, crates in programs.items():
        for name, version, checksum in crates:
            component = {
                "type": "library",
                "name": name,
                "version": version,
                "purl": f"pkg:cargo/{name}@{version}",
                "hashes": [{"alg": "SHA-256", "content": checksum}],
                "properties": [{"name": "lucid:linked-into", "value": program}],
            }
            directory = crate_dir(home, name, version)
            if directory:
                licence = licence_of(directory)
                if licence:
                    component["licenses"] = [{"expression": licence.replace("/", " OR ")}]
                for file in sorted(directory.iterdir()):
                    if file.is_file() and LICENCE_FILES.match(file.name):
                        target = texts / program / f"{name}-{version}" / file.name
                        target.parent.mkdir(parents=True, exist_ok=True)
                        target.write_bytes(file.read_bytes())
            components.append(component)
    for file in sorted(secantus.iterdir()):
        if file.is_file() and LICENCE_FILES.match(file.name):
            target = texts / "secantus" / file.name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(file.read_bytes())
    archive = next(home.glob(f"registry/cache/*/secantus-mdb-{arguments.secantus}.crate"))
    checksum = hashlib.sha256(archive.read_bytes()).hexdigest()

    components.sort(key=lambda component: (component["purl"], json.dumps(component, sort_keys=True)))
    serial = uuid.uuid5(uuid.NAMESPACE_URL, json.dumps(components, sort_keys=True))
    document = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{serial}",
        "version": 1,
        "metadata": {
            "component": {"type": "firmware", "name": arguments.name, "version": arguments.version},
        },
        "components": components,
    }
    pathlib.Path(arguments.sbom).write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")

    lines = [
        f"Sources of {arguments.name}",
        "",
        "The image holds programs under the GNU General Public License and other licences that ask",
        "for their source. It is all published, unchanged, in the versions below. Whoever passes the",
        "image on must pass this on as well, and for three years give everyone who asks the complete",
        "corresponding source on a medium, for no more than the cost of doing so. `scripts/sources",
        "FILE DIR` of the project fetches all of it; keep it together with the image.",
        "",
        "The scripts that build these programs and the image are the project's own: scripts/ and image/.",
        "",
        "crate, sha256 of its archive; its Cargo.lock names every crate inside:",
        f"secantus-mdb {arguments.secantus} {checksum}",
        "",
        "Debian source package, version:",
    ]
    lines += [f"{source} {version}" for source, version in sorted(sources)]
    pathlib.Path(arguments.offer).write_text("\n".join(lines) + "\n", encoding="utf-8")


main()
