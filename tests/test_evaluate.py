"""Measuring a model: reconstruction, ageing, identity, gender, fairness; the program."""

import csv
import functools
import json
import math
import os

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from scipy import ndimage

import face_aging
import ops
from data import labels, pictures, pipeline, readers
from demo.evaluate import __main__ as evaluate
from demo.evaluate import judge, measures, report, subjects
from tests import draw_faces
from tests.conftest import TINY

pytestmark = [
    pytest.mark.usefixtures('no_init_model', 'eagerly'),
    pytest.mark.filterwarnings('ignore:Even though the `tf.config'),
]
JSON_KEYS = {
    'reconstruction': {'faces', 'L1', 'PSNR', 'SSIM', 'L1_balanced'},
    'ageing': {
        'faces',
        'judged_age',
        'swing',
        'adult_swing',
        'rising',
        'rank_correlation',
        'real_faces',
    },
    'detail': {
        'sharpness',
        'band_energy',
        'contrast',
        'border_change',
        'border_changed',
        'by_target',
    },
    'recognition': {
        'people',
        'found_first',
        'recognised',
        'by_target',
        'limits',
        'false_accepts',
    },
    'gender': {
        'real_faces',
        'own_gender',
        'other_gender',
        'male_to_female',
        'female_to_male',
    },
    'identity': {
        'distance',
        'same_person',
        'limit',
        'by_target',
        'reconstructions',
        'different_people',
    },
}


# -------------------------------------------------------------------------- reconstruction


def test_a_perfect_reconstruction():
    faces = np.random.RandomState(0).randint(0, 256, [5, 32, 32, 3]).astype(np.uint8)
    ages, genders = labels.one_hot([0, 0, 1, 1, 9], 10), labels.one_hot([0, 1, 0, 0, 0], 2)
    measured = evaluate.measure(lambda image, age, gender: image, faces, ages, genders, 2)
    np.testing.assert_allclose(measured[:, [0, 2]], [[0, 1]] * 5, atol=1e-6)
    assert np.isinf(measured[:, 1]).all()


def test_known_differences():
    """L1 in units of [-1, 1]; PSNR of a difference of a tenth of the range, 20 dB."""
    faces = np.full([2, 32, 32, 3], 100, np.uint8)

    def reconstruct(image, age, gender):
        return image + (0.2 if age[0, 3] == 1 and gender[0, 1] == 1 else 0.02)

    ages, genders = labels.one_hot([3, 3], 10), labels.one_hot([1, 0], 2)
    measured = evaluate.measure(reconstruct, faces, ages, genders, 1)
    np.testing.assert_allclose(measured[:, 0], [0.2, 0.02], atol=1e-6)
    np.testing.assert_allclose(measured[:, 1], [20, 40], atol=1e-3)


def test_psnr_and_ssim_are_those_of_scikit_image():
    """Of a portrait: a brighter one, a noisy one, a blurred one, a darker half."""
    metrics = pytest.importorskip('skimage.metrics')
    face = pictures.read_face(os.path.join('demo/faces', sorted(os.listdir('demo/faces'))[4]))
    real = face.astype(np.float32) * 2 / 255 - 1
    noise = np.random.RandomState(0).normal(0, 0.1, real.shape)
    blurred = ndimage.gaussian_filter(real, [2, 2, 0])
    made = np.stack([real + 10 / 255, real + noise, blurred, real / 2 - 0.5])
    made = np.clip(made, -1, 1).astype(np.float32)
    labels_of_all = labels.one_hot([0] * 4, 10), labels.one_hot([0] * 4, 2)
    measured = evaluate.measure(lambda *_: made, np.stack([face] * 4), *labels_of_all, 4)
    same_window = {'gaussian_weights': True, 'sigma': 1.5, 'use_sample_covariance': False}
    for row, picture in zip(measured, (made + 1) / 2, strict=True):
        pair = (real + 1) / 2, picture
        psnr = metrics.peak_signal_noise_ratio(*pair, data_range=1)
        ssim = metrics.structural_similarity(*pair, data_range=1, channel_axis=-1, **same_window)
        np.testing.assert_allclose(row[1:], [psnr, ssim], atol=1e-3)


def test_the_table_of_reconstructions():
    measured = np.array(
        [[0.1, 20, 0.5], [0.3, 30, 0.7], [0.2, 10, 0.6], [0.2, 10, 0.6]], np.float32
    )
    ages, genders = np.array([0, 0, 1, 9]), np.array([0, 1, 0, 0])
    rows = report.reconstruction(measured, ages, genders, np.array([0, -1, 4, 4])).splitlines()
    assert '| all | 4 | 0.2000 ± 0.1299 | 17.50 | 0.6000 |' in rows
    assert '| 0-5 | 2 | 0.2000 ± 1.2706 | 25.00 | 0.6000 |' in rows
    assert '| over 70 | 1 | 0.2000 | 10.00 | 0.6000 |' in rows
    assert '| female | 1 | 0.3000 | 30.00 | 0.7000 |' in rows
    assert '| 0-5, male | 1 | 0.1000 | 20.00 | 0.5000 |' in rows
    assert '| Others | 2 | 0.2000 ± 0.0000 | 10.00 | 0.6000 |' in rows
    assert rows[-1] == '1 of 4 faces have no race in their names.'
    assert not any(row.startswith(('| 11-15 ', '| Black ')) for row in rows)  # nobody is in them


# ------------------------------------------------------------------------------- measures


def test_faces_are_generated_at_all_ages_and_with_both_genders():
    """Each output tells in its pixels which face, age and gender were asked for."""
    faces = np.arange(3, dtype=np.uint8)[:, None, None, None].repeat(3, 3) * np.uint8(10)

    def method(images):
        base = (np.asarray(images) + 1) * 127.5

        def show(ages, genders):
            age, gender = ages.argmax(1), genders.argmax(1)
            return (base + (age + 5 * gender)[:, None, None, None]) / 127.5 - 1

        return show

    ages, genders = labels.one_hot([0, 1, 2], 4), labels.one_hot([1, 0, 1], 2)
    aged, own, other = measures.generate(method, faces, ages, genders, size_batch=2)
    assert aged.shape == (3, 4, 1, 1, 3) and aged.dtype == np.uint8
    np.testing.assert_array_equal(
        aged[:, :, 0, 0, 0], [[5, 6, 7, 8], [10, 11, 12, 13], [25, 26, 27, 28]]
    )
    np.testing.assert_array_equal(own[:, 0, 0, 0], [5, 11, 27])
    np.testing.assert_array_equal(other[:, 0, 0, 0], [0, 16, 22])


def test_ageing_of_known_ages():
    judged = np.array([[5, 20, 50], [15, 30, 31]])
    row = measures.ageing(judged, adult=1)
    assert row['judged_age'] == [10, 25, 40.5]
    assert (row['swing'], row['adult_swing']) == (30.5, 15.5)
    assert row['rising'] == 0.5  # by 30 years, and by one
    assert row['faces'] == 2 and 0.8 < row['rank_correlation'] < 1


def test_rank_correlation_is_one_where_all_rise_alike():
    assert measures.ageing(np.array([[5, 20, 50]] * 2), 1)['rank_correlation'] == pytest.approx(1)
    assert measures.ageing(np.array([[50, 20, 5]] * 2), 1)['rank_correlation'] == pytest.approx(-1)


def test_ageing_of_real_faces():
    row = measures.real_ageing(np.array([1, 3, 20, 60]), np.array([0, 0, 1, 3]), 4, 1)
    np.testing.assert_equal(row['judged_age'], [2, 20, np.nan, 60])  # nobody is in one group
    assert (row['swing'], row['adult_swing'], row['faces']) == (58, 40, 4)
    assert row['rank_correlation'] > 0.9


def test_identity_of_known_distances():
    inputs = np.array([[0.0, 0], [0, 1], [9, 0]])
    aged = inputs[:, None] + np.array([[[0.5, 0], [0, 0.7]]])
    row, distances = measures.identity(inputs, aged, inputs + 0.3, np.array([4, 4, 5]))
    np.testing.assert_allclose(distances, [[0.5, 0.7]] * 3)
    assert row['distance'] == pytest.approx(0.6) and row['same_person'] == 0.5
    assert row['by_target']['same_person'] == [1, 0]
    assert row['by_target']['distance'] == pytest.approx([0.5, 0.7])
    assert row['reconstructions']['distance'] == pytest.approx(0.3 * math.sqrt(2))
    # Only the first two are alike.
    assert row['different_people'] == {'distance': 1, 'same_person': 0}


def test_genders_that_the_judge_takes_people_for():
    own = np.array([0.1, 0.2, 0.9, 0.4])
    other = np.array([0.8, 0.3, 0.2, 0.1])
    row = measures.gender(own, own, other, np.array([0, 0, 1, 1]))
    assert row['real_faces'] == row['own_gender'] == 0.75
    assert row['other_gender'] == 0.75
    assert (row['male_to_female'], row['female_to_male']) == (0.5, 1)


def test_groups_are_compared_and_the_small_ones_named():
    swings = np.array([10.0, 20] * 20)
    groups = {'many': np.arange(40) < 30, 'one': np.arange(40) == 0, 'nobody': np.zeros(40, bool)}
    rows = measures.fairness(swings, swings[:, None] * [[0.005, 0.015]], groups)
    assert set(rows) == {'many', 'one'}
    assert not rows['many']['too_small'] and rows['one']['too_small']
    assert rows['many']['adult_swing']['mean'] == 15
    assert rows['many']['adult_swing']['error'] == pytest.approx(
        2.0452 * swings[:30].std(ddof=1) / math.sqrt(30), rel=1e-4
    )  # Student's t for 30 people
    assert rows['one']['distance'] == {'mean': 0.1, 'error': None}
    lines = report.fairness(rows).splitlines()
    assert lines[2] == '| many | 30 | 15.0 ± 1.9 | 0.150 ± 0.019 |'
    assert lines[3] == '| one (too small a group) | 1 | 10.0 | 0.100 |'


def test_people_are_chosen_by_their_names():
    """As many of each cell as there are, the same ones in any order and beside any others."""
    paths = [f'{i:02d}.jpg' for i in range(50)]
    cells = np.array([i % 2 for i in range(48)] + [7, 7])
    chosen = {paths[i] for i in subjects.choose(paths, cells, 5)}
    assert len(chosen) == 12 and {'48.jpg', '49.jpg'} < chosen
    assert sum(int(name[:-4]) % 2 for name in chosen) == 6
    turned = subjects.choose([f'a/{path}' for path in paths[::-1]], cells[::-1], 5)
    assert {paths[::-1][i] for i in turned} == chosen
    assert chosen != {f'{i:02d}.jpg' for i in (*range(10), 48, 49)}  # not the youngest


def test_faces_of_small_groups_are_filled_up():
    """To three of each cell, besides those that are taken."""
    paths, cells = [f'{i:02d}.jpg' for i in range(20)], np.array([0] * 10 + [1] * 8 + [2] * 2)
    chosen = subjects.choose(paths, cells, 3, taken=[0, 1, 2, 3, 10])
    assert cells[chosen].tolist() == [1, 1, 2, 2] and not {0, 1, 2, 3, 10} & {*chosen}


def test_real_faces_are_the_held_out_ones_and_others(program, tmp_path):
    model = face_aging.FaceAging(is_training=False, save_dir=str(tmp_path / 'save'))
    held_out, real = subjects.read(model, str(tmp_path / 'faces'), fewest=2)
    count = len(held_out[0])
    assert all(map(labels.held_out, held_out[0])) and real[0][:count] == held_out[0]
    assert not any(map(labels.held_out, real[0][count:]))
    paths, faces, ages, genders, races = real
    assert len(paths) == len(faces) == len(races) and len({*paths}) == len(paths)
    assert np.bincount(ages * 2 + genders, minlength=20).min() >= 2
    for column, all_of_it in zip(held_out[1:], real[1:], strict=True):
        np.testing.assert_array_equal(column, all_of_it[:count])


def test_descriptors_tell_the_same_from_another():
    pytest.importorskip('dlib')
    describe = measures.Descriptor()
    names = sorted(os.listdir('demo/faces'))[4:7]
    faces = np.stack([pictures.read_face(os.path.join('demo/faces', name)) for name in names])
    found = describe(faces)
    assert found.shape == (3, 128)
    mirrored = describe(faces[:1, :, ::-1])
    same = np.linalg.norm(found[0] - mirrored[0])
    assert same < 0.5 * min(np.linalg.norm(found[0] - other) for other in found[1:])


# -------------------------------------------------------------------------------- program


class _Judge:
    """Takes a face for as old, and as female, as it is bright."""

    def __call__(self, faces, size_batch=100):
        light = np.asarray(faces, np.float64).mean(axis=(1, 2, 3)) / 255
        return 100 * light, light


@pytest.fixture
def program(tmp_path, monkeypatch, vivid):
    """demo.evaluate with a tiny model, on drawn faces; a function of the command line's words."""
    draw_faces.draw_data_set(tmp_path / 'faces', 60)
    vivid()
    monkeypatch.setattr(face_aging, 'FaceAging', functools.partial(face_aging.FaceAging, **TINY))
    monkeypatch.setattr(judge, 'load', lambda folder: _Judge())

    def run(*words):
        where = ['--datadir', str(tmp_path), '--dataset', 'faces']
        evaluate.main([*where, '--savedir', str(tmp_path / 'save'), *map(str, words)])

    return run


def test_only_held_out_faces_are_measured(tmp_path, program, capsys):
    """The program from end to end, on drawn faces, with what they really give."""
    names = [name for name in os.listdir(tmp_path / 'faces') if labels.held_out(name)]
    program('--batch', 2, '--csv', tmp_path / 'faces.csv')
    with open(tmp_path / 'faces.csv', newline='') as file:
        rows = list(csv.DictReader(file))
    assert [row['name'] for row in rows] == sorted(names) and len(names) > 2
    model = face_aging.FaceAging(is_training=False, save_dir=str(tmp_path / 'save'))
    assert model.load_checkpoint()
    for row in rows:
        image = ops.load_image(tmp_path / 'faces' / row['name'], 32)[None]
        age, gender = readers.parse_name(row['name'])
        assert row['age'] == labels.age_names()[labels.age_group(age)]
        assert row['gender'] == labels.GENDER_NAMES[gender]
        age, gender = labels.one_hot([labels.age_group(age)], 10), labels.one_hot([gender], 2)
        face = model.G([model.E(image), tf.constant(age), tf.constant(gender)])
        assert float(row['L1']) == pytest.approx(np.abs(image - face).mean(), rel=1e-4)
    mean = np.mean([float(row['L1']) for row in rows])
    assert f'| all | {len(names)} | {mean:.4f} ± ' in capsys.readouterr().out


def test_held_out_faces_with_a_copy_to_train_on_are_left_out(tmp_path, program, capsys):
    """One has a mirrored copy to train on; of another, which has a held-out copy, one is left."""
    names = sorted(name for name in os.listdir(tmp_path / 'faces') if labels.held_out(name))
    for name, is_held in ((names[0], False), (names[1], True)):
        copies = (f'33_1_copy{i}.png' for i in range(1000))
        copy = next(copy for copy in copies if labels.held_out(copy) == is_held)
        with Image.open(tmp_path / 'faces' / name) as image:
            image.transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(tmp_path / 'faces' / copy)
    program('--batch', 2, '--csv', tmp_path / 'faces.csv')
    with open(tmp_path / 'faces.csv', newline='') as file:
        measured = {row['name'] for row in csv.DictReader(file)}
    assert measured == {*names[2:], min(names[1], copy)}
    text = capsys.readouterr().out
    assert f'1 of the {len(names) + 1} held-out faces have a copy' in text
    assert '1 are copies of another held-out face' in text
    assert f'left out, {len(names) - 1} remain.' in text


def test_results_as_json_and_table(tmp_path, program, monkeypatch, capsys):
    pytest.importorskip('dlib')
    monkeypatch.setattr(labels, 'held_out', lambda name: int(name[-7:-4]) % 7 == 0)
    first, second = tmp_path / 'first.json', tmp_path / 'second.json'
    program('--faces', 1, '--json', first)
    results = json.loads(first.read_text(), parse_constant=pytest.fail)
    for part, keys in JSON_KEYS.items():
        assert set(results[part]) == keys
    assert len(results['ageing']['judged_age']) == 10
    assert len(results['identity']['by_target']['distance']) == 10
    assert {'male', 'female'} == set(results['fairness'])
    assert results['identity']['distance'] > 0 and results['reconstruction']['faces'] == 9
    capsys.readouterr()
    program('--faces', 1, '--json', second, '--beside', first)
    text = capsys.readouterr().out
    rows = {
        line.split('|')[1].strip(): line.split('|')[2:]
        for line in text.splitlines()[2:]
        if '|' in line
    }
    assert rows['first'] == rows['generated']
    assert f' {results["ageing"]["adult_swing"]:.1f} ' in rows['first']
    assert json.loads(second.read_text()) == results


def test_without_the_packages_for_identity(tmp_path, program, monkeypatch, capsys):
    monkeypatch.setattr(measures, 'DESCRIPTORS', 'no_such_package')
    program('--json', tmp_path / 'all.json')
    text = capsys.readouterr().out
    assert 'pip install -r demo/requirements.txt' in text and '| judged age |' in text
    results = json.loads((tmp_path / 'all.json').read_text())
    assert 'identity' not in results and results['fairness']['male']['distance'] is None


def test_likeness_is_measured_on_the_same_people(tmp_path, program, monkeypatch):
    """With all likeness the photo stays, however badly the model reconstructs it."""
    monkeypatch.setattr(measures, 'DESCRIPTORS', 'no_such_package')
    results = []
    for likeness in (0, 1):
        program('--faces', 1, '--likeness', likeness, '--json', tmp_path / 'all.json')
        results.append(json.loads((tmp_path / 'all.json').read_text()))
    plain, alike = results
    assert alike['reconstruction']['L1'] < 0.1 < plain['reconstruction']['L1']
    assert alike['ageing']['faces'] == plain['ageing']['faces']
    assert alike['ageing']['judged_age'] != plain['ageing']['judged_age']


def test_age_shift_needs_statistics_of_codes(program):
    with pytest.raises(SystemExit, match=r'statistics of codes .*python -m init_model.codes'):
        program('--age_shift', 1)


def test_a_published_grid(tmp_path, program, capsys):
    """Three people in columns, ten ages in rows; each row is brighter than the one above."""
    levels = np.arange(10)[:, None] * 20 + np.array([[0, 10, 20]])
    grid = levels.repeat(16, 0).repeat(16, 1).astype(np.uint8)
    Image.fromarray(grid).save(tmp_path / 'grid.png')
    program('--grid', tmp_path / 'grid.png')
    row = capsys.readouterr().out.splitlines()[-1].split('|')[1:]
    means = [100 * level / 255 for level in levels.mean(1)]
    assert row[0] == ' grid.png ' and row[1:11] == [f' {mean:.1f} ' for mean in means]
    assert float(row[11]) == pytest.approx(means[-1] - means[0], abs=0.05)
    assert float(row[12]) == pytest.approx(means[-1] - means[4], abs=0.05)
    assert row[13] == ' 100% '


@pytest.mark.parametrize(
    ('words', 'message'),
    [
        (
            ['--grid', 'wide.png'],
            'wide.png is 165 x 100 pixels, no grid of square faces in 10 rows',
        ),
        (['--grid', 'nothing.png'], 'nothing.png cannot be read as an image'),
        (['--beside', 'wide.png'], r'wide.png is no file that --json wrote'),
        (['--beside', 'other.json'], r'other.json is of other age groups'),
        (['--beside', 'half.json'], r'half.json is no file that --json wrote'),
        (['--judge', 'nowhere'], r'judge.json is missing: restore it \(git checkout demo\)'),
    ],
)
def test_what_cannot_be_used(words, message, tmp_path, program, monkeypatch):
    if words[0] == '--judge':
        monkeypatch.undo()
    Image.new('RGB', [165, 100]).save(tmp_path / 'wide.png')
    numbers = {'swing': 1, 'adult_swing': 1, 'rising': 1, 'rank_correlation': 1}
    (tmp_path / 'other.json').write_text(
        json.dumps({'ageing': {'judged_age': [1, 2], **numbers}, 'reconstruction': {'L1': 0.1}})
    )
    numbers.pop('swing')  # as an edited file may lack it
    (tmp_path / 'half.json').write_text(
        json.dumps({'ageing': {'judged_age': [1] * 10, **numbers}, 'reconstruction': {'L1': 0.1}})
    )
    with pytest.raises(SystemExit, match=message):
        program(words[0], tmp_path / words[1])


def test_what_cannot_be_measured(tmp_path, program, monkeypatch):
    with pytest.raises(SystemExit, match='There is no trained model to measure'):
        program('--savedir', tmp_path / 'nowhere')
    monkeypatch.setattr(pipeline, 'find_photos', lambda paths: np.zeros(len(paths), int))
    with pytest.raises(SystemExit, match=r'No held-out face in .*faces is without a copy: add'):
        program()
    monkeypatch.setattr(labels, 'held_out', lambda name: False)
    with pytest.raises(SystemExit, match=r'None of the 60 faces in .*faces is a held-out one'):
        program()
