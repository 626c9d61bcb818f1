"""Looks at every page of the built site: light and dark, on a desk and on a phone.

    make walk

A page fails that is wider than its window, asks the network for anything, or has an error in its console.
What each looks like is kept in docs/_build/walk. Needs Chromium: the one on the PATH, or what CHROMIUM names.

    python docs/walk.py rfcs index    only these
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

from playwright.sync_api import Browser, Page, sync_playwright

BUILT = Path(__file__).parent / "_build"
SITE = BUILT / "html"
PICTURES = BUILT / "walk"

WIDTHS = {"desk": 1280, "phone": 390}
SCHEMES = ("light", "dark")

# What makes the window, or the text in it, scroll sideways. Tables, code and drawings may do so alone.
STICKING_OUT = """
() => [document.scrollingElement, ...document.querySelectorAll(".content")]
  .filter(box => box.scrollWidth > box.clientWidth)
  .flatMap(box => [...box.querySelectorAll("*")].filter(element => {
    for (let up = element.parentElement; up !== box; up = up.parentElement)
      if (getComputedStyle(up).overflowX !== "visible") return false;
    return element.getBoundingClientRect().right > box.getBoundingClientRect().right + 1;
  }))
  .map(element => element.tagName.toLowerCase() + " " + element.textContent.trim().replace(/\\s+/g, " "))
  .map(text => "sticks out: " + text.slice(0, 60))
  .slice(0, 3)
"""


def pages() -> list[Path]:
    """All pages, or those that were named."""
    named = set(sys.argv[1:])
    return sorted(path for path in SITE.rglob("*.html") if not named or _name(path) in named)


def _name(path: Path) -> str:
    return path.relative_to(SITE).with_suffix("").as_posix()


def opened(browser: Browser, width: int, scheme: str) -> tuple[Page, list[str]]:
    """A window of this width, and what is wrong with what is shown in it, as it is found."""
    page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
    faults: list[str] = []
    page.on("console", lambda message: faults.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: faults.append(str(error)))

    def refuse(route: object, request: object) -> None:
        faults.append(f"asks for {request.url}")
        route.abort()

    page.route(lambda url: not url.startswith(("file:", "data:", "blob:")), refuse)
    return page, faults


def walk(browser: Browser) -> Iterator[str]:
    """What is wrong, one line each."""
    for window, width in WIDTHS.items():
        for scheme in SCHEMES:
            page, faults = opened(browser, width, scheme)
            for path in pages():
                name = _name(path)
                page.goto(path.as_uri())
                found = [*faults, *page.evaluate(STICKING_OUT)]
                faults.clear()
                page.screenshot(
                    path=PICTURES / f"{name.replace('/', '-')}-{window}-{scheme}.png", full_page=True
                )
                yield from (f"{name} ({window}, {scheme}): {fault}" for fault in found)
            page.close()


def main() -> int:
    """Walk, and say what was found; the exit code."""
    chromium = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
    if not pages() or chromium is None:
        print("needs the built site (make docs), and Chromium", file=sys.stderr)
        return 2
    PICTURES.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium)
        found = list(walk(browser))
        browser.close()
    print(
        "\n".join(found) or f"{len(pages())} pages, in {len(WIDTHS) * len(SCHEMES)} ways: nothing sticks out"
    )
    return bool(found)


if __name__ == "__main__":
    sys.exit(main())
