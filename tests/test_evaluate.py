"""Measuring a model: reconstruction, ageing, identity, gender, fairness; the program."""

import functools
import json
import math
import os
import re
import sys
import types

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

import face_aging
from data import labels, pictures
from data.console import InputError
from demo.evaluate import __main__ as evaluate
from demo.evaluate import judge, measures, report, subjects
from tests import draw_faces
from tests.conftest import TINY

pytestmark = pytest.mark.usefixtures('no_init_model', 'eagerly')


def method(show):
    """Return an aging method that makes images of images, ages and genders."""
    return types.SimpleNamespace(look_at=np.asarray, show=show)


# -------------------------------------------------------------------------- reconstruction


def test_differences_are_those_of_scikit_image():
    """Of a portrait: a brighter one, a noisy one, a blurred one, a darker half; and of itself."""
    metrics = pytest.importorskip('skimage.metrics')
    face = pictures.read_face(os.path.join('demo/faces', sorted(os.listdir('demo/faces'))[4]))
    real = face.astype(np.float32) * 2 / 255 - 1
    noise = np.random.RandomState(0).normal(0, 0.1, real.shape)
    blurred = ndimage.gaussian_filter(real, [2, 2, 0])
    made = np.stack([real + 10 / 255, real + noise, blurred, real / 2 - 0.5, real])
    made = np.clip(made, -1, 1).astype(np.float32)
    ages, genders = labels.one_hot(range(5), 10), labels.one_hot([0] * 5, 2)
    shown = method(lambda images, ages, genders: made[ages.argmax(1)])  # by their own labels
    measured = evaluate.reconstruct(shown, np.stack([face] * 5), ages, genders)
    same_window = {'gaussian_weights': True, 'sigma': 1.5, 'use_sample_covariance': False}
    for row, picture in zip(measured[:4], (made + 1) / 2, strict=False):
        pair = (real + 1) / 2, picture
        l1 = 2 * np.abs(pair[0] - picture).mean()  # in units of [-1, 1]
        psnr = metrics.peak_signal_noise_ratio(*pair, data_range=1)
        ssim = metrics.structural_similarity(*pair, data_range=1, channel_axis=-1, **same_window)
        np.testing.assert_allclose(row, [l1, psnr, ssim], atol=1e-3)
    np.testing.assert_allclose(measured[4], [0, np.inf, 1], atol=1e-6)


# ------------------------------------------------------------------------------- measures


def test_faces_are_generated_at_all_ages_and_with_both_genders():
    """Each output tells in its pixels which face, age and gender were asked for."""
    faces = np.arange(3, dtype=np.uint8)[:, None, None, None].repeat(3, 3) * np.uint8(10)

    def show(images, ages, genders):
        level = ages.argmax(-1) + 5 * genders.argmax(-1)
        return images + level[:, None, None, None] / 127.5

    ages, genders = labels.one_hot([0, 1, 2], 4), labels.one_hot([1, 0, 1], 2)
    aged, own, other = evaluate.generate(method(show), faces, ages, genders)
    assert aged.shape == (3, 4, 1, 1, 3) and aged.dtype == np.uint8
    expected = [[5, 6, 7, 8], [10, 11, 12, 13], [25, 26, 27, 28]]
    np.testing.assert_array_equal(aged[:, :, 0, 0, 0], expected)
    np.testing.assert_array_equal(own[:, 0, 0, 0], [5, 11, 27])
    np.testing.assert_array_equal(other[:, 0, 0, 0], [0, 16, 22])


def test_ageing_of_known_ages():
    row = measures.ageing(np.array([[5, 20, 50], [15, 30, 31]]), adult=1)
    assert row['judged_age'] == [10, 25, 40.5]
    assert (row['swing'], row['adult_swing']) == (30.5, 15.5)
    assert row['rising'] == 0.5  # by 30 years, and by one
    assert row['faces'] == 2 and 0.8 < row['rank_correlation'] < 1
    falling = measures.ageing(np.array([[50, 20, 5]] * 2), 1)
    assert falling['rank_correlation'] == pytest.approx(-1)


def test_identity_of_known_distances():
    generated = np.array([[0.5, 0.7]] * 3)
    row = measures.identity(generated, np.array([0.3, 0.5, 0.1]), np.array([1.0, 0.5]))
    assert row['distance'] == pytest.approx(0.6) and row['same_person'] == 0.5
    assert row['by_target']['same_person'] == [1, 0]
    assert row['by_target']['distance'] == pytest.approx([0.5, 0.7])
    assert row['reconstructions'] == {'distance': pytest.approx(0.3), 'same_person': 1}
    assert row['different_people'] == {'distance': 0.75, 'same_person': 0.5}
    nobody = measures.identity(generated, generated[0], np.array([]))['different_people']
    assert np.isnan(nobody['distance']) and np.isnan(nobody['same_person'])


def test_genders_that_the_judge_takes_people_for():
    own = np.array([0.1, 0.2, 0.9, 0.4])
    other = np.array([0.8, 0.3, 0.2, 0.1])
    row = measures.gender(own, own, other, np.array([0, 0, 1, 1]))
    assert row['real_faces'] == row['own_gender'] == 0.75
    assert row['other_gender'] == 0.75
    assert (row['male_to_female'], row['female_to_male']) == (0.5, 1)


def test_groups_are_compared_and_the_small_ones_named():
    swings = np.array([10.0, 20] * 20)
    groups = {'many': np.arange(40) < 30, 'two': np.arange(40) % 20 == 0, 'one': np.arange(40) == 0}
    rows = measures.fairness(swings, swings[:, None] * [[0.005, 0.015]], groups)
    assert set(rows) == {'many', 'two'}
    assert not rows['many']['too_small'] and rows['two']['too_small']
    assert rows['many']['adult_swing']['mean'] == 15
    assert rows['many']['adult_swing']['error'] == pytest.approx(
        2.0452 * swings[:30].std(ddof=1) / math.sqrt(30), rel=1e-4
    )  # Student's t for 30 people
    lines = report.fairness(rows).splitlines()
    assert lines[2] == '| many | 30 | 15.0 ± 1.9 | 0.150 ± 0.019 |'
    assert lines[3].startswith('| two (too small a group) | 2 | 10.0 ± 0.0 | ')


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


def test_real_faces_are_the_held_out_ones_and_others(program, tmp_path, monkeypatch):
    monkeypatch.setattr(subjects, 'REAL', 2)
    held_out, real = subjects.read(face_aging.FaceAging(is_training=False), str(tmp_path / 'faces'))
    count = len(held_out.paths)
    assert all(map(labels.held_out, held_out.paths))
    assert not any(map(labels.held_out, real.paths[count:]))
    assert len({*real.paths}) == len(real.faces) == len(real.races)
    assert np.bincount(real.ages * 2 + real.genders, minlength=20).min() >= 2
    for column, all_of_it in zip(held_out, real, strict=True):
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


@pytest.mark.parametrize('package', ['dlib', 'face_recognition_models'])
def test_a_package_for_identity_is_missing(package, monkeypatch):
    for name in ('dlib', 'face_recognition_models'):
        monkeypatch.setitem(sys.modules, name, None if name == package else types.ModuleType(name))
    says = f'package {package}, which is not installed: run pip install -r demo/requirements.txt'
    with pytest.raises(InputError, match=says):
        measures.Descriptor()


# -------------------------------------------------------------------------------- program


def judge_brightness(faces):
    """Take a face for as old, and as female, as it is bright."""
    light = np.asarray(faces, np.float64).mean(axis=(1, 2, 3)) / 255
    return 100 * light, light


@pytest.fixture
def program(tmp_path, monkeypatch, vivid):
    """demo.evaluate with a tiny model, on drawn faces: writes and returns its --json.

    People are told apart by the colours of the middle of a face.
    """
    draw_faces.draw_data_set(tmp_path / 'faces', 60)
    vivid()
    monkeypatch.setattr(face_aging, 'FaceAging', functools.partial(face_aging.FaceAging, **TINY))
    monkeypatch.setattr(judge, 'load', lambda folder: judge_brightness)
    describe = lambda faces: faces[:, 12:20, 12:20].reshape(len(faces), -1) / 255  # noqa: E731
    monkeypatch.setattr(measures, 'Descriptor', lambda: describe)

    def run(*words):
        path = tmp_path / 'all.json'
        where = ['--datadir', tmp_path, '--dataset', 'faces', '--savedir', tmp_path / 'save']
        evaluate.main([*map(str, where), '--json', str(path), *map(str, words)])
        return json.loads(path.read_text(), parse_constant=pytest.fail)

    return run


def test_held_out_faces_with_a_copy_to_train_on_are_left_out(tmp_path, program, capsys):
    """One has a mirrored copy to train on; of another, which has a held-out copy, one is left."""
    names = sorted(name for name in os.listdir(tmp_path / 'faces') if labels.held_out(name))
    for name, is_held in ((names[0], False), (names[1], True)):
        copies = (f'33_1_copy{i}.png' for i in range(1000))
        copy = next(copy for copy in copies if labels.held_out(copy) == is_held)
        with Image.open(tmp_path / 'faces' / name) as image:
            image.transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(tmp_path / 'faces' / copy)
    model = face_aging.FaceAging(is_training=False)
    held_out, _ = subjects.read(model, str(tmp_path / 'faces'))
    assert {*map(os.path.basename, held_out.paths)} == {*names[2:], min(names[1], copy)}
    text = capsys.readouterr().out
    assert f'1 of the {len(names) + 1} held-out faces have a copy' in text
    assert '1 are copies of another held-out face' in text
    assert f'left out, {len(names) - 1} remain.' in text


def test_how_many_of_how_many_are_measured(program, tmp_path, capsys):
    names = os.listdir(tmp_path / 'faces')
    for words, count, why in (
        ([], sum(map(labels.held_out, names)), 'one in 20 by name, left out of a training; --all'),
        (['--all'], 60, 'all'),
    ):
        results = program('--faces', 1, *words)
        assert f'Measuring {count} of 60 faces: {why}' in capsys.readouterr().out
        assert results['reconstruction']['faces'] == count


def test_results_as_json_and_table(program, monkeypatch, capsys):
    monkeypatch.setattr(labels, 'held_out', lambda name: int(name[-7:-4]) % 7 == 0)
    results = program('--faces', 1)
    with open('demo/README.md', encoding='utf-8') as file:
        rows = [re.findall(r'`(\w+)`', line.split('|')[1]) for line in file if line[0] == '|']
    keys = {row[0]: {*row[1:]} for row in rows if row}
    keys['ageing'].add('real_faces')
    keys['fairness'] = {'male', 'female'}
    assert {part: {*row} for part, row in results.items()} == keys
    assert len(results['ageing']['judged_age']) == 10
    assert len(results['identity']['by_target']['distance']) == 10
    assert results['identity']['distance'] > 0 and results['reconstruction']['faces'] == 9
    text = capsys.readouterr().out
    rows = {line.split('|')[1].strip(): line for line in text.splitlines() if '|' in line}
    assert f' {results["ageing"]["adult_swing"]:.1f} ' in rows['generated']
    assert f' {results["detail"]["sharpness"]:.2f} ' in rows["sharpness, by the input's"]
    assert f' {results["identity"]["distance"]:.3f} ' in rows['generated at all ages']
    assert f' {results["gender"]["other_gender"]:.0%} ' in rows['shown as the other gender, for it']


@pytest.mark.parametrize(
    ('words', 'message'),
    [
        (['--age_shift', 1], r'statistics of codes .*python -m init_model.codes'),
        (['--savedir', 'nowhere'], 'There is no trained model in '),
        (['--judge', 'nowhere'], r'judge.json is missing: restore it \(git checkout demo\)'),
        (['--faces', 1], r'No held-out face is left of .*faces: name a data set of hundreds'),
    ],
)
def test_what_cannot_be_measured(words, message, program, monkeypatch):
    if words[0] == '--judge':
        monkeypatch.undo()
    monkeypatch.setattr(labels, 'held_out', lambda name: words[0] != '--faces')
    with pytest.raises(SystemExit, match=message):
        program(*words)
