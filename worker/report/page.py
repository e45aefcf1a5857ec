"""The page itself: template, style, script and sentences joined into one file."""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from worker.report.gather import Page

HERE = Path(__file__).parent


def render(page: Page) -> str:
    """HTML of the report. Everything from the session is escaped: file names and engine words are hostile here."""
    own: dict[str, Any] = {
        "style": Markup((HERE / "report.css").read_text("utf-8")),
        "script": Markup((HERE / "report.js").read_text("utf-8")),
        "blocks": page.blocks,
    }
    return _template().render(**page.view, **own)


@functools.cache
def _template() -> jinja2.Template:
    """Compiled once for all stills of a host: it takes as long as all the rest of the page."""
    strings: dict[str, list[str]] = json.loads((HERE / "strings.json").read_text("utf-8"))

    def text(key: str) -> Markup:
        return both(*strings[key])

    def plain(key: str) -> str:
        """For attributes, which hold no elements: both languages in one line."""
        return " · ".join(strings[key])

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(HERE),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["size"] = lambda value: "–" if value is None else f"{value:.3g}"
    environment.globals.update(t=text, plain=plain, both=both, has=strings.__contains__)
    return environment.get_template("template.html.j2")


def both(english: str, chinese: str) -> Markup:
    """A sentence in both languages; the style sheet shows the chosen one."""
    if english == chinese:
        return Markup.escape(english)
    return Markup('<span lang="en">{}</span><span lang="zh-CN">{}</span>').format(english, chinese)
