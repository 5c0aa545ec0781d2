"""The files of the page, and what browsers are told to hold them to."""

import re

import pytest

from legato.deployments.openai.playground import PAGE_HEADERS, Playground

FILES = Playground.load().files
TEXTS = {path: file.content.decode() for path, file in FILES.items()}


def test_the_page_is_at_the_root_and_its_files_are_below_playground() -> None:
    assert FILES["/"].media_type == "text/html"
    assert {path.rpartition("/")[0] for path in FILES if path != "/"} == {"/playground"}


def test_everything_that_a_file_asks_for_is_there() -> None:
    for path, text in TEXTS.items():
        wanted = re.findall(r'(?:src|href)="([^"]+)"', text)
        wanted += [f"playground/{name}" for name in re.findall(r'from "\./([^"]+)"', text)]
        assert not [name for name in wanted if f"/{name}" not in FILES], path


@pytest.mark.parametrize("path", [path for path in FILES if path.endswith((".js", ".css"))])
def test_every_script_and_style_is_short_and_is_asked_for(path: str) -> None:
    name = path.rpartition("/")[2]
    assert any(name in text for other, text in TEXTS.items() if other != path)
    assert TEXTS[path].count("\n") < 250


def test_nothing_is_written_that_the_policy_would_stop() -> None:
    assert "unsafe" not in PAGE_HEADERS["content-security-policy"]
    assert not re.search(r"<script>|<style|style=|\son\w+=", TEXTS["/"])
    for path, text in TEXTS.items():
        assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|eval\(|document\.write", text)
        assert set(re.findall(r"\w+://[^\"]*", text)) <= {"http://www.w3.org/2000/svg"}, path
