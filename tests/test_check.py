"""The doctor of data sets."""

import csv
import os
import sys

import numpy as np
import pytest
from PIL import ExifTags, Image

from data import check, copies, detector, labels, readers
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
    Image.new('RGB', [130, 130], 'red').save(healthy / '30_0_red.png')
    draw_faces.draw_face(25, 0, seed=20).resize([140, 120]).save(healthy / '25_0_wide.jpg')
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
    assert 'Training could start: 18 faces, ' in text  # all but the unreadable ones
    assert names_under(text, 'skipped: no age and gender') == ['portrait.jpg']
    unreadable = names_under(text, 'unreadable')
    assert [line.split()[0] for line in unreadable] == [
        '25_1_empty.jpg',
        '25_1_text.jpg',
        '25_1_truncated.jpg',
    ]
    assert 'no picture' in unreadable[0] and 'truncated' in unreadable[2]
    wide = ['25_0_wide.jpg (140 x 120)']
    assert names_under(text, 'of another size than the usual 130 x 130') == wide
    assert names_under(text, 'not square') == names_under(text, 'smaller than 128') == wide
    assert names_under(text, 'greyscale') == ['30_0_grey.png', '30_0_grey_in_colours.png']
    assert names_under(text, 'of one colour') == ['30_0_red.png']
    one, two = sorted(path.name for path in ill.iterdir() if path.stem[-3:].isdecimal())[:2]
    age, gender = readers.parse_name(one)
    same = ' = '.join(sorted([one, f'{age}_{gender}_same.jpg']))
    assert names_under(text, 'more than once, with the same labels') == sorted(
        [same, '30_0_grey.png ~ 30_0_grey_in_colours.png']
    )
    assert names_under(text, 'more than once, with different labels') == [
        ' = '.join(sorted([two, '99_1_other.jpg']))
    ]
    assert '3 photos are there more than once, as 6 faces; 2 of them as identical files' in text


def test_sizes_are_those_after_turning(doctor, healthy):
    face, exif = draw_faces.draw_face(25, 0, seed=20).resize([140, 120]), Image.Exif()
    exif[ExifTags.Base.Orientation] = 8  # a quarter, to the left
    face.save(healthy / '25_0_turned.jpg', exif=exif)
    text, _ = doctor('--batch_size', 6)
    assert names_under(text, 'not square') == ['25_0_turned.jpg (120 x 140)']


def test_a_clean_table_makes_it_trainable(doctor, ill):
    text, sentence = doctor('--batch_size', 6, '--csv', 'True')
    assert sentence is None
    with open(ill / 'labels.csv', encoding='utf-8', newline='') as file:
        rows = list(csv.DictReader(file))
    names = {row['file'] for row in rows}
    dropped = {'25_1_truncated.jpg', '25_1_text.jpg', '25_1_empty.jpg', 'portrait.jpg'}
    assert not names & (dropped | {'99_1_other.jpg', '30_0_grey_in_colours.png'})
    assert len(rows) == 12 + 3 and f'Wrote {len(rows)} faces' in text
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


def test_of_a_photo_one_face_is_clean_with_the_labels_of_most():
    faces = {'a1': (20, 0), 'b1': (20, 0), 'a2': (31, 1), 'b2': (20, 1), 'a3': (24, 1)}
    faces |= {'c1': (7, 0), 'd1': (8, 1), 'd2': (9, 1)}
    groups = [np.array([0, 2, 4]), np.array([1, 3]), np.array([6, 7])]
    clean = copies.choose_clean({**faces, 'e1': (1, 1)}, faces, groups)
    assert clean == {'a1': (24, 1), 'c1': (7, 0), 'd1': (8, 1)}


def test_copies_get_one_line_in_the_table(doctor, healthy):
    """A mirrored and a framed copy, both older, one with another gender."""
    face = draw_faces.draw_face(40, 0, seed=50).resize([130, 130])
    face.save(healthy / '40_0_a.png')
    face.transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(healthy / '46_0_b.jpg', quality=60)
    face.paste(0, (0, 120, 130, 130))
    face.save(healthy / '62_1_c.png')
    text, _ = doctor('--batch_size', 6, '--csv', 'True')
    assert names_under(text, 'with different labels') == ['40_0_a.png ~ 46_0_b.jpg ~ 62_1_c.png']
    # 6, 22 and 16 years apart; groups 31-40, 41-50 and 61-70; one gender differs from two.
    assert '| other copies | 3 | 100% | 14.7 | 67% | 100% | 67% |' in text
    assert '| identical files | 0 |' in text
    table = (healthy / 'labels.csv').read_text().splitlines()
    assert '40_0_a.png,46,male' in table and len(table) == 1 + 12 + 1


def test_many_copies_are_cut_short_unless_all_are_asked_for(doctor, healthy):
    first = sorted(healthy.iterdir())[0]
    for i in range(40):
        os.link(first, healthy / f'{first.stem[:4]}_copy{i}.jpg')
    text, _ = doctor('--batch_size', 6)
    (line,) = names_under(text, 'with the same labels')
    assert line.count('=') == 4 and line.endswith('... and 36 more')
    text, _ = doctor('--batch_size', 6, '--full', 'True')
    (line,) = names_under(text, 'with the same labels')
    assert line.count('=') == 40 and '_copy39.jpg' in line


def test_more_than_half_unreadable(doctor, healthy):
    paths = sorted(healthy.iterdir())
    for path in paths[:6]:
        path.write_bytes(path.read_bytes()[:700])
    assert doctor('--batch_size', 2)[1] is None
    os.truncate(paths[6], 0)
    _, sentence = doctor('--batch_size', 2)
    assert sentence.startswith('Training could not start, 7 of 12 images are unreadable: ')


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


def test_many_names_are_cut_short():
    text = check.describe({'greyscale': [f'{i}.jpg' for i in range(1025)]})
    lines = text.splitlines()
    assert lines[0] == '1,025 greyscale' and lines[-1].strip() == '... and 1,005 more'
    assert len(lines) == 22
    assert len(check.describe({'greyscale': [*'abc'] * 20}, None).splitlines()) == 61


def test_no_folder(doctor):
    assert doctor()[1].startswith('There is no folder')


@pytest.mark.parametrize('words', [['--csv', 'maybe'], ['--batch_size', '0'], ['--labels', 'x']])
def test_mistaken_arguments(words):
    with pytest.raises(SystemExit) as error:
        check.main(['set', *words])
    assert words[0] in error.value.code and '\n' not in error.value.code.strip()


# ---------------------------------------------------------------------------- alignment


@pytest.fixture
def detections(monkeypatch):
    """A function that puts answers, arrays of landmarks, in the place of the detector's."""

    def answer(*answers):
        remaining = list(answers)
        monkeypatch.setattr(detector, 'find_faces', lambda pixels: remaining.pop(0))

    return answer


def detected(dx=0, dy=0):
    """Return a face's landmarks in 130 x 130, UTKFace's moved by parts of the width."""
    return (detector.PLACES + np.array([dx, dy])) * 130


NOTHING = np.empty([0, 5, 2])


def test_alignment(doctor, healthy, detections):
    smaller = detected(0.5)  # in the background
    faces = [[detected(0.01), smaller]] * 9 + [[detected(0, 0.1)], [detected(0.06)]]
    detections(*map(np.array, faces), NOTHING)
    text, sentence = doctor('--batch_size', 6, '--faces', 'True')
    assert sentence is None
    assert 'In 11 of 12 faces, drawn by chance, a detector found a face.' in text
    assert '| left eye | 0.31, 0.29 | 0.30, 0.29 | 82% |' in text
    assert '82% lie as in UTKFace' in text and 'align them' not in text


def test_faces_that_lie_elsewhere(doctor, healthy, detections):
    detections(*[np.array([detected(0, 0.1)])] * 12)
    text, _ = doctor('--batch_size', 6, '--faces', 'True')
    assert '0% lie as in UTKFace' in text and 'Most do not: align them' in text


def test_no_face_at_all(doctor, healthy, detections):
    detections(*[NOTHING] * 12)
    text, _ = doctor('--batch_size', 6, '--faces', 'True')
    assert 'In 0 of 12 faces' in text and 'cut them out' in text


def test_a_sample_of_many(healthy, detections, monkeypatch):
    monkeypatch.setattr(check, 'SAMPLED', 5)
    detections(*[np.array([detected()])] * 5)
    assert 'In 5 of 5 faces' in check.check_alignment([str(path) for path in healthy.iterdir()])


def test_no_detector(doctor, healthy, monkeypatch):
    monkeypatch.setitem(sys.modules, 'mtcnn', None)
    detector._detector.cache_clear()
    _, sentence = doctor('--faces', 'True')
    assert sentence.startswith('To find faces a detector is needed: install it (pip install')
