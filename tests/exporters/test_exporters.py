"""What a lock says in the words of other programs: pure functions, tested as text."""

from __future__ import annotations

import json
import uuid
import xml.etree.ElementTree as ET
from dataclasses import replace

import pytest

from gemmalock.errors import PolicyRefused
from gemmalock.exporters.aria2 import aria2
from gemmalock.exporters.cyclonedx import cyclonedx
from gemmalock.exporters.metalink import metalink
from gemmalock.exporters.node_json import node_json
from gemmalock.exporters.sha256sums import sha256sums
from gemmalock.lockfile import Lock, LockedFile, LockedManifest, LockedModel

DIGEST = "5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03"
URL = "https://models.example.org/a%20b&c.gguf?x=1&y=2"
MIRROR = "https://mirror.example.net/a.gguf"
FILE = LockedFile.pin(
    name="a b&c.gguf", path="gemma/a b&c.gguf", url=URL, size=6, etag='"x"', sha256=DIGEST, mirrors=(MIRROR,)
)
BARE = LockedFile.pin(name="bare", path="gemma/bare", url="http://127.0.0.1/bare", size=0, etag=None, sha256=None)
LOCAL = LockedFile.pin(name="l", path="gemma/l", url="file://l", size=1, etag=None, sha256=DIGEST)
NAMESPACE = {"m": "urn:ietf:params:xml:ns:metalink"}


def lock_of(*files: LockedFile) -> Lock:
    model = LockedModel("gemma", files, "https://models.example.org", "r7", "gemma", ("llm", "mobile"))
    return Lock((LockedManifest("apps/chat/gemmalock.yaml", "models", "sha256:0", (model,)),))


def test_sha256sums_are_lines_of_digest_and_path() -> None:
    assert sha256sums(lock_of(FILE)) == f"{DIGEST}  apps/chat/models/gemma/a b&c.gguf\n"
    assert sha256sums(Lock()) == ""


def test_sha256sums_of_a_file_without_a_digest_would_check_nothing_and_are_refused() -> None:
    with pytest.raises(PolicyRefused, match=r"has no digest in the lock$") as refused:
        sha256sums(lock_of(FILE, BARE))
    assert "gemmalock lock --hash" in refused.value.hint
    with pytest.raises(PolicyRefused, match="and 1 more"):
        sha256sums(lock_of(BARE, replace(BARE, name="too", path="gemma/too")))


def test_aria2_gets_urls_and_mirrors_on_a_line_and_options_below() -> None:
    assert aria2(lock_of(BARE, FILE)).splitlines() == [
        f"{URL}\t{MIRROR}",
        "  out=apps/chat/models/gemma/a b&c.gguf",
        f"  checksum=sha-256={DIGEST}",
        "http://127.0.0.1/bare",
        "  out=apps/chat/models/gemma/bare",
    ]


@pytest.mark.parametrize("exporter", [aria2, metalink])
def test_a_file_that_is_not_on_the_web_is_refused_unless_a_mirror_is(exporter: object) -> None:
    assert callable(exporter)
    with pytest.raises(PolicyRefused, match="is at `file://l`"):
        exporter(lock_of(FILE, LOCAL))
    assert MIRROR in exporter(lock_of(replace(LOCAL, mirrors=(MIRROR,))))


def test_metalink_is_what_rfc_5854_says() -> None:
    document = ET.fromstring(metalink(lock_of(FILE, BARE)))
    assert document.tag == f"{{{NAMESPACE['m']}}}metalink"
    first, second = document.findall("m:file", NAMESPACE)
    assert first.get("name") == "apps/chat/models/gemma/a b&c.gguf"
    assert first.findtext("m:size", None, NAMESPACE) == "6"
    digest = first.find("m:hash", NAMESPACE)
    assert digest is not None and (digest.get("type"), digest.text) == ("sha-256", DIGEST)
    urls = first.findall("m:url", NAMESPACE)
    assert [(url.get("priority"), url.text) for url in urls] == [("1", URL), ("2", MIRROR)]
    assert second.find("m:hash", NAMESPACE) is None


def test_cyclonedx_has_what_its_schema_requires() -> None:
    document = json.loads(cyclonedx(lock_of(FILE, BARE)))
    assert {name: document[name] for name in ("bomFormat", "specVersion", "version")} == {
        "bomFormat": "CycloneDX", "specVersion": "1.6", "version": 1,
    }  # fmt: skip
    assert uuid.UUID(document["serialNumber"].removeprefix("urn:uuid:")).version == 5
    (model,) = document["components"]
    assert (model["type"], model["name"], model["version"]) == ("machine-learning-model", "gemma", "r7")
    assert model["licenses"] == [{"license": {"name": "gemma"}}]
    assert model["tags"] == ["llm", "mobile"]
    file, bare = model["components"]
    assert (file["type"], file["name"]) == ("file", "apps/chat/models/gemma/a b&c.gguf")
    assert file["hashes"] == [{"alg": "SHA-256", "content": DIGEST}]
    assert [(place["type"], place["url"]) for place in file["externalReferences"]] == [
        ("distribution", URL),
        ("distribution", MIRROR),
    ]
    assert "hashes" not in bare
    references = [model["bom-ref"], file["bom-ref"], bare["bom-ref"]]
    assert references == ["apps/chat/gemmalock.yaml::gemma" + rest for rest in ("", "::a b&c.gguf", "::bare")]


def test_json_has_everything_that_the_lock_says_under_node_ids() -> None:
    document = json.loads(node_json(lock_of(FILE)))
    assert document == {
        "lock_version": 1,
        "files": [
            {
                "id": "apps/chat/gemmalock.yaml::gemma::a b&c.gguf",
                "manifest": "apps/chat/gemmalock.yaml",
                "model": "gemma",
                "name": "a b&c.gguf",
                "path": "apps/chat/models/gemma/a b&c.gguf",
                "url": URL,
                "mirrors": [MIRROR],
                "size": 6,
                "etag": '"x"',
                "sha256": DIGEST,
                "task_id": FILE.task_id,
                "source": "https://models.example.org",
                "revision": "r7",
                "license": "gemma",
                "tags": ["llm", "mobile"],
            }
        ],
    }


@pytest.mark.parametrize("exporter", [aria2, cyclonedx, metalink, node_json])
def test_the_same_lock_gives_the_same_bytes(exporter: object) -> None:
    assert callable(exporter)
    assert exporter(lock_of(FILE, BARE)) == exporter(lock_of(FILE, BARE))
