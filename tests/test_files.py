"""Listing pictures, naming results, and replacing files."""

import os
import pathlib
import warnings

import pytest

from data import console, files


def test_names_of_results():
    paths = ['a/me.jpg', 'a/ME.png', 'b/me.jpg', 'a/me_2.jpg', 'a\\x.y.jpg', 'l' * 250 + '.png']
    names = files.unique_names(paths)
    assert names == ['me', 'ME_2', 'me_3', 'me_2_2', 'x.y', 'l' * 40]


def test_what_is_not_there_is_called_what_it_was_to_be(tmp_path):
    (tmp_path / 'a.jpg').touch()
    assert files.list_images(str(tmp_path / 'a.jpg')) == [str(tmp_path / 'a.jpg')]
    with pytest.raises(console.InputError, match=r'a\.jpg is a file: name the folder'):
        files.list_images(str(tmp_path / 'a.jpg'), recursive=True)
    with pytest.raises(console.InputError, match=r'There is no folder or picture .*b: name one'):
        files.list_images(str(tmp_path / 'b'))
    with pytest.raises(console.InputError, match=r'There is no folder .*/b: put the images there'):
        files.list_images(str(tmp_path / 'b'), recursive=True)
    (tmp_path / 'empty').mkdir()
    with pytest.raises(console.InputError, match=r'No images in .*empty: put bmp, gif'):
        files.list_images(str(tmp_path / 'empty'))


def test_a_file_is_replaced_or_as_it_was(tmp_path):
    path = tmp_path / ('a' * 250 + '.txt')
    for text in ('first', 'second'):
        with files.replacing(str(path)) as aside:
            pathlib.Path(aside).write_text(text)
        assert [*tmp_path.iterdir()] == [path] and path.read_text() == text
    with pytest.raises(KeyboardInterrupt), files.replacing(str(path)) as aside:
        pathlib.Path(aside).write_text('half')
        raise KeyboardInterrupt
    assert [*tmp_path.iterdir()] == [path] and path.read_text() == 'second'


def test_a_replacement_is_not_written_through_a_link(tmp_path):
    (tmp_path / 'precious').write_text('mine')
    path = tmp_path / 'a.txt'
    path.symlink_to(tmp_path / 'precious')
    with files.replacing(str(path)) as aside:
        pathlib.Path(aside).write_text('new')
    assert (tmp_path / 'precious').read_text() == 'mine'
    assert path.read_text() == 'new' and not path.is_symlink()


def test_a_sub_folder_that_cannot_be_read_is_left_out(tmp_path, monkeypatch):
    for folder in ('good', 'lost+found'):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / 'a.jpg').touch()
    (tmp_path / 'round').symlink_to('round')
    scan = os.scandir

    def scandir(path):
        if path.endswith('found'):
            raise PermissionError(13, 'Permission denied', path)
        return scan(path)

    monkeypatch.setattr(os, 'scandir', scandir)
    with pytest.warns(UserWarning, match=r'lost\+found cannot be read \(Permission denied\): left'):
        paths = files.list_images(str(tmp_path), recursive=True)
    assert paths == [str(tmp_path / 'good' / 'a.jpg')]


def test_pictures_of_other_formats_are_counted_once(tmp_path):
    for name in ('a.jpg', 'b.HEIC', 'c.avif', 'notes.txt'):
        (tmp_path / name).touch()
    with warnings.catch_warnings(record=True) as recorded:
        warnings.simplefilter('default')
        for _ in range(2):
            assert files.list_images(str(tmp_path)) == [str(tmp_path / 'a.jpg')]
    (text,) = [str(warning.message) for warning in recorded]
    assert text.startswith('2 pictures in ') and 'not read, such as ' in text and 'b.HEIC:' in text


def test_two_processes_replace_a_file(tmp_path):
    """Neither removes what the other writes; the last one wins."""
    path = tmp_path / 'a.txt'
    with files.replacing(str(path)) as first, files.replacing(str(path)) as second:
        for aside in (first, second):
            pathlib.Path(aside).write_text(aside)
    assert path.read_text() == first != second and list(tmp_path.iterdir()) == [path]


def test_a_disk_that_cannot_be_written_names_the_file(tmp_path, monkeypatch):
    def refuse(path, *_):
        raise OSError(30, 'Read-only file system', path)

    path = str(tmp_path / 'a.txt')
    monkeypatch.setattr(os, 'remove', refuse)
    with pytest.raises(OSError, match='Read-only') as error, files.replacing(path) as aside:
        refuse(aside)
    assert error.value.filename == path
