"""A stand-in for a model hub, as settings of nginx: what `hf download` asks of one, and nothing else.

The files themselves come from the same nginx that serves everybody; so the hub's client meets no slower server.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

from benchmarks.content import Served
from benchmarks.servers import Hosting

REPOSITORY = "bench/model"
COMMIT = hashlib.sha1(b"the only commit").hexdigest()

GLOBALS = """\
map_hash_max_size 16384;
  map $hub_file $hub_digest {{
    default "";
{digests}
  }}"""

# `etag off`: the hub's ETag of a large file is its digest, and two files never share one.
LOCATIONS = """\
location = /api/models/{repository}/revision/main {{
      default_type application/json;
      alias {answers}/revision;
    }}
    location ~ "^/api/models/{repository}/tree/" {{
      default_type application/json;
      alias {answers}/tree;
    }}
    location ~ "^/{repository}/resolve/[^/]+/(?<hub_file>.+)$" {{
      etag off;
      add_header ETag '"$hub_digest"';
      add_header X-Repo-Commit {commit};
      alias {folder}/$hub_file;
    }}"""


def hosting(folder: Path, files: Sequence[Served], answers: Path) -> Hosting:
    """How `folder` is served as REPOSITORY too. What the hub says of it is written to a new folder `answers`."""
    answers.mkdir()
    siblings = [{"rfilename": file.name} for file in files]
    (answers / "revision").write_text(json.dumps({"id": REPOSITORY, "sha": COMMIT, "siblings": siblings}), "utf-8")
    tree = [{"type": "file", "path": file.name, "size": file.size, "oid": file.sha256} for file in files]
    (answers / "tree").write_text(json.dumps(tree), "utf-8")
    digests = "\n".join(f'    "{file.name}" {file.sha256};' for file in files)
    locations = LOCATIONS.format(repository=REPOSITORY, answers=answers, commit=COMMIT, folder=folder)
    return Hosting(globals=GLOBALS.format(digests=digests), locations=locations)
