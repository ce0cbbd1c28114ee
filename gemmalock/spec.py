"""What a person declares: manifests as frozen, valid values.

Reading them from YAML, with lines and columns, is the codec's. Nothing here opens a file or knows a lock.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from functools import lru_cache
from urllib.parse import unquote, urlsplit

from gemmalock.paths import is_glob, joined, matches, path_problem

MANIFEST_NAME = "gemmalock.yaml"
MANIFEST_VERSION = 1
DEFAULT_ROOT = "models"
#: The schemes that version 1 of the format names. A source for each is an adapter, and may not be installed.
SCHEMES = frozenset({"https", "http", "file", "hf", "github", "oci", "s3", "gs", "az"})
#: Those of them that are read without a network.
LOCAL_SCHEMES = frozenset({"file"})
MODEL_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]*")
SHA256 = re.compile(r"[0-9a-f]{64}")
MAX_SIZE = 2**63 - 1
#: Scheme and authority of a URL (RFC 3986, 3.2).
_BASE = re.compile(r"[^:/?#]*://[^/?#]*")


@dataclass(frozen=True, slots=True)
class FileSpec:
    """A file that is declared by its URL. `path` is relative to the model's folder; size in bytes."""

    url: str
    path: str
    sha256: str | None = None
    size: int | None = None
    mirrors: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if problem := path_problem(self.path):
            raise ValueError(f"path `{self.path}` {problem}")
        if self.sha256 is not None and not SHA256.fullmatch(self.sha256):
            raise ValueError(f"`{self.sha256}` is not 64 lower-case hexadecimal digits")
        if self.size is not None and not 0 <= self.size <= MAX_SIZE:
            raise ValueError(f"size {self.size} is not between 0 and 2^63 - 1")


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """A named set of files. `path` is its folder under the root (`.` for the root itself).

    `patterns` are names or globs inside `source`; `files` are those declared by URL; `quant`, in upper case, is the
    quantisation of which the GGUF files of `source` are wanted besides.
    """

    name: str
    path: str
    source: str | None = None
    patterns: tuple[str, ...] = ()
    files: tuple[FileSpec, ...] = ()
    exclude: tuple[str, ...] = ()
    license: str | None = None
    tags: tuple[str, ...] = ()
    quant: str | None = None

    def __post_init__(self) -> None:
        if not MODEL_NAME.fullmatch(self.name):
            raise ValueError(f"`{self.name}` is not a model's name")
        if self.path != "." and (problem := path_problem(self.path)):
            raise ValueError(f"path `{self.path}` {problem}")
        if self.patterns and self.source is None:
            raise ValueError(f"model `{self.name}` names files but no source")
        if self.quant is not None and (self.source is None or self.quant != self.quant.upper()):
            raise ValueError(f"model `{self.name}` names a quantisation but no source, or not in upper case")
        if self.quant is not None:
            # Few models name one, and what it takes to know one is not little.
            from gemmalock.quantisations import is_quantisation

            if not is_quantisation(self.quant):
                raise ValueError(f"`{self.quant}` is not a quantisation")

    @property
    def names(self) -> tuple[str, ...]:
        """The patterns that are plain names."""
        return tuple(pattern for pattern in self.patterns if not is_glob(pattern))

    @property
    def globs(self) -> tuple[str, ...]:
        """The patterns that are globs."""
        return tuple(pattern for pattern in self.patterns if is_glob(pattern))

    @property
    def mapped(self) -> frozenset[str]:
        """The names of the files that are declared by URL."""
        return frozenset(file.path for file in self.files)

    def selects(self, name: str) -> bool:
        """Whether a name, a glob or the quantisation selects the file `name` of the source. What an index among these
        names besides is not said here."""
        return (matches(name, self.patterns) or self.is_quantised(name)) and not self.excludes(name)

    def is_quantised(self, name: str) -> bool:
        """Whether the file `name` of the source is of the quantisation that is wanted; never, where none is."""
        if self.quant is None:
            return False
        from gemmalock.quantisations import quantisation_of

        return quantisation_of(name) == self.quant

    def excludes(self, name: str) -> bool:
        """Whether the file `name` of the source is left out, whatever selects it."""
        return matches(name, self.exclude)

    def place(self, name: str) -> str:
        """Where the file `name` of this model goes, relative to the root."""
        return joined(self.path, name)


@dataclass(frozen=True, slots=True)
class Workspace:
    """Which folders below a manifest's have manifests of the same workspace: names or globs, `exclude` taken out."""

    members: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()

    def claims(self, folder: str) -> bool:
        """Whether `folder`, from the workspace root, is that of a member."""
        return matches(folder, self.members) and not matches(folder, self.exclude)


@dataclass(frozen=True, slots=True)
class Manifest:
    """One manifest, version 1. `root` is the managed folder, relative to the manifest's folder; `workspace` is None
    for one that is the root of no workspace."""

    root: str = DEFAULT_ROOT
    models: tuple[ModelSpec, ...] = ()
    workspace: Workspace | None = None

    def __post_init__(self) -> None:
        if problem := path_problem(self.root):
            raise ValueError(f"root `{self.root}` {problem}")

    def model(self, name: str) -> ModelSpec | None:
        """The model of that name, or None."""
        return next((model for model in self.models if model.name == name), None)

    def root_path(self, path: str) -> str:
        """The root of this manifest, which is at `path`, from where that path begins."""
        return joined(path.rpartition("/")[0], self.root)

    @property
    def declared(self) -> str:
        """A digest of what this manifest means: `sha256:` over canonical JSON, blind to layout and order of keys. Who
        its members are is not of it: the lock lists them."""
        meaning = {
            "root": self.root,
            "models": {
                model.name: {
                    "path": model.path,
                    "source": model.source,
                    "patterns": sorted(model.patterns),
                    "exclude": sorted(model.exclude),
                    "files": {
                        file.path: [file.url, file.sha256, file.size, list(file.mirrors)] for file in model.files
                    },
                    "license": model.license,
                    "tags": sorted(model.tags),
                    # Only where there is one: what manifests meant before there was such a key stays as it was.
                    **({"quant": model.quant} if model.quant is not None else {}),
                }
                for model in self.models
            },
        }
        text = json.dumps(meaning, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        return "sha256:" + hashlib.sha256(text.encode()).hexdigest()


def scheme_of(url: str) -> str:
    """The scheme of a URL in lower case, or an empty string."""
    return url.partition("://")[0].lower() if "://" in url else ""


def is_local(url: str) -> bool:
    """Whether a URL is read without a network: a local scheme, or one that builds on it, as `zip+file://`."""
    return scheme_of(url).rpartition("+")[2] in LOCAL_SCHEMES


@lru_cache(maxsize=4096)  # the rules of a manifest ask for it, and then the value that is made of it
def name_in_url(url: str) -> str:
    """The last segment of a URL's path, percent-decoded: where the file goes when no `path` is declared."""
    try:
        rest = url.partition("://")[2] if is_local(url) else urlsplit(url).path
    except ValueError:
        return ""
    return unquote(rest.rstrip("/").rpartition("/")[2])


def base_of(url: str) -> str:
    """A URL up to its path: whom it asks. The many URLs of one place have one, so that what follows from it alone is
    found out once."""
    found = _BASE.match(url)
    return found[0] if found is not None else url


def is_loopback(url: str) -> bool:
    """Whether a URL's host is this machine by its name: `localhost`, 127.0.0.0/8 or ::1."""
    return _is_loopback(base_of(url))


@lru_cache(1024)
def _is_loopback(base: str) -> bool:
    try:
        host = (urlsplit(base).hostname or "").rstrip(".").lower()
    except ValueError:
        return False
    return host == "localhost" or host.endswith(".localhost") or host == "::1" or _is_127(host)


def _is_127(host: str) -> bool:
    parts = host.split(".")
    return len(parts) == 4 and parts[0] == "127" and all(_is_octet(part) for part in parts)


def _is_octet(part: str) -> bool:
    # `isdigit` alone is true of `²`, which is no number.
    return part.isascii() and part.isdigit() and len(part) <= 3 and int(part) < 256
