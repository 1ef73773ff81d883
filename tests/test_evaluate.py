"""Measuring a model on held-out faces."""

import csv
import os

import numpy as np
import pytest
import tensorflow as tf

import face_aging
import ops
from data import labels, readers
from demo import evaluate
from tests import draw_faces
from tests.conftest import GOLDEN, TINY

BOX = GOLDEN / 'tiny32' / 'checkpoint'  # in the place of init_model


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


def test_report():
    measured = np.array(
        [[0.1, 20, 0.5], [0.3, 30, 0.7], [0.2, 10, 0.6], [0.2, 10, 0.6]], np.float32
    )
    ages, genders = np.array([0, 0, 1, 9]), np.array([0, 1, 0, 0])
    rows = evaluate.report(measured, ages, genders, np.array([0, -1, 4, 4])).splitlines()
    assert '| all | 4 | 0.2000 ± 0.0800 | 17.50 | 0.6000 |' in rows
    assert '| 0-5 | 2 | 0.2000 ± 0.1960 | 25.00 | 0.6000 |' in rows
    assert '| over 70 | 1 | 0.2000 | 10.00 | 0.6000 |' in rows
    assert '| female | 1 | 0.3000 | 30.00 | 0.7000 |' in rows
    assert '| 0-5, male | 1 | 0.1000 | 20.00 | 0.5000 |' in rows
    assert '| Others | 2 | 0.2000 ± 0.0000 | 10.00 | 0.6000 |' in rows
    assert rows[-1] == '1 of 4 faces have no race in their names.'
    assert not any(row.startswith(('| 11-15 ', '| Black ')) for row in rows)  # nobody is in them


def test_only_held_out_faces_are_measured(tmp_path, monkeypatch, capsys):
    """The program from end to end, on drawn faces, with what they really give."""
    draw_faces.draw_data_set(tmp_path / 'faces', 60)
    names = [name for name in os.listdir(tmp_path / 'faces') if labels.held_out(name)]
    for path in (tmp_path / 'faces').iterdir():
        if path.name not in names:
            path.write_bytes(b'not to be opened')
    monkeypatch.setattr(face_aging, 'INIT_MODEL', str(BOX))
    build = face_aging.FaceAging
    monkeypatch.setattr(face_aging, 'FaceAging', lambda **settings: build(**TINY, **settings))
    words = ['--datadir', str(tmp_path), '--dataset', 'faces', '--batch', '2']
    evaluate.main([*words, '--csv', str(tmp_path / 'faces.csv')])
    with open(tmp_path / 'faces.csv', newline='') as file:
        rows = list(csv.DictReader(file))
    assert [row['name'] for row in rows] == sorted(names) and len(names) > 2
    model = build(**TINY, is_training=False)
    model.load_checkpoint(str(BOX))
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


def test_what_cannot_be_measured(faces, tmp_path, monkeypatch):
    monkeypatch.setattr(face_aging, 'INIT_MODEL', str(BOX))
    build = face_aging.FaceAging
    monkeypatch.setattr(face_aging, 'FaceAging', lambda **settings: build(**TINY, **settings))
    monkeypatch.setattr(labels, 'held_out', lambda name: False)
    with pytest.raises(SystemExit, match=r'None of the 14 faces in .*faces is a held-out one'):
        evaluate.main(['--datadir', str(tmp_path), '--dataset', 'faces'])
    with pytest.raises(SystemExit, match='There is no trained model to measure'):
        evaluate.main(['--savedir', str(tmp_path / 'nowhere'), '--datadir', str(tmp_path)])
