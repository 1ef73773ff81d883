"""The doctor of data sets."""

import csv
import os

import numpy as np
import pytest
from PIL import ExifTags, Image

from data import check, labels, readers
from tests import draw_faces


@pytest.fixture
def doctor(tmp_path, capsys):
    """A function of the command line's words on the data set tmp_path/set; what it prints.

    It returns the sentence that it ends with, None for a training that could start.
    """

    def run(*words):
        sentence = None
        try:
            check.main(['set', '--datadir', str(tmp_path), *map(str, words)])
        except SystemExit as error:
            sentence = error.code.strip()
            assert '\n' not in sentence
        return capsys.readouterr().out, sentence

    return run


@pytest.fixture
def healthy(tmp_path):
    """tmp_path/set, 12 faces of 130 x 130 pixels."""
    folder = tmp_path / 'set'
    folder.mkdir()
    for i in range(12):
        age = draw_faces.CENTRES[i % 10]
        face = draw_faces.draw_face(age, i % 2, seed=i).resize([130, 130])
        face.save(folder / f'{age}_{i % 2}_{i:03d}.jpg')
    return folder


@pytest.fixture
def ill(healthy):
    """The same with everything that can be wrong."""
    one, two = sorted(healthy.iterdir())[:2]
    (healthy / 'portrait.jpg').write_bytes(one.read_bytes())
    (healthy / '25_1_truncated.jpg').write_bytes(two.read_bytes()[:1500])
    (healthy / '25_1_text.jpg').write_text('no picture')
    (healthy / '25_1_empty.jpg').touch()
    age, gender = readers.parse_name(one)
    (healthy / f'{age}_{gender}_same.jpg').write_bytes(one.read_bytes())
    (healthy / '99_1_other.jpg').write_bytes(two.read_bytes())
    pixels = np.random.RandomState(0).randint(0, 256, [130, 130]).astype(np.uint8)
    Image.fromarray(pixels).save(healthy / '30_0_grey.png')
    Image.fromarray(np.tile(pixels[..., None], 3)).save(healthy / '30_0_grey_in_colours.png')
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 8  # a quarter, to the left
    face = draw_faces.draw_face(25, 0, seed=20).resize([120, 140])
    face.save(healthy / '25_0_turned.jpg', exif=exif)
    return healthy


def names_under(text, title):
    """Return the names that are listed under a finding."""
    paragraphs = [p.splitlines() for p in text.split('\n\n')]
    found = [lines for lines in paragraphs if title in lines[0]]
    assert len(found) == 1, text
    assert found[0][0].startswith(f'{len(found[0]) - 1} ')
    return [line.strip() for line in found[0][1:]]


def test_a_healthy_data_set(doctor, healthy):
    before = sorted(healthy.iterdir())
    text, sentence = doctor('--batch_size', 6)
    assert sentence is None
    assert '12 images, 12 with a label, read as utkface' in text
    assert '| age | male | female | all |' in text
    assert '| 0-5 | 2 | 0 | 2 |' in text and '| 6-10 | 0 | 2 | 2 |' in text
    assert '| over 70 | 0 | 1 | 1 |' in text and '| all | 6 | 6 | 12 |' in text
    assert 'Nothing is odd.' in text
    assert 'Training could start: 12 faces, 6 of them samples, 1 batches of 6.' in text
    assert sorted(healthy.iterdir()) == before


def test_everything_that_can_be_wrong(doctor, ill):
    text, sentence = doctor('--batch_size', 6)
    assert sentence is None
    assert 'Training could start: 17 faces, ' in text  # all but the unreadable ones
    assert names_under(text, 'skipped: no age and gender') == ['portrait.jpg']
    empty, text_file, truncated = names_under(text, 'unreadable')
    assert empty.startswith('25_1_empty.jpg (no picture')
    assert text_file.startswith('25_1_text.jpg (no picture')
    assert truncated.startswith('25_1_truncated.jpg (image file is truncated')
    wide = ['25_0_turned.jpg (140 x 120)']  # as it is seen
    assert names_under(text, 'not square') == names_under(text, 'smaller than 128') == wide
    one, two = sorted(path.name for path in ill.iterdir() if path.stem[-3:].isdecimal())[:2]
    age, gender = readers.parse_name(one)
    same = ' = '.join(sorted([one, f'{age}_{gender}_same.jpg']))
    grey = '30_0_grey.png = 30_0_grey_in_colours.png'
    assert names_under(text, 'more than once, with the same labels') == sorted([same, grey])
    assert names_under(text, 'more than once, with different labels') == [f'{two} = 99_1_other.jpg']


def test_a_clean_table_makes_it_trainable(doctor, ill):
    text, sentence = doctor('--batch_size', 6, '--csv', 'True')
    assert sentence is None
    with open(ill / 'labels.csv', encoding='utf-8', newline='') as file:
        rows = list(csv.DictReader(file))
    names = {row['file'] for row in rows}
    dropped = {'25_1_truncated.jpg', '25_1_text.jpg', '25_1_empty.jpg', 'portrait.jpg'}
    assert not names & (dropped | {'99_1_other.jpg', '30_0_grey_in_colours.png'})
    assert len(rows) == 12 + 2 and f'Wrote {len(rows)} faces' in text
    for row in rows:
        gender = ('male', 'female').index(row['gender'])
        age = 58 if row['file'] == '18_1_003.jpg' else int(row['age'])  # 99_1_other.jpg is a copy
        assert int(row['age']) == age
        assert readers.parse_name(row['file']) == (18 if age == 58 else age, gender)
    with pytest.warns(UserWarning, match='skipped: not in labels.csv'):
        paths, _, _ = labels.list_faces(str(ill))
    assert len(paths) == len(rows)

    first = (ill / 'labels.csv').read_bytes()
    assert doctor('--batch_size', 6, '--csv', 'yes')[1] is None
    assert (ill / 'labels.csv').read_bytes() == (ill / 'labels.old.csv').read_bytes() == first
    (ill / 'labels.csv').write_text('file,age,gender\n')
    text, sentence = doctor('--csv', '1')
    assert 'labels.old.csv is in the way' in sentence
    assert (ill / 'labels.old.csv').read_bytes() == first


def test_copies_get_one_line_in_the_table(doctor, healthy):
    """A mirrored and a framed copy, both older, one with another gender; and one left out."""
    other = draw_faces.draw_face(20, 0, seed=51).resize([130, 130])
    for name in ('20_0_d.png', '20_1_e.png'):  # as many of both genders
        other.save(healthy / name)
    face = draw_faces.draw_face(40, 0, seed=50).resize([130, 130])
    face.save(healthy / '40_0_a.png')
    face.transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(healthy / '46_0_b.jpg', quality=60)
    face.paste(0, (0, 120, 130, 130))
    face.save(healthy / '62_1_c.png')
    text, _ = doctor('--batch_size', 6, '--csv', 'True')
    names = names_under(text, 'with different labels')
    assert names == ['20_0_d.png = 20_1_e.png', '40_0_a.png = 46_0_b.jpg = 62_1_c.png']
    table = (healthy / 'labels.csv').read_text().splitlines()
    assert '40_0_a.png,46,male' in table and len(table) == 1 + 12 + 1


def test_more_than_half_unreadable(doctor, healthy):
    paths = sorted(healthy.iterdir())
    for path in paths[:6]:
        path.write_bytes(path.read_bytes()[:700])
    assert doctor('--batch_size', 2)[1] is None
    os.truncate(paths[6], 0)
    _, sentence = doctor('--batch_size', 2)
    assert sentence.startswith('Training could not start, 7 of 12 images are unreadable: ')


def test_many_names_are_cut_short_unless_all_are_asked_for(doctor, healthy):
    for i in range(25):
        (healthy / f'portrait{i}.jpg').touch()
    with pytest.warns(UserWarning, match='12 names of 37 in .* mean something else'):
        text, _ = doctor('--batch_size', 6)
    lines = text.split('skipped: ')[1].splitlines()
    assert len(lines) - lines.index(next(line for line in lines if 'portrait' in line)) > 20
    assert '    ... and 5 more' in lines and text.count('portrait') == 20
    assert doctor('--batch_size', 6, '--full')[0].count('portrait') == 25


def test_too_few_faces(doctor, healthy):
    _, sentence = doctor()
    assert '12 faces, too few for batches of 100 ' in sentence and sentence.endswith(
        'Try --batch_size 6.'
    )


def test_genders_that_are_missing(doctor, tmp_path):
    (tmp_path / 'set').mkdir()
    for name in ('001A02.JPG', '001A75.JPG'):
        draw_faces.draw_face(25, 0, seed=0).save(tmp_path / 'set' / name)
    text, sentence = doctor('--csv', 'True')
    assert '| age | male | female | unknown | all |' in text and '| all | 0 | 0 | 2 | 2 |' in text
    assert 'supply' in sentence and 'genders.csv with the columns person,gender' in sentence
    assert not (tmp_path / 'set' / 'labels.csv').exists()


def test_age_groups_and_reader(doctor, healthy):
    text, _ = doctor('--age_groups', '18,65')
    assert '| 19-65 |' in text and '| over 65 |' in text
    assert 'are no upper limits' in doctor('--age_groups', '5,5')[1]
    assert 'labels.csv cannot be read' in doctor('--labels', 'csv')[1]
