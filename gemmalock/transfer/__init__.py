"""One task's bytes: segments, positional writes, the digest frontier, durable ranges, resume.

What must not live here: which files to fetch (plan), where bytes come from (sources), where they go (store, roots).
"""
