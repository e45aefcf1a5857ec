from __future__ import annotations

import argparse
import json

import pytest

from worker.cli.arguments import add_options, options_from
from worker.errors import InputError


def parsed(*words):
    parser = argparse.ArgumentParser(exit_on_error=False)
    add_options(parser)
    return options_from(parser.parse_args(words))


def test_a_studio_file_fills_the_studio_options(tmp_path):
    path = tmp_path / "工作室.json"
    path.write_text(json.dumps({"producer": "华光影业", "doi_prefix": "10.12345"}, ensure_ascii=False), "utf-8-sig")
    studio = parsed("--studio", str(path)).studio
    assert (studio.producer, studio.doi_prefix, studio.film_title) == ("华光影业", "10.12345", None)
    assert parsed().studio.producer is None


@pytest.mark.parametrize("text", [None, "not json", "[1]"])
def test_a_file_that_is_none_is_told(tmp_path, text):
    path = tmp_path / "s.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises((argparse.ArgumentError, SystemExit)):
        parsed("--studio", str(path))


def test_unknown_words_are_told(tmp_path):
    path = tmp_path / "s.json"
    path.write_text('{"publisher": "x"}')
    with pytest.raises(InputError, match=r"studio\.publisher"):
        parsed("--studio", str(path))
