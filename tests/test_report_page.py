"""The page is one file: complete, safe, the same every time, and small enough to mail."""

from __future__ import annotations

import base64
import hashlib
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
import torch
from report_pages import HOSTILE, exhibit, full_page, picture

from unrote.report import (
    Collation,
    Collations,
    Column,
    Evidence,
    Exhibit,
    Figure,
    Gallery,
    Notes,
    Page,
    Picture,
    Reading,
    Section,
    Table,
    Text,
    Verdict,
    render,
    write,
)
from unrote.report import page as module

VOID = {"meta", "link", "img", "br", "input", "hr"}


class Reader(HTMLParser):
    """Tags, attributes and text of a page; fails where tags do not nest."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


@pytest.fixture(scope="module")
def html() -> str:
    return render(full_page())


def simple(*blocks: object, title: str = "t") -> Page:
    return Page(title, Verdict("s"), (Section("h", tuple(blocks)),))  # type: ignore[arg-type]


def test_tags_nest_and_ids_are_unique(html):
    tags = Reader(html).tags
    ids = [attributes["id"] for _, attributes in tags if "id" in attributes]
    assert len(ids) == len(set(ids)) > 20
    for _, attributes in tags:
        for name in ("aria-labelledby", "href"):
            value = attributes.get(name) or ""
            if name == "aria-labelledby" and value:
                assert value in ids
            if name == "href" and value.startswith("#"):
                assert value[1:] in ids


def test_nothing_points_outside(html):
    for tag, attributes in Reader(html).tags:
        for name in ("src", "href", "action", "data", "poster", "srcset"):
            value = attributes.get(name)
            assert value is None or value.startswith(("data:", "#")), (tag, name, value)
        assert not any(name.startswith("on") for name in attributes)
    assert "url(" not in re.sub(r"url\(#", "", html.split("</style>")[0])
    assert "@import" not in html
    assert "https://" not in html
    assert "http://" not in html


def test_the_policy_admits_this_script_and_no_other(html):
    script = html.split("<script>")[1].split("</script>")[0]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = next(
        a["content"] for _, a in Reader(html).tags if a.get("http-equiv") == "Content-Security-Policy"
    )
    assert policy is not None
    assert "default-src 'none'" in policy
    assert f"script-src 'sha256-{digest}'" in policy
    assert html.count("<script") == 1


@pytest.mark.parametrize("name", HOSTILE[:3] + HOSTILE[7:])
def test_names_are_escaped_wherever_they_stand(name):
    column = (Column(name), Column("b"))
    blocks = (
        Text((name,)),
        Notes((name,)),
        Table(column, ((name, 1), ("x", 2)), name),
        Evidence(
            (Exhibit((Picture(torch.zeros(1, 2, 2, dtype=torch.uint8), name, name),), name, name, name),),
            name,
        ),
        Gallery((Exhibit((picture(0),), name),), name),
        Figure("<svg></svg>", name, name),
    )
    reader = Reader(render(Page(name, Verdict(name), (Section(name, blocks),), name, (name,))))
    labels = [attributes for tag, attributes in reader.tags if tag == "b"]
    assert labels == [{}, {}]  # the page sets the labels of its two pictures in bold itself
    assert sum(tag == "img" for tag, _ in reader.tags) == 2
    assert all("onerror" not in attributes for _, attributes in reader.tags)
    assert "49" not in "".join(reader.texts).split("Verdict")[1]


def test_backquotes_make_code_and_a_lone_one_is_a_character():
    html = render(simple(Text(("run `a <b>` now", "one ` only", "31 % of n = 5"))))
    assert "run <code>a &lt;b&gt;</code> now" in html
    assert "<p>one ` only</p>" in html
    assert "31\u00a0% of n\u00a0=\u00a05" in html


def test_same_page_same_bytes(html):
    assert render(full_page()) == html


def test_undecodable_names_and_control_characters_can_be_written(tmp_path):
    write(full_page(rows=8), tmp_path / "report.html")
    text = (tmp_path / "report.html").read_bytes().decode("utf-8")
    assert r"caf\xe9.png" in text
    assert r"\u202egnp.exe" in text
    assert "bell␇and" in text


def test_a_failed_write_leaves_the_old_page_and_no_debris(tmp_path, monkeypatch):
    target = tmp_path / "report.html"
    write(simple(title="first"), target)
    before = target.read_bytes()

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module.os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        write(simple(title="second"), target)
    assert target.read_bytes() == before
    assert list(tmp_path.iterdir()) == [target]


def test_a_thousand_samples_fit_into_a_mail(tmp_path):
    generator = torch.Generator().manual_seed(0)
    noise = torch.randint(
        0, 256, (50, 3, 32, 32), generator=generator, dtype=torch.uint8
    )  # cannot be compressed
    rows = tuple(
        Exhibit(tuple(Picture(noise[(3 * i + j) % 50], str(j)) for j in range(3)), str(i))
        for i in range(1_000)
    )
    table = Table(
        tuple(Column(c) for c in "abcdefg"),
        tuple((f"sample_{i}.png", i, i, i / 7, i / 3, i / 1_000, False) for i in range(1_000)),
        "All samples",
    )
    write(simple(Evidence(rows, "c"), table), tmp_path / "report.html")
    html = Path(tmp_path / "report.html").read_text(encoding="utf-8")
    assert len(html.encode()) < 5_000_000
    told = re.search(r"Pictures of the first ([\d,]+) of 1,000 rows are in this page", html)
    assert told is not None
    assert html.count('<li class="exhibit') == int(told.group(1).replace(",", ""))


def test_a_thousand_small_samples_are_all_there():
    html = render(simple(Evidence(tuple(exhibit(i, f"{i}.png") for i in range(1_000)), "c")))
    assert html.count('<li class="exhibit') == 1_000
    assert html.count(' more">') == 1_000 - 24
    assert len(html.encode()) < 5_000_000


def test_copies_are_marked_in_words_and_shape():
    html = render(simple(Evidence((exhibit(0, "a.png"), exhibit(99, "b.png")), "c")))
    first, second = html.split('<li class="exhibit')[1:]
    assert first.startswith(" row marked")
    assert "◆</span> copy</strong>" in first
    assert "marked" not in second
    assert "<strong" not in second


def test_a_row_must_fit_its_table():
    with pytest.raises(ValueError, match="has 1 values, the table 2 columns"):
        Table((Column("a"), Column("b")), (("x",),), "c")


def test_empty_blocks_say_so():
    html = render(simple(Evidence((), "Nearest first."), Table((Column("a"),), (), "c"), Notes(())))
    assert "Nearest first. None." in html
    assert html.count("None.") == 2
    assert 'role="note"' not in html


def test_missing_numbers_are_marked_for_sorting():
    html = render(
        simple(Table((Column("a"), Column("b")), (("x", None), ("y", 2.5), ("z", float("nan"))), "c"))
    )
    cells = re.findall(r"<td([^>]*)>", html)
    assert cells == [
        ' data-missing class="number"',
        ' data-sort="2.5" class="number"',
        ' data-missing class="number"',
    ]


@pytest.mark.parametrize("text", [*HOSTILE[:3], HOSTILE[7]])
def test_texts_beside_each_other_are_escaped_and_whole(text):
    readings = (
        Reading(text, ((text, False), ("  ", True), (text, True)), text),
        Reading("b", ((text, False),)),
    )
    rows = tuple(Collation(readings, text, "copy" if i < 2 else "", text) for i in range(9))
    reader = Reader(render(simple(Collations(rows, "c"), Collations((), "nothing here."))))
    assert sum(tag == "mark" for tag, _ in reader.tags) == 18
    assert not any(tag == "img" or "onerror" in attributes for tag, attributes in reader.tags)
    html = render(simple(Collations(rows, "c")))
    assert "<mark>  </mark>" in html
    assert html.count('<li class="exhibit marked') == 2
    assert html.count(' more">') == 3 and 'data-total="9" data-shown="6"' in html
