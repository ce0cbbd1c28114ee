"""Where files come from: one adapter for each scheme, all of them `ports.Source`.

`ranges` and `redirects` are the rules of reading an answer, and do no I/O; `http` and `file` are adapters; `retry` is
policy that wraps any of them. Which scheme gets which adapter is `app`'s to say. Adapters are imported lazily, because
`http` brings urllib3 with it: nothing is re-exported here.
"""
