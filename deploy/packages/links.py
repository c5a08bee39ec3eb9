#!/usr/bin/env python3
"""Makes text of the links in a package's documents that lead to files outside of it, such as the sources.

usage: deploy/packages/links.py DIRECTORY
"""

import re
import sys
from pathlib import Path

# [text](path#anchor), not a picture and not an address of the web or of the same document.
LINK = re.compile(r"(?<!!)\[([^\]]+)\]\((?![a-z]+:|#)([^)#\s]+)(#[^)\s]*)?\)")


def main():
    """Rewrite the documents in place."""
    for document in sorted(Path(sys.argv[1]).rglob("*.md")):

        def shown(link, folder=document.parent):
            return link[0] if (folder / link[2]).exists() else link[1]

        document.write_text(LINK.sub(shown, document.read_text(encoding="utf-8")), encoding="utf-8")


main()
