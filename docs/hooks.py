"""What the site has beside the pages of docs/: pages of the clone around them, and the reference of the API."""

from __future__ import annotations

import ast
import logging
import os
import posixpath
import re
from pathlib import Path
from typing import Any

import griffe
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[1]
BESIDE = ("README.md", "CHANGELOG.md", "CODE_OF_CONDUCT.md", "CONTRIBUTING.md", "SECURITY.md", "saved_models/README.md")
"""Pages outside of docs/ that are part of the site, at the same path."""

MODULES = ("quantizers", "policies", "attacks", "evaluation", "training", "tflite", "compression", "datasets")
MODULES += ("models", "report")
"""The public packages, in the order of the navigation."""

_LINK = re.compile(r"(!?)\[((?:[^\[\]]|\[[^\]]*\])*)\]\(([^)\s#]*)(#[^)\s]*)?\)")
_TABLE = re.compile(r"^\|.*$", flags=re.MULTILINE)
_INTERVAL = re.compile(r"\[(-?[\d.]+), (-?[\d.]+)\]")  # Its two ends stay on one line.
_log = logging.getLogger("mkdocs.hooks.tf_laq")  # MkDocs counts what is logged below its own name.


class Examples(griffe.Extension):
    """Lets Griffe know the section "Example:", which it takes for plain text."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        """Rename the section in the docstring of one object."""
        if obj.docstring:
            obj.docstring.value = re.sub(r"^( *)Example:$", r"\1Examples:", obj.docstring.value, flags=re.M)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages beside docs/, and a page of the reference for each public package."""
    for path in BESIDE:
        files.append(File.generated(config, path, abs_src_path=str(ROOT / path)))
    package = griffe.load("tf_laq", search_paths=[str(ROOT)])
    for name in ("tf_laq", *MODULES):
        files.append(File.generated(config, f"reference/{name}.md", content=_reference(name, package)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Lead links to where the site has what they lead to in a clone, and keep intervals on one line."""
    here = page.file.src_uri
    in_clone = here if here in BESIDE else f"docs/{here}"

    def led(link: re.Match[str]) -> str:
        mark, text, path, anchor = link.group(1), link.group(2), link.group(3), link.group(4) or ""
        if not path or re.match(r"[a-z]+:", path):
            return link.group()
        target = posixpath.normpath(posixpath.join(posixpath.dirname(in_clone), path))
        on_site = target.removeprefix("docs/")
        if files.get_file_from_path(on_site):
            return f"{mark}[{text}]({posixpath.relpath(on_site, posixpath.dirname(here) or '.')}{anchor})"
        if not (ROOT / target).exists():
            _log.warning(f"{here} leads to {target}, which does not exist.")
        return f"[{text}]({config.repo_url}/blob/main/{target}{anchor})" if config.repo_url else text

    return _TABLE.sub(lambda line: _INTERVAL.sub("[\\1,\u00a0\\2]", line.group()), _LINK.sub(led, markdown))


def _reference(name: str, package: Any) -> str:
    """Return the page of a public package: its docstring, and every public name with its own."""
    path = "tf_laq" if name == "tf_laq" else f"tf_laq.{name}"
    module = package if name == "tf_laq" else package[name]
    lines = [f"# {path}", ""]
    for public in _public(ROOT / path.replace(".", os.sep)):
        member = module[public]
        found = member.final_target if member.is_alias else member
        if not found.has_docstring:
            _log.warning(f"{path}.{public} has no docstring.")
        lines += [f"::: {found.path}", "    options:", f"      heading: {public}", ""]
    return "\n".join(lines)


def _public(folder: Path) -> list[str]:
    """Return the public names that a package has from its own modules."""
    stub = folder / "__init__.pyi"
    tree = ast.parse((stub if stub.exists() else folder / "__init__.py").read_text(encoding="utf-8"))
    elsewhere = {None, *MODULES} if folder.name == "tf_laq" else {None}
    names = []
    for node in tree.body:
        if isinstance(node, ast.ImportFrom) and stub.exists() and node.module not in elsewhere:
            names += [alias.name for alias in node.names if not alias.name.startswith("_")]
        elif isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            names += ast.literal_eval(node.value)
    return names
