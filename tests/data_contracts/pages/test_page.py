"""Every template is one page of the same kind: escaped, one policy, one style, nothing fetched."""

from pathlib import Path

import pytest
from jinja2 import UndefinedError
from markupsafe import Markup

import data_contracts.pages
from data_contracts.contract_page import render_page
from data_contracts.pages.page import render
from tests.support.html_page import Page

FOLDER = Path(data_contracts.pages.__file__).parent
BASE = FOLDER / "base.html"
PAGES = sorted(set(FOLDER.glob("*.html")) - {BASE})


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_every_page_takes_policy_and_style_from_the_base_and_trusts_no_value(path: Path) -> None:
    template = path.read_text()
    assert template.startswith('{% extends "base.html" %}\n')
    for word in ("<meta", "<style", "<script", "<link", "http", "|safe", "| safe", "autoescape"):
        assert word not in template


def test_the_policy_lets_nothing_run_or_load_but_style_and_audio_of_the_page_itself() -> None:
    elements = Page(render_page([], "Contracts")).elements
    (policy,) = [
        attributes["content"]
        for tag, attributes in elements
        if tag == "meta" and attributes.get("http-equiv") == "Content-Security-Policy"
    ]
    assert policy is not None
    assert dict(rule.split(" ", 1) for rule in policy.split("; ")) == {
        "default-src": "'none'",
        "style-src": "'unsafe-inline'",
        "media-src": "data:",
        "base-uri": "'none'",
        "form-action": "'none'",
    }


def test_text_is_escaped_and_markup_of_our_own_is_not() -> None:
    assert "<h1>a &lt;b&gt; &amp; &#34;c&#34;</h1>" in render_page([], 'a <b> & "c"')
    assert "<h1><b>c</b></h1>" in render_page([], Markup("<b>c</b>"))


def test_a_value_that_is_missing_is_named() -> None:
    with pytest.raises(UndefinedError, match="'results' is undefined"):
        render("contract.html", title="Contracts")
