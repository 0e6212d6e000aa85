"""Lambda's execution environments: an archive is unpacked once per content, not once per environment.

The dependencies layer is 90 MB: unpacking and compiling it for each of a dozen functions would cost seconds of start-up each.
An environment gets links into one unpacked copy, where the byte code that the first import writes stays too.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import threading
import time
import zipfile
from pathlib import Path
from typing import Any

from ministack.core import lambda_runtime

_KEPT_SECONDS = 7 * 86_400

_lock = threading.Lock()
_cache = Path(os.environ.get("OMSYNC_LAYER_CACHE", ".local/cache/layers")).absolute()


class _Archive(zipfile.ZipFile):
    """A zip file whose `extractall` links to what was unpacked before."""

    def extractall(self, path: Any = None, members: Any = None, pwd: Any = None) -> None:
        """Fill the folder `path` with links to the archive's top-level members."""
        if members is not None or path is None or not self.filename:
            super().extractall(path, members, pwd)
            return
        for member in self._unpacked(Path(self.filename)).iterdir():
            Path(path, member.name).symlink_to(member)

    def _unpacked(self, archive: Path) -> Path:
        with archive.open("rb") as content:
            digest = hashlib.file_digest(content, "sha256").hexdigest()
        folder = _cache / digest[:32]
        with _lock:
            if not folder.exists():
                draft = folder.with_name(f"{folder.name}.{os.getpid()}")
                shutil.rmtree(draft, ignore_errors=True)
                super().extractall(draft)
                try:
                    draft.rename(folder)
                except OSError:  # another stack was quicker
                    shutil.rmtree(draft)
        os.utime(folder)
        return folder


def _forget_old() -> None:
    """What no environment has asked for in a week."""
    for folder in _cache.iterdir():
        if time.time() - folder.stat().st_mtime > _KEPT_SECONDS:
            shutil.rmtree(folder, ignore_errors=True)


class _Zips:
    """The parts of `zipfile` that MiniStack's worker module uses."""

    ZipFile = _Archive
    BadZipFile = zipfile.BadZipFile
    LargeFileError = zipfile.LargeZipFile


def install() -> None:
    """Put the mend in place; in that module only execution environments unpack anything."""
    _cache.mkdir(parents=True, exist_ok=True)
    _forget_old()
    lambda_runtime.zipfile = _Zips
