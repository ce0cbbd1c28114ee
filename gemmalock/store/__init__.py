"""The store: this machine's finished files by their sha256, read-only, shared by all projects.

What must not live here: tasks and partials (registry), and how a stored file gets its name in a root (roots, links).
Nothing is re-exported here: a first `lock` mostly has to know where the store is, and `place` says that without it.
"""
