"""Lists the packages of a root with their hashes, for the list that is written beside the image.

    apt-cache dumpavail | lock.py ROOT      prints name, version, architecture, sha256, source,
                                            source version, separated by tabs
"""

import pathlib
import sys


def stanzas(lines):
    """The paragraphs of a Debian control file, as dictionaries; continued lines are left out."""
    fields = {}
    for line in lines:
        if line == "\n":
            if fields:
                yield fields
            fields = {}
        elif line[0] not in " \t" and ":" in line:
            key, value = line.split(":", 1)
            fields[key] = value.strip()
    if fields:
        yield fields


def main():
    status = pathlib.Path(sys.argv[1], "var/lib/dpkg/status").read_text(encoding="utf-8")
    available = {
        (fields["Package"], fields["Version"], fields["Architecture"]): fields.get("SHA256", "")
        for fields in stanzas(sys.stdin)
        if "Version" in fields
    }
    rows = []
    for fields in stanzas(status.splitlines(keepends=True)):
        if not fields["Status"].endswith(" installed"):
            continue
        key = fields["Package"], fields["Version"], fields["Architecture"]
        if not available.get(key):
            sys.exit(f"no hash is known of {' '.join(key)}")
        source, _, version = fields.get("Source", fields["Package"]).partition(" ")
        rows.append((*key, available[key], source, version.strip("()") or fields["Version"]))
    if len(rows) < 50:
        sys.exit(f"only {len(rows)} packages are installed: this is no root of the image")
    for row in sorted(rows):
        print("\t".join(row))


main()
