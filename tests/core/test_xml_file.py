import pytest

from augsynth.core.errors import DatasetError
from augsynth.core.xml_file import read_xml

LAUGHS = """<!DOCTYPE a [<!ENTITY x "ha"><!ENTITY y "&x;&x;&x;&x;">]><a>&y;</a>"""
OUTSIDE = """<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/hostname">]><a>&x;</a>"""


def written(tmp_path, text, encoding="utf-8"):
    path = tmp_path / "a.xml"
    path.write_bytes(text.encode(encoding))
    return path


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_text_is_read_in_any_encoding_that_xml_knows(tmp_path, encoding):
    root = read_xml(written(tmp_path, "<a k='1'>\r\n <b>Müll &amp; mehr</b></a>", encoding))
    assert root.get("k") == "1"
    assert root.findtext("b") == "Müll & mehr"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
@pytest.mark.parametrize("text", [LAUGHS, OUTSIDE])
def test_entities_are_refused_before_they_grow(tmp_path, text, encoding):
    with pytest.raises(DatasetError, match="declares entities; export it again"):
        read_xml(written(tmp_path, text, encoding))


@pytest.mark.parametrize("text", ["", "no", "<a>", "<a></b>", "<?xml version='1.0' encoding='klingon'?><a/>"])
def test_what_is_no_xml_is_named(tmp_path, text):
    with pytest.raises(DatasetError, match=r"a\.xml: isn't XML"):
        read_xml(written(tmp_path, text))


def test_depth_is_bounded(tmp_path):
    with pytest.raises(DatasetError, match="nested deeper than 100"):
        read_xml(written(tmp_path, "<a>" * 200 + "</a>" * 200))


def test_a_folder_and_a_missing_file_are_named(tmp_path):
    with pytest.raises(DatasetError, match="no ordinary file"):
        read_xml(tmp_path)
    with pytest.raises(DatasetError, match=r"can't be read.*check the path"):
        read_xml(tmp_path / "nowhere.xml")
