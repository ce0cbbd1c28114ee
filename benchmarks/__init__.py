"""gemmalock beside curl, wget, aria2c and hf, on this machine: `python -m benchmarks`. See docs/performance.md.

`cases` says what is measured; `measure` takes time and memory; `servers`, `hub` and `network` are what it is measured
on; `table` shows it. Only the standard library, and gemmalock as anybody would run it: by its command line.
"""
