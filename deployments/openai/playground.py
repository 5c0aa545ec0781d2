"""The page at /: files that are sent as they are, and what browsers are told to hold them to.

    /                     index.html: the chat, the workers, the waterfalls of requests
    /playground/{file}    its styles and scripts

Files are public, as they are with every copy of Legato; what they show is asked for with the key.
They are read once. The page loads nothing from elsewhere, runs nothing but its own scripts, makes
no HTML of strings, and nobody may put it into a frame: browsers enforce all four.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

_INDEX = "index.html"
_MEDIA_TYPES = {
    ".css": "text/css",
    ".html": "text/html",
    ".js": "text/javascript",
    ".svg": "image/svg+xml",
}
_POLICY = "; ".join(
    (
        "default-src 'none'",
        *(f"{kind}-src 'self'" for kind in ("script", "style", "img", "connect")),
        *(f"{kind} 'none'" for kind in ("base-uri", "form-action", "frame-ancestors")),
        "require-trusted-types-for 'script'",
        "trusted-types 'none'",
    )
)
PAGE_HEADERS: Mapping[str, str] = {
    "content-security-policy": _POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-cache",  # or a page would outlive the server that it fits
}


@dataclass(frozen=True, slots=True)
class PageFile:
    content: bytes
    media_type: str


@dataclass(frozen=True, slots=True)
class Playground:
    files: Mapping[str, PageFile]  # by path

    @classmethod
    def load(cls) -> "Playground":
        """Reads the files that come with the package."""
        # Not importlib.resources: it fails on folders without __init__.py in an editable install.
        folder = Path(__file__).parent.parent / "playground"
        found = {
            _path_of(file.name): PageFile(file.read_bytes(), _MEDIA_TYPES[file.suffix])
            for file in sorted(folder.iterdir())
            if file.suffix in _MEDIA_TYPES
        }
        return cls(found)


def _path_of(name: str) -> str:
    return "/" if name == _INDEX else f"/playground/{name}"
