"""Locks in the words of other programs: one module a format, each a pure function from a lock to a text.

Paths in them begin at the folder of the lock. What a format cannot say of a file is PolicyRefused, never left out
silently. That these formats are there is `plugins.builtin`'s to say, as it would be any other plugin's.
"""
