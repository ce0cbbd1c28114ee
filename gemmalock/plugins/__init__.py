"""Plugins of other packages: what they may do (`specs`), how they are found and called, and what guards against them.

`specs` is what an author of a plugin imports, beside `gemmalock.ports`; docs/plugins.md is for him. `glimpse` says
whether there may be any plugin at all, and is the only module here that costs next to nothing to import: the others
bring pluggy with them, and are imported late.
"""
