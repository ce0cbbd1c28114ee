"""Where the store is. Decides; makes nothing."""

from __future__ import annotations

from pathlib import Path

from gemmalock.errors import SettingInvalid


def store_folder(environ_store: str | None, root: Path | None) -> Path:
    """The folder of the store, absolute: the one that `GEMMALOCK_STORE` names; else the user's cache folder; else,
    where that is on another file system than `root`, `.gemmalock/store` in the root, so that no model is on disk
    twice. Raises OSError when it cannot be told what is where, SettingInvalid where it would be in a home folder, and
    there is none."""
    try:
        if environ_store:
            return Path(environ_store).expanduser().absolute()
        from platformdirs import user_cache_path

        # Of older platformdirs, a `~` that stands for nobody's folder comes back as it is.
        cache = user_cache_path("gemmalock", appauthor=False).expanduser().absolute()
    except RuntimeError:
        # An arbitrary user, as in a container, is in no user database.
        hint = "let `GEMMALOCK_STORE` name a folder, by its whole path"
        raise SettingInvalid("the store would be in a home folder, and there is none", hint=hint) from None
    if root is None:
        return cache
    return cache if _device(cache) == _device(root) else root.absolute() / ".gemmalock" / "store"


def _device(path: Path) -> int:
    """The file system of a path, or of the nearest folder above it that is there already."""
    path = path.absolute()
    for folder in (path, *path.parents):
        try:
            return folder.stat().st_dev
        except (FileNotFoundError, NotADirectoryError):
            continue
    raise FileNotFoundError(path)
