"""The documentation pages, which work without internet access."""

from __future__ import annotations

from html.parser import HTMLParser
from urllib.parse import urljoin

import pytest
from fastapi.testclient import TestClient

from tests.conftest import ROOT

pytestmark = pytest.mark.integration

KINDS = {"stylesheet": "text/css", "shortcut icon": "image/png", "script": "text/javascript"}
PAGES = ["/docs", "/redoc"]


class Named(HTMLParser):
    """What a page has a browser fetch, and as what."""

    def __init__(self) -> None:
        super().__init__()
        self.found: dict[str, str] = {}

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        for name in ("src", "href", "spec-url"):
            if url := given.get(name):
                self.found[url] = given.get("rel") or tag


def named(page: str) -> dict[str, str]:
    parser = Named()
    parser.feed(page)
    return parser.found


@pytest.mark.parametrize("path", PAGES)
def test_a_page_names_nothing_that_this_very_service_does_not_serve(client: TestClient, path: str) -> None:
    page = client.get(path)
    assert (page.status_code, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
    found = named(page.text)
    assert {"script", "shortcut icon"} <= set(found.values())
    for url, kind in found.items():
        assert url.startswith("/"), url
        assert not url.startswith("//"), url
        asset = client.get(urljoin(path, url))
        assert asset.status_code == 200, url
        assert asset.headers["content-type"].partition(";")[0] == KINDS.get(kind, "application/json")


@pytest.mark.parametrize("path", PAGES)
def test_a_browser_may_fetch_nothing_from_elsewhere(client: TestClient, path: str) -> None:
    page = client.get(path)
    assert "https://" not in page.text
    assert "http://" not in page.text
    policy = dict(part.strip().split(" ", 1) for part in page.headers["content-security-policy"].split(";"))
    assert policy["default-src"] == "'self'"
    assert "http" not in page.headers["content-security-policy"]


def test_the_guide_to_datasets_is_served(client: TestClient) -> None:
    page = client.get("/docs/bring-your-data")
    assert (page.status_code, page.headers["content-type"]) == (200, "text/plain; charset=utf-8")
    assert page.text == (ROOT / "docs" / "bring-your-data.md").read_text(encoding="utf-8")
    assert "/docs/bring-your-data" in client.post("/datasets", content=b"{}").json()["detail"]
