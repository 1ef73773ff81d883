"""The data sets' layouts: small trees of made-up pictures with names in the real patterns."""

import os
import shlex
import unicodedata

import numpy as np
import pytest
import scipy.io
from hypothesis import given, settings
from hypothesis import strategies as st

from data import check, console, files, labels, readers, tables
from tests import draw_faces

MORPH_HEADER = 'id_num,picture_num,dob,doa,race,gender,facial_hair,age,age_diff,glasses,photo'
MALFORMED = {
    '39_1_20170116174525125.jpg.chip.jpg': (39, 1),
    '61_1_20170109142408075.jpg.chip.jpg': (61, 1),
    '61_1_20170109150557335.jpg.chip.jpg': (61, 1),
    '24_0_1_20170116220224657 .jpg.chip.jpg': (24, 0),
    '55_0_0_20170116232725357jpg.chip.jpg': (55, 0),
}
CACD_PEOPLE = ('Robin Williams', 'Zoë Kravitz', 'Chloë Grace Moretz')
CACD_NAMES = ('53_Robin_Williams_0001.jpg', '24_Zoë_Kravitz_0002.jpg', '16_Chloe_Moretz_0001.jpg')


@pytest.fixture
def put(tmp_path):
    """A function that puts the same made-up picture under many names into tmp_path/set."""
    picture = tmp_path / 'picture.jpg'
    draw_faces.draw_face(25, 0, seed=0).save(picture)

    def put_names(*names, **tables):
        for name in names:
            path = tmp_path / 'set' / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(picture.read_bytes())
        for name, text in tables.items():
            data = text if isinstance(text, bytes) else text.encode()
            (tmp_path / 'set' / f'{name}.csv').write_bytes(data)
        return str(tmp_path / 'set')

    return put_names


def read(folder, name=None):
    """Return the reader's name, {base name: label}, and the Reading."""
    name, reading = readers.read(folder, name)
    faces = {os.path.basename(path): label for path, label in reading.faces.items()}
    assert all(os.path.isfile(path) for path in reading.faces)
    return name, faces, reading


# ------------------------------------------------------------------------------ UTKFace


def test_utkface(put):
    labelled = [(age, age % 2) for age in range(20, 30)]
    real = {f'{a}_{g}_3_201701171954592{a}.jpg.chip.jpg': (a, g) for a, g in labelled}
    name, faces, reading = read(put(*real, *MALFORMED, '61_3_20170109150557335.jpg'))
    assert name == 'utkface' and faces == real | MALFORMED
    assert [os.path.basename(path) for path in reading.skipped] == ['61_3_20170109150557335.jpg']


# -------------------------------------------------------------------------------- FGNET


def test_fgnet(put):
    folder = put(
        'images/001A02.JPG',
        'images/001A43a.JPG',
        'images/082a16.jpg',
        'images/003A05.JPG',
        'images/004X05.JPG',
        genders='person,gender\n1,M\n082,female\n',
    )
    name, faces, reading = read(folder)
    assert name == 'fgnet'
    assert faces == {'001A02.JPG': (2, 0), '001A43a.JPG': (43, 0), '082a16.jpg': (16, 1)}
    skipped = {os.path.basename(path): reason for path, reason in reading.skipped.items()}
    assert skipped['003A05.JPG'] == 'a person who is not in genders.csv'
    assert '001A02.JPG' in skipped['004X05.JPG']


@pytest.mark.parametrize('names', [('001A02.JPG', '002A09.JPG'), CACD_NAMES])
@pytest.mark.parametrize('table', [{}, {'genders': 'person,name,gender\n'}])
def test_genders_that_are_missing(put, names, table):
    folder = put(*names, **table)
    _, faces, _ = read(folder)
    assert len(faces) == len(names) and all(gender is None for _, gender in faces.values())
    column = 'person,gender .* as 001,male' if 'A02' in names[0] else 'name,gender .*Williams,male'
    with pytest.raises(
        console.InputError, match=rf'supply .*genders\.csv with the columns {column}'
    ):
        labels.list_faces(folder)


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        ('person,gender\n001,x\n', r"genders\.csv, line 2: the gender 'x' is not 0, 1, m, f"),
        ('person,gender\n001,m\n1,f\n', r"genders\.csv, line 3: '1' has both genders"),
        ('who,sex\n001,m\n', r'genders\.csv has no column person, gender: its first line must'),
    ],
)
def test_mistaken_genders(put, text, message):
    with pytest.raises(console.InputError, match=message):
        read(put('001A02.JPG', genders=text))


# -------------------------------------------------------------------------------- MORPH


def test_morph_by_its_names(put):
    name, faces, _ = read(put('Album2/009055_1M54.JPG', 'Album2/012345_00F20.jpg', 'x.jpg'))
    assert name == 'morph'
    assert faces == {'009055_1M54.JPG': (54, 0), '012345_00F20.jpg': (20, 1)}


def test_the_csv_of_morph_wins(put):
    rows = [
        '9055,1,12/21/1950,1/2/2005,W,M,,53,0,,Album2/009055_1M54.JPG',
        '12345,0,1/1/1984,1/2/2005,B,F,,20,0,,Album2\\012345_00f20.jpg',
        '12346,0,,,B,,,,,,Album2/012346_00F30.JPG',
    ]
    table = '\n'.join([MORPH_HEADER, *rows])
    names = '009055_1M54.JPG', '012345_00F20.JPG', '012346_00F30.JPG', '012347_1F40.JPG'
    folder = put(*(f'Album2/{name}' for name in names), morph_2008_nonCommercial=table)
    name, faces, _ = read(folder)
    assert name == 'morph'
    assert list(faces.values()) == [(53, 0), (20, 1), (30, 1), (40, 1)]


# --------------------------------------------------------------------------------- CACD


def write_mat(path, names, ages):
    """Write CACD's table as MATLAB 5 does."""
    cells = [np.array(texts, object)[:, None] for texts in (names, CACD_PEOPLE)]
    numbers = np.arange(1, 4)[:, None]
    pictures = {'age': np.array(ages)[:, None], 'identity': numbers, 'name': cells[0]}
    people = {'identity': numbers, 'name': cells[1]}
    scipy.io.savemat(path, {'celebrityImageData': pictures, 'celebrityData': people})


GENDERS = 'Name;Gender\r\nROBIN_WILLIAMS;0\r\nZoe Kravitz;Female\r\nchloë grace moretz;f\r\n'


def test_cacd_by_its_names(put):
    name, faces, reading = read(put('CACD2000/36_50_Cent_0003.jpg', *CACD_NAMES, genders=GENDERS))
    assert name == 'cacd'
    assert faces == {CACD_NAMES[0]: (53, 0), CACD_NAMES[1]: (24, 1)}
    assert set(reading.skipped.values()) == {'a person who is not in genders.csv'}
    assert len(reading.skipped) == 2


def test_cacd_by_its_table(put, tmp_path):
    names = [unicodedata.normalize('NFD', name) for name in CACD_NAMES]  # as a Mac has them
    folder = put(*names, genders=GENDERS)
    write_mat(tmp_path / 'set' / tables.CACD_MAT, CACD_NAMES, [52, 24, 16])
    name, faces, _ = read(folder)
    assert name == 'cacd'
    assert faces == dict(zip(sorted(names), [(16, 1), (24, 1), (52, 0)], strict=True))


@pytest.mark.parametrize('what', ['noise', 'cut', 'other', 'version 7.3'])
def test_a_damaged_table_of_cacd(put, tmp_path, what):
    folder, path = put(*CACD_NAMES, genders=GENDERS), tmp_path / 'set' / tables.CACD_MAT
    if what == 'noise':
        path.write_bytes(b'no table' * 100)
    elif what == 'other':
        scipy.io.savemat(path, {'celebrityImageData': {'age': [1]}})
    elif what == 'version 7.3':
        path.write_bytes(b'MATLAB 7.3 MAT-file'.ljust(124) + b'\x00\x02IM' + b'\x89HDF' * 100)
    else:
        write_mat(path, CACD_NAMES, [52, 24, 16])
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(
        console.InputError, match=r"meta\.mat cannot be read as CACD's table"
    ) as error:
        read(folder)
    assert '\n' not in str(error.value)


# --------------------------------------------------------------------------- labels.csv


def test_labels_csv_wins(put):
    words = ['0', '1', 'm', 'F', 'Male', 'FEMALE']
    rows = [f'sub/{i}.png,{20 + i},{word}' for i, word in enumerate(words)]
    names = [f'sub/{i}.png' for i in range(6)]
    folder = put(*names, '9_1_7.jpg', labels='\n'.join(['file,age,gender', *rows]))
    name, faces, reading = read(folder)
    assert name == 'csv'
    assert faces == {f'{i}.png': (20 + i, i % 2) for i in range(6)}
    assert list(reading.skipped.values()) == ['not in labels.csv']
    assert read(folder, 'utkface')[1] == {'9_1_7.jpg': (9, 1)}


@pytest.mark.parametrize('delimiter', [',', ';', '\t'])
@pytest.mark.parametrize('encoding', ['utf-8', 'utf-8-sig', 'utf-16', 'cp1252'])
def test_tables_as_spreadsheets_write_them(put, delimiter, encoding):
    rows = [['GENDER', ' File ', 'note', 'Age'], ['f', '.\\Sub\\ZOË.jpg', 'a "b"', '31.0'], []]
    table = '\r\n'.join(delimiter.join(row) for row in rows).encode(encoding)
    _, faces, _ = read(put('sub/Zoë.JPG', labels=table))
    assert faces == {'Zoë.JPG': (31, 1)}


@pytest.mark.parametrize(
    ('encoding', 'name'),
    [
        ('gb18030', '张伟'),
        ('big5', '陳美'),
        ('cp932', '田中'),
        ('cp949', '김철수'),
        ('cp1250', 'Żółć'),
        ('cp1251', 'Иван'),
        ('mac-roman', 'Zoë'),
    ],
)
def test_tables_in_the_encoding_by_which_their_names_match(put, encoding, name):
    table = f'file,age,gender\na.jpg,20,m\n{name}.jpg,31,f\n'.encode(encoding)
    assert read(put('a.jpg', f'{name}.jpg', labels=table))[1][f'{name}.jpg'] == (31, 1)


def test_genders_in_the_encoding_by_which_people_match(put):
    folder = put('25_张伟_0001.jpg', genders='name,gender\n张伟,m\n'.encode('gbk'))
    assert read(folder)[1] == {'25_张伟_0001.jpg': (25, 0)}


@pytest.mark.parametrize('table', ['labels', 'genders'])
def test_tables_that_name_nothing_in_any_encoding(put, table):
    text = 'file,name,age,gender\n王芳,王芳,25,m\n'.encode('gbk')
    with pytest.raises(console.InputError, match=rf'{table}\.csv is not in .* as CSV UTF-8\.'):
        read(put('25_张伟_0001.jpg', **{table: text}))


@pytest.mark.parametrize('separator', [',', '\t', ' '])
def test_tables_of_r(put, separator):
    rows = ['file age gender', '1 "my a.jpg" 20 m', '2 b.jpg 21 ""']
    table = '\n'.join(separator.join(shlex.split(row)) for row in rows)
    table = table.replace('my a.jpg', '"my a.jpg"')
    _, faces, reading = read(put('my a.jpg', 'b.jpg', labels=table))
    assert faces == {'my a.jpg': (20, 0)} and 'a gender' in next(iter(reading.skipped.values()))
    again = table.replace('file', separator.join(['row', 'file']))
    assert read(put(labels=again))[1] == faces


def test_names_that_mostly_mean_something_else(put):
    folder = put('1_0.jpg', '1_1.jpg', '1_2.jpg', '1_3.jpg', '1_4.jpg')
    with pytest.warns(UserWarning, match=r'^2 names of 5 in .*set have .* mean something else\.$'):
        _, faces, _ = read(folder)
    assert len(faces) == 2


AWKWARD = st.text(st.sampled_from(' "\',;\t\r\n[]=+-@\\.aAé\u0301\u2028/'), max_size=6)


@settings(derandomize=True, deadline=None, database=None)
@given(names=st.sets(AWKWARD.filter(lambda name: os.path.normpath(f'x/{name}x') == f'x/{name}x')))
def test_tables_that_are_written_are_read_back(tmp_path_factory, names):
    folder = str(tmp_path_factory.mktemp('set'))
    faces = {os.path.join(folder, f'{name}x.jpg'): (i, i % 2) for i, name in enumerate(names)}
    check.write_labels(folder, faces)
    assert readers.read_labels_csv(folder, [*faces]).faces == faces


def test_lines_that_cannot_be_used(put):
    table = 'file,age,gender\na.jpg,x,0\nb.jpg,200,0\nc.jpg,5\nd.jpg,5,1\nd.jpg,6,1\ne.jpg,5,1\n'
    folder = put('a.jpg', 'b.jpg', 'c.jpg', 'd.jpg', 'e.jpg', labels=table + '../x.jpg,1,1\n')
    with pytest.warns(UserWarning, match=r"name no image, the first '\.\./x\.jpg' in line 8\."):
        _, faces, reading = read(folder)
    assert faces == {'e.jpg': (5, 1)}
    reasons = list(reading.skipped.values())
    assert reasons[0] == reasons[1] == 'an age in labels.csv that is no number from 0 to 120'
    assert reasons[2] == 'a gender in labels.csv that is not 0, 1, m, f, male or female'
    assert reasons[3] == 'in labels.csv with different labels'


def test_numbers_as_other_programs_write_them(put):
    table = 'file;age;gender\na.jpg;25.0;1.0\nb.jpg;30;0.0\nc.jpg;25,5;1\n'
    _, faces, _ = read(put('a.jpg', 'b.jpg', 'c.jpg', labels=table))
    assert faces == {'a.jpg': (25, 1), 'b.jpg': (30, 0), 'c.jpg': (25, 1)}


@pytest.mark.parametrize(
    ('reader', 'names'),
    [
        ('utkface', ['121_1_x.jpg', '120_1_x.jpg']),
        ('fgnet', ['001A999.JPG', '001A02.JPG']),
        ('morph', ['1_1M999.JPG', '1_1M54.JPG']),
        ('cacd', ['999_A_B_0001.jpg', '53_A_B_0001.jpg']),
    ],
)
def test_ages_that_nobody_has(put, reader, names):
    _, reading = readers.read(put(*names), reader)
    assert [os.path.basename(path) for path in reading.faces] == names[1:]
    assert [os.path.basename(path) for path in reading.skipped] == names[:1]


@pytest.mark.parametrize(
    ('table', 'message'),
    [
        (
            'name,age\na.jpg,5\n',
            r'labels\.csv has no column file, gender: its first line must name',
        ),
        ('', r'labels\.csv has no column file, age, gender'),
        ('sep=;\nfile;age;gender\n', r"labels\.csv has no column .*, but is 'sep=;'"),
        ('file,age,gender\n', r'No image in .* has a label \(not in labels\.csv\): name them'),
        ('file,age,gender\na.jpg,"' + 'x' * 200_000, r'labels\.csv cannot be read, line 2'),
    ],
)
def test_tables_that_cannot_be_used(put, table, message):
    with pytest.raises(console.InputError, match=message):
        labels.list_faces(put('a.jpg', labels=table))


# ------------------------------------------------------------------------------ folders


@pytest.mark.parametrize(
    'suffix', ['jpg', 'jpeg', 'jfif', 'png', 'webp', 'bmp', 'tif', 'TIFF', 'Png']
)
def test_any_suffix(put, suffix):
    assert read(put(f'9_1_x.{suffix}'))[1] == {f'9_1_x.{suffix}': (9, 1)}


def test_folders_within_folders(put, tmp_path):
    folder = put('b/c/9_1_x.jpg', 'a/8_1_x.jpg', 'z_no.jpg', '.hidden/7_1_x.jpg')
    (tmp_path / 'set' / 'b' / 'round').symlink_to(tmp_path / 'set', target_is_directory=True)
    with pytest.warns(UserWarning, match='1 of 3 images .* skipped'):
        paths, _, _ = labels.list_faces(folder)
    assert [os.path.relpath(path, folder) for path in paths[:2]] == ['a/8_1_x.jpg', 'b/c/9_1_x.jpg']
    assert files.list_images(folder) == [os.path.join(folder, 'z_no.jpg')]


def test_a_name_that_is_not_utf8(put):
    folder = put('9_1_x.jpg')
    with open(os.path.join(os.fsencode(folder), b'8_1_\xe9.jpg'), 'wb'):
        pass
    _, faces, reading = read(folder)
    assert list(faces) == ['9_1_x.jpg']
    assert list(reading.skipped.values()) == ['a name that is not in UTF-8']


# --------------------------------------------------------------------------- age groups


def test_age_groups_of_ones_own(put):
    upper = labels.parse_age_upper('12, 30')
    assert upper == (12, 30) and labels.age_names(upper) == ('0-12', '13-30', 'over 30')
    folder = put('12_0_a.jpg', '13_0_a.jpg', '30_0_a.jpg', '31_0_a.jpg')
    assert list(labels.list_faces(folder, age_upper=upper)[1]) == [0, 1, 1, 2]


def test_networks_follow_the_age_groups(tiny):
    for upper in ((30,), (9, 20, 60)):
        model = tiny(age_upper=upper)
        groups = len(upper) + 1
        assert model.num_categories == groups
        assert model.G.input_shape[1] == model.D_img.input_shape[1] == (None, groups)
        faces = model.generate_ages(np.zeros([2, 50], np.float32), labels.one_hot([0, 1], 2))
        assert len(faces) == groups
    with pytest.raises(
        console.InputError, match=r'num_categories is 10, but age_upper \(30,\) makes 2'
    ):
        tiny(age_upper=(30,), num_categories=10)


@pytest.mark.parametrize('upper', [(9, 20, 60), tuple(range(6, 60, 6))])
def test_a_checkpoint_of_other_age_groups(tiny, upper, tmp_path):
    tiny(age_upper=upper).save_checkpoint()
    assert tiny(age_upper=upper).load_checkpoint()
    text = ','.join(map(str, upper))
    own = '5,10,15,20,30,40,50,60,70'
    with pytest.raises(console.InputError, match=f'is of age groups up to {text}, but .* of {own}'):
        tiny().load_checkpoint()


def test_init_model_of_other_age_groups(tiny, tmp_path, monkeypatch):
    manifest = {'format': 1, 'epochs': 2, 'files': {}}
    (tmp_path / 'packed').mkdir()
    (tmp_path / 'packed' / 'manifest.json').touch()
    monkeypatch.setattr('init_model.read_manifest', lambda *_: manifest)
    monkeypatch.setattr('init_model.load', lambda _: {})
    with pytest.raises(
        console.InputError, match=r'epoch 2 is of age groups up to 5,10.* of 30: use'
    ):
        tiny(age_upper=(30,)).load_checkpoint(str(tmp_path / 'packed'))


@pytest.mark.parametrize(
    ('name', 'race'),
    [
        ('a/100_0_0_20170112213500903.jpg.chip.jpg', 0),
        ('5_1_4_20170112213500903.jpg', 4),
        ('39_1_20170116174525125.jpg.chip.jpg', -1),
        ('5_1_5_20170112213500903.jpg', -1),
        ('13_1_drawn012.jpg', -1),
    ],
)
def test_race(name, race):
    assert readers.parse_race(name) == race
