"""The store: this machine's finished files by their sha256, read-only, shared by all projects.

What must not live here: tasks and partials (registry), and how a stored file gets its name in a root (roots, links).
"""

from gemmalock.store.disk import DiskStore
from gemmalock.store.objects import StoredObject, StoreVerified
from gemmalock.store.place import store_folder
from gemmalock.store.pruning import Tenant

__all__ = ["DiskStore", "StoreVerified", "StoredObject", "Tenant", "store_folder"]
