"""The managed folders: `RootFolder` is the one way to look into a root, to put files there and to take them out."""

from gemmalock.roots.folder import RootFolder

__all__ = ["RootFolder"]
