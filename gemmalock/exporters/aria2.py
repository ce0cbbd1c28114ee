"""A lock as an input file of aria2 (aria2c(1), "Input File")."""

from __future__ import annotations

from gemmalock.exporters.downloads import downloads
from gemmalock.lockfile import Lock


def aria2(lock: Lock) -> str:
    """For `aria2c -i`, from the project's folder.

    A line of URLs a file, its mirrors after it, then `out`, and `checksum` where the lock has a digest. Raises
    PolicyRefused for a file that is not on the web.
    """
    lines = []
    for download in downloads(lock, "aria2"):
        file = download.node.file
        lines += ["\t".join(download.urls), f"  out={download.node.path}"]
        if file.sha256 is not None:
            lines.append(f"  checksum=sha-256={file.sha256}")
    return "".join(f"{line}\n" for line in lines)
