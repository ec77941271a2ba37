"""Pages: remarks by hand, and the form of what checks write."""

import pytest

from research.pages import remark, write_check
from tf_laq.errors import InputError


def test_a_remark_may_not_name_what_is_not_there(tmp_path):
    (tmp_path / "remarks").mkdir()
    (tmp_path / "remarks" / "a.md").write_text("{lq.pgd.wihte}", encoding="utf-8")
    with pytest.raises(InputError, match=r"names among lq.pgd.white. Received: \{lq.pgd.wihte\}"):
        remark(tmp_path, "a", {"lq.pgd.white": "1.0"})


def test_a_page_has_its_table_and_the_circumstances_and_the_file_the_rows(tmp_path):
    write_check("page", "Title", "\nText.\n", ["a", "b"], [[1, "x"], [None, "y"]], tmp_path)
    lines = (tmp_path / "page.md").read_text().splitlines()
    assert lines[:3] == ["# Title", "", "Text."]
    assert lines[4].startswith("Run on ") and "tensorflow " in lines[4]
    assert len([line for line in lines if line.startswith("|")]) == 4
    assert (tmp_path / "page.csv").read_text() == "a,b\n1,x\n,y\n"
