"""Sharpness, mottle, contrast, borders; found first, recognised: the numbers on made-up arrays."""

import numpy as np
import pytest
from scipy import ndimage

from demo.evaluate import measures, report


def photos(count=4, size=64, seed=0):
    """Return faces of nobody: noise in grey, a little blurred, uint8 [N, S, S, 3]."""
    noise = np.random.RandomState(seed).normal(0, 1, [count, size, size])
    light = 128 + 90 * ndimage.gaussian_filter(noise, [0, 1, 1])
    return np.clip(light, 0, 255).astype(np.uint8)[..., None].repeat(3, -1)


def compare(change):
    """Return measures.detail of photos and of these changed, at two ages of which one has real."""
    faces = photos()
    aged = np.stack([np.clip(change(faces.astype(float)), 0, 255).astype(np.uint8)] * 2, 1)
    return measures.detail(aged, faces, faces, np.ones(len(faces), int))


def test_the_photo_itself_a_blurred_and_a_dull_one():
    row = compare(lambda faces: faces)
    assert [row[key] for key in ('sharpness', 'contrast', 'border_change')] == [1, 1, 0]
    assert row['border_changed'] == 0 and row['by_target']['band_energy'][1] == pytest.approx(1)
    assert np.isnan(row['by_target']['band_energy'][0])  # of this age there is nobody real
    row = compare(lambda faces: ndimage.gaussian_filter(faces, [0, 1, 1, 0]))
    assert row['sharpness'] < 0.5 and row['contrast'] < 0.9
    assert row['by_target']['band_energy'][1] < 0.9
    row = compare(lambda faces: faces / 2 + 60)
    assert row['contrast'] == pytest.approx(0.5, abs=0.01)
    assert row['sharpness'] == pytest.approx(0.25, abs=0.02)


@pytest.mark.parametrize(('period', 'inside'), [(2, 0), (4, 1), (5, 1), (7, 1), (20, 0)])
def test_the_band_holds_waves_of_3_to_8_pixels(period, inside):
    """A sine of amplitude a is a variance of a * a / 2, wherever it runs to."""
    phase = 2 * np.pi * np.arange(64) / period + 0.3
    wave = np.broadcast_to(10 * np.sin(phase), [64, 64])
    energy = measures.band_energy(np.stack([wave, wave.T, wave + 100]))
    np.testing.assert_allclose(energy, 50 * inside, rtol=0.1, atol=1)


def test_only_the_border_counts_as_border():
    """At 128 pixels: 6 at both sides, and the outer quarters of the upper edge."""
    photo = np.full([1, 128, 128, 3], 100, np.uint8)
    made = photo.copy()
    made[:, :, 6:-6] += 50  # the face, and in it
    made[:, :6, 6:32] -= 50  # not these corners
    made[:, :6, -32:-6] -= 50
    assert measures.border_change(made, photo) == 0
    made[:, :, :6] -= 20
    pixels = 2 * 6 * 128 + 2 * 6 * 26
    assert measures.border_change(made, photo) == pytest.approx(20 * 6 * 128 / pixels)
    assert compare(lambda faces: faces * 0)['border_changed'] == 1


# ----------------------------------------------------------------------------- recognition


def test_found_first_among_all_people():
    """Of three people the second is nearest to the third's face at the second age."""
    inputs = np.array([[0.0, 0], [1, 0], [0, 1]])
    aged = np.stack([inputs + 0.1, [[0.4, 0], [0.6, 0.1], [0.9, 0.3]]], 1)
    different = [[np.array([])] * 2] * 2
    row = measures.recognition(inputs, aged, np.array([0, 1, 0]), different)
    np.testing.assert_allclose(row['by_target']['found_first'], [1, 2 / 3])
    assert row['found_first'] == pytest.approx(5 / 6) and np.isnan(row['recognised'])


def line(places):
    """Return descriptors at places on a line."""
    return np.array(places, float)[:, None]


def test_pairs_of_different_people():
    """Of the same gender, one from each group, nobody with himself, each pair once."""
    groups, genders = np.array([0, 0, 0, 1, 1]), np.array([0, 0, 1, 0, 1])
    pairs = measures.different_people(line([0, 1, 5, 10, 20]), groups, genders, 2)
    assert [[sorted(x.tolist()) for x in row] for row in pairs] == [
        [[1], [9, 10, 15]],
        [[9, 10, 15], []],
    ]


def test_recognised_under_the_limit_of_the_pair_of_groups():
    """Of 200 distances from 0.01 to 2.00 two, 1%, are under the limit of 0.0299."""
    many, few = np.arange(1, 201) / 100, np.ones(99)
    different = [[many / 2, many * 10], [many * 10, few]]
    inputs = line([0, 100])
    aged = inputs[:, None] + np.array([[[0.014], [0.35]], [[0.25], [0.01]]])
    row = measures.recognition(inputs, aged, np.array([0, 1]), different)
    np.testing.assert_allclose(row['limits'], [[0.01495, 0.299], [0.299, np.nan]])
    assert np.mean(many * 10 < row['limits'][0][1]) == 0.01
    # The first at the second age is too far; of the last there are too few real people.
    assert row['by_target']['recognised'] == [1, 0] and row['recognised'] == pytest.approx(2 / 3)
    assert row['people'] == 2 and row['found_first'] == 1
    np.testing.assert_allclose(row['false_accepts'], [[0.595, 0.025], [0.025, 0]])
    lines = report.recognition(row, (5,)).splitlines()
    assert '| found first among 2 people | 100% | 100% | 100% |' in lines
    assert '| recognised at 1% false accepts | 100% | 0% | 67% |' in lines
    assert lines[-2:] == ['| 0-5 | 60% | 2% |', '| over 5 | 2% | 0% |']
    assert f'under {measures.SAME_PERSON}' in lines[-4]
