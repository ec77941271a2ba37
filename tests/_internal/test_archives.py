"""Arrays in .npz files: what they hold is known before it is read."""

import io
import zipfile

import numpy as np
import pytest

from tf_laq import datasets
from tf_laq._internal import archives
from tf_laq.errors import InputError

ARRAYS = {
    "floats": np.linspace(0, 1, 12, dtype=np.float32).reshape(3, 4),
    "columns": np.asfortranarray(np.arange(6).reshape(2, 3)),
    "big_endian": np.arange(3, dtype=">i4"),
    "texts": np.array(["a", "élan", ""]),
    "booleans": np.array([True, False]),
    "none": np.zeros((0, 3)),
    "number": np.array(7),
}


def read(path, opened=archives.opened):
    with opened(path, "arrays", "Make them again.") as content:
        return {name: content[name] for name in content}


def same(found):
    return list(found) == list(ARRAYS) and all(
        found[name].dtype == array.dtype and np.array_equal(found[name], array) for name, array in ARRAYS.items()
    )


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed, lambda path, **arrays: archives.write(path, arrays)])
def test_arrays_are_read_as_they_were_written(save, tmp_path):
    save(tmp_path / "a.npz", **ARRAYS)
    found = read(tmp_path / "a.npz")
    assert same(found)
    assert all(array.flags.writeable for array in found.values())


def with_member(path, content, name="images.npy", compression=zipfile.ZIP_DEFLATED):
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr(name, content)


def npy(header, data=b""):
    """Return the bytes of an array with a header of one's own."""
    file = io.BytesIO()
    np.lib.format.write_array_header_2_0(file, header)
    return file.getvalue() + data


def header(shape, descr="<f4"):
    return {"descr": descr, "fortran_order": False, "shape": shape}


def written(array):
    file = io.BytesIO()
    np.save(file, array, allow_pickle=True)
    return file.getvalue()


@pytest.mark.parametrize(
    ("content", "received"),
    [
        (npy(header((10**12, 28, 28))), "not the size"),
        (npy(header((2**62, 2**62)), b"1234"), "not the size"),
        (npy(header((-1, -4)), b"1234" * 4), "ValueError"),
        (npy(header((10**15,), "<U0")), "not the size"),
        (npy(header((1,), f"<U{2**28}")), "not the size"),
        (npy(header((3,)), b"1234" * 4), "not the size"),
        (npy(header((1,), "<U1"), b"\xff\xff\xff\x7f"), "characters that do not exist"),
        (written(np.array([{}])), "dtype object"),
        (written(np.zeros(2, [("a", "f4")])), "dtype"),
        (written(np.array(["2026-01-01"], "M8[D]")), "dtype"),
        (b"\x93NUMPY\x02\x00\xff\xff\xff\xff" + b"(" * 10**6, "ValueError"),
        (b"\x93NUMPY\x01\x00\x10\x27" + b"(" * 10**4, "something else"),
        (b"\x93NUMPY\x09\x00", "something else"),
        (b"", "something else"),
    ],
)
def test_an_array_that_is_not_what_it_declares_is_refused(content, received, tmp_path):
    with_member(tmp_path / "a.npz", content)
    with pytest.raises(InputError, match=rf"a\.npz: expected arrays.*{received}.*Make them again"):
        read(tmp_path / "a.npz")


def test_an_archive_that_would_fill_the_memory_is_not_read(tmp_path, monkeypatch):
    path = tmp_path / "bomb.npz"
    np.savez_compressed(path, images=np.zeros((1000, 28, 28), np.uint8), labels=np.zeros(1000, int))
    assert path.stat().st_size < 5000
    monkeypatch.setenv("TF_LAQ_MAX_GIGABYTES", "0.0005")
    with pytest.raises(InputError, match=r"bomb\.npz: expected a file of at most 0\.0005 GB.*MAX_GIGABYTES"):
        datasets.load(path)
    monkeypatch.setenv("TF_LAQ_MAX_GIGABYTES", "1")
    assert len(read(path)["images"]) == 1000


@pytest.mark.parametrize("compression", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_compression_that_numpy_does_not_use_is_refused(compression, tmp_path):
    with_member(tmp_path / "a.npz", npy(header((0,))), compression=compression)
    with pytest.raises(InputError, match="in a way that NumPy does not use"):
        read(tmp_path / "a.npz")


def test_an_archive_that_lost_or_gained_an_array_is_refused(tmp_path):
    path = tmp_path / "a.npz"
    archives.write(path, ARRAYS)
    assert same(read(path, archives.opened_whole))
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("more.npy", written(np.zeros(2)))
    with pytest.raises(InputError, match="other arrays than were written"):
        read(path, archives.opened_whole)
    np.savez(path, **ARRAYS)
    with pytest.raises(InputError, match="no checksum"):
        read(path, archives.opened_whole)
