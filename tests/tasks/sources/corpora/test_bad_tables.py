"""Tables that are damaged: a bad line costs itself, an unreadable table ends with a clear error."""

import csv
from pathlib import Path

import pytest

from data_contracts.records import Rejected
from tasks.sources.catalogue import CorpusError, corpus_rows
from tasks.sources.corpus_files import CorpusFiles
from tasks.sources.tables import read_table
from tests.support.corpus_rows import rows_of, source_of
from tests.support.corpus_trees.files import text, tsv
from tests.support.corpus_trees.transcribed import CV_HEADER

ESC_HEADER = "filename,fold,target,category,esc10,src_file,take\n"
ESC_ROW = "b.wav,1,0,dog,True,1,A\n"


@pytest.mark.parametrize(
    ("line", "why"),
    [
        (b"a.wav,1", "it has 2 columns, the table has 7"),
        (b"a.wav,1,0,dog,True,1,A,more", "it has 8 columns, the table has 7"),
        (b"\xff.wav,1,0,dog,True,1,A", "'utf-8' codec can't decode byte 0xff"),
        (b"a" * 400_000, "it has over 131072 bytes"),
    ],
)
def test_a_bad_line_of_a_table_is_rejected_by_its_number_and_its_neighbours_are_read(
    line: bytes, why: str, tmp_path: Path
) -> None:
    meta = tmp_path / "meta/esc50.csv"
    meta.parent.mkdir()
    good = ESC_ROW.encode()
    meta.write_bytes(ESC_HEADER.encode() + good.replace(b"b.", b"a.") + line + b"\n" + good)
    rows = rows_of("esc50", tmp_path, "fold1")
    assert rows[0] == ("a", "dog")
    assert rows[1][0] == "meta/esc50.csv line 3"
    assert rows[1][1].startswith(why)
    assert rows[2:] == [("b", "dog")]


def test_a_table_that_is_none_ends_with_an_error_that_names_a_line(tmp_path: Path) -> None:
    esc = source_of("esc50", tmp_path / "esc", ("fold1",))
    meta = tmp_path / "esc/meta/esc50.csv"
    for content, message in (
        ("filename,fold,target\n", r"has the columns filename, fold, target; .*category"),
        ("", r"has the columns ; .*category"),
        (ESC_HEADER + 'a.wav,1,0,"dog\n', r"line \d .*can't be read: unexpected end.*Unpack"),
        (ESC_HEADER + 'a.wav,1,0,"dog"s,True,1,A\n', r"line 2 .*can't be read: ',' expected"),
        (ESC_HEADER + "a.wav,1,0,dog\n", r"no usable row.*line 2: it has 4 columns.*--list"),
        (ESC_HEADER, r"fold1 of corpus esc50 in .*esc has no record. Wanted is meta/esc50.csv"),
    ):
        text(meta, content)
        with pytest.raises(CorpusError, match=message):
            list(corpus_rows(esc))
    meta.write_bytes(ESC_HEADER.encode() + b"\xff\n" * 2_000)
    with pytest.raises(CorpusError, match=r"is no table: over 1000 lines .*line 1002: 'utf-8'"):
        list(corpus_rows(esc))
    text(tmp_path / "vs/datafiles/te.json", '["x"]')
    with pytest.raises(CorpusError, match=r"te.json is not .*data"):
        list(corpus_rows(source_of("vocalsound", tmp_path / "vs", ("test",))))
    text(tmp_path / "vs/datafiles/te.json", "[" * 100_000)
    with pytest.raises(CorpusError, match=r"te.json is not JSON"):
        list(corpus_rows(source_of("vocalsound", tmp_path / "vs", ("test",))))


def test_a_json_of_100_mb_is_refused_before_it_is_parsed(tmp_path: Path) -> None:
    path = tmp_path / "Foundation/Foundation_meta.json"
    path.parent.mkdir()
    with path.open("wb") as stream:
        stream.truncate(100 << 20)
    with pytest.raises(CorpusError, match=r"meta.json has over 67108864 bytes.*Download it again"):
        list(corpus_rows(source_of("air_bench", tmp_path, ("Foundation",))))


def test_quotation_marks_of_common_voice_mean_nothing_and_a_backslash_escapes_a_tab(
    tmp_path: Path,
) -> None:
    rest = "\t2\t0\t\t\t\t\ten\t\n"
    text(
        tmp_path / "en/train.tsv",
        "\t".join(CV_HEADER)
        + "\n"
        + f'c1\ta.mp3\t"Hello\tworld is big"{rest}'
        + f'c1\tb.mp3\t"Go", he said{rest}'
        + f"c1\tc.mp3\ttwo\\\ttabs{rest}"
        + f"c1\td.mp3\tcarriage\rreturn{rest}"
        + "c1\te.mp3\tcut\n"
        + f'c1\tf.mp3\tunpaired "{rest}',
    )
    assert rows_of("common_voice", tmp_path, "en/train") == [
        ("en/train.tsv line 2", "it has 12 columns, the table has 11"),
        ("en/b", '"Go", he said'),
        ("en/c", "two\ttabs"),
        (
            "en/train.tsv line 5",
            "new-line character seen in unquoted field - do you need to open the file in "
            "universal-newline mode?",
        ),
        ("en/train.tsv line 6", "it has 3 columns, the table has 11"),
        ("en/f", 'unpaired "'),
    ]


def test_what_the_tools_of_the_tsv_corpora_write_is_read_back(tmp_path: Path) -> None:
    """CorporaCreator (Common Voice) and get_covost_splits.py use these options."""
    said = ['plain "quoted"', "a\ttab", "two\nlines", "back\\slash", "'", ""]
    with (tmp_path / "t.tsv").open("w", newline="") as stream:
        writer = csv.writer(
            stream, delimiter="\t", quoting=csv.QUOTE_NONE, escapechar="\\", quotechar=None,
            lineterminator="\n",
        )  # fmt: skip
        writer.writerows([("path", "sentence"), *enumerate(said)])
    rows = read_table(
        CorpusFiles(str(tmp_path)), "t.tsv", ("path", "sentence"), delimiter="\t",
        quoting=csv.QUOTE_NONE, escapechar="\\",
    )  # fmt: skip
    assert [row["sentence"] for row in rows if isinstance(row, dict)] == said


def test_fleurs_with_another_number_of_columns_rejects_the_line(tmp_path: Path) -> None:
    good = ("1", "a.wav", 'Hello "x"', "hello", "h e l", "100", "MALE")
    tsv(tmp_path / "en_us/train.tsv", [(*good, "extra"), good])
    assert rows_of("fleurs", tmp_path, "en_us/train") == [
        ("en_us/train.tsv line 1", "it has 8 columns, the table has 7"),
        ("en_us/a", 'Hello "x"'),
    ]


def test_a_row_with_a_bad_line_within_it_is_rejected_and_not_read_without_it(
    tmp_path: Path,
) -> None:
    lines = (b"id,text", b'1,"first', b"\xff", b'last"', b"\xff", b"2,whole", b'3,"two', b'lines"')
    (tmp_path / "a.csv").write_bytes(b"\n".join(lines) + b"\n")
    rows = list(read_table(CorpusFiles(str(tmp_path)), "a.csv", ("id", "text")))
    assert [row.id if isinstance(row, Rejected) else row for row in rows] == [
        "a.csv line 3",
        "a.csv line 4",
        "a.csv line 5",
        {"id": "2", "text": "whole"},
        {"id": "3", "text": "two\nlines"},
    ]


def test_a_quotation_mark_that_stays_open_in_the_header_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text('id,"text\n1,a\n')
    with pytest.raises(CorpusError, match=r"header of .*a\.csv can't be read"):
        list(read_table(CorpusFiles(str(tmp_path)), "a.csv", ("id", "text")))
