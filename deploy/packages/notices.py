#!/usr/bin/env python3
"""Writes the notices of what is linked into the library: each crate, with the text of its licence that it brings.

usage: deploy/packages/notices.py [ZIG] >THIRD-PARTY-NOTICES

ZIG is the folder of zig, if that links the library: it adds libraries of its own.
"""

import json
import re
import subprocess
import sys
from pathlib import Path

# The licence to choose if a crate offers it. The other one also asks only that its text is enclosed.
PREFERRED = "MIT"
ACCEPTED = {PREFERRED, "BSD-3-Clause"}

NOTICE = re.compile(r"(licen[cs]e|unlicense|copying|copyright|notice)([-._].*)?$", re.IGNORECASE)

HEADER = """\
The library of redis-ratelimit contains the following crates, under these licences. Rust's standard library, which it
contains, too, has its notices in RUST-STANDARD-LIBRARY.html.
"""

# What zig adds, and where its licence is in zig's folder.
OF_ZIG = {
    "compiler-rt of Zig, MIT, https://ziglang.org": "LICENSE",
    "libunwind of LLVM, Apache-2.0 WITH LLVM-exception, https://llvm.org": "lib/libunwind/LICENSE.TXT",
}


def cargo(*arguments):
    """Ask cargo."""
    command = ["cargo", *arguments, "--locked"]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout  # noqa: S603


def linked():
    """Find the names and versions of the crates in the library: not those that only run while it is built."""
    tree = cargo("tree", "--edges", "normal,no-proc-macro", "--prefix", "none", "--format", "{p}")
    return {tuple(line.split()[:2]) for line in tree.splitlines() if line}


def texts(package):
    """Choose the licence of a crate, and find its text and notices."""
    offered = re.split(r" OR |/", package["license"])
    chosen = PREFERRED if PREFERRED in offered else package["license"]
    if chosen not in ACCEPTED:
        sys.exit(
            f"{package['name']}: may what is under '{chosen}' be linked in, and how? Decide, and add it to {__file__}"
        )
    others = [licence.split("-")[0].lower() for licence in offered if licence != chosen]
    folder = Path(package["manifest_path"]).parent
    # Some have the same text under two names.
    found = dict.fromkeys(
        file.read_text(encoding="utf-8").strip()
        for file in sorted(folder.rglob("*"))
        if file.is_file() and NOTICE.match(file.name) and not any(other in file.name.lower() for other in others)
    )
    return chosen, list(found)


def section(title, notices):
    """Show the notices of one part."""
    return "\n\n".join([f"{'-' * 100}\n{title}", *notices]) + "\n"


def main():
    """Write all notices."""
    crates = linked()
    packages = [
        package
        for package in json.loads(cargo("metadata", "--format-version", "1"))["packages"]
        if (package["name"], "v" + package["version"]) in crates and package["source"] is not None
    ]
    found = {package["id"]: texts(package) for package in packages}
    sections = [HEADER]
    for package in packages:
        chosen, notices = found[package["id"]]
        # A crate without a file of its own has that of one beside it.
        for other in packages:
            if not notices and other["repository"] == package["repository"] and found[other["id"]][0] == chosen:
                notices = found[other["id"]][1]
        if not notices:
            sys.exit(f"{package['name']} brings no text of its licence, {chosen}.")
        title = f"{package['name']} {package['version']}, {chosen}, {package['repository'] or 'crates.io'}"
        sections.append(section(title, notices))
    for zig in sys.argv[1:]:
        for title, licence in OF_ZIG.items():
            sections.append(section(title, [(Path(zig) / licence).read_text(encoding="utf-8").strip()]))
    sys.stdout.write("\n".join(sections))


main()
