"""The order of the faces and z_prior: the original's draws, and an order that goes on."""

import json

import numpy as np
import pytest

from data import order
from data.console import InputError


def test_the_draws_are_those_of_the_original():
    drawn = order.TrainingOrder(20, 4, seed=2017)
    random, indices = np.random.RandomState(2017), np.arange(20)
    random.shuffle(indices)
    np.testing.assert_array_equal(drawn.samples, indices[:4])
    for _ in range(2):
        faces = indices[4:]
        random.shuffle(faces)
        np.testing.assert_array_equal(drawn.rest_of_epoch(), faces)
        z_prior = drawn.z_prior(50)
        np.testing.assert_array_equal(z_prior, random.uniform(-1, 1, [4, 50]).astype(np.float32))
    np.testing.assert_array_equal(drawn.samples, indices[:4])  # never trained on


def test_without_shuffling():
    kept = order.TrainingOrder(20, 4, seed=0, enable_shuffle=False)
    np.testing.assert_array_equal(kept.rest_of_epoch(enable_shuffle=False), np.arange(4, 20))


def test_an_order_goes_on_from_its_state():
    one = order.TrainingOrder(20, 4, seed=7, data='faces')
    faces, one.done = one.rest_of_epoch(), 3
    other = order.TrainingOrder.from_state(json.loads(json.dumps(one.state())))
    np.testing.assert_array_equal(other.rest_of_epoch(), faces[12:])
    np.testing.assert_array_equal(other.z_prior(5), one.z_prior(5))
    assert (other.seed, other.size_batch) == (7, 4)
    assert other.fits(20, 'faces') and not other.fits(20, 'others') and not other.fits(19, 'faces')


def drawn_evenly(balance):
    """Return an order of 1,000 faces of two kinds, a tenth of them of the second, and the kinds."""
    one, cells = order.TrainingOrder(1000, 4, 7), (np.arange(1000) % 10 == 0).astype(int)
    one.even_out(cells, balance)
    return one, cells


@pytest.mark.parametrize('balance, share', [(0, 0.1), (0.5, 0.25), (1, 0.5)])
def test_rare_kinds_are_drawn_more_often(balance, share):
    one, cells = drawn_evenly(balance)
    epochs = np.concatenate([one.rest_of_epoch(epoch=epoch) for epoch in range(10)])
    assert cells[epochs].mean() == pytest.approx(share, abs=0.02)
    assert not set(one.samples) & set(epochs)
    assert len(epochs) == 10 * 996


def test_without_balance_the_draws_are_the_originals():
    one, _ = drawn_evenly(0)
    plain = order.TrainingOrder(1000, 4, 7)
    np.testing.assert_array_equal(one.rest_of_epoch(), plain.rest_of_epoch())


def test_an_epoch_with_balance_goes_on_where_it_was():
    one, cells = drawn_evenly(0.5)
    faces, one.done = one.rest_of_epoch(epoch=3), 5
    other = order.TrainingOrder.from_state(json.loads(json.dumps(one.state())))
    other.even_out(cells, 0.5)
    np.testing.assert_array_equal(other.rest_of_epoch(epoch=3), faces[20:])
    assert not np.array_equal(other.rest_of_epoch(epoch=4), faces[20:])


@pytest.mark.parametrize(
    'damage', [{'order': [0, 0, 1]}, {'order': 'faces'}, {'random': []}, {'done': 'three'}]
)
def test_a_damaged_state(damage):
    state = {**order.TrainingOrder(20, 4, seed=7).state(), **damage}
    with pytest.raises(InputError, match='order of the faces in the checkpoint is damaged'):
        order.TrainingOrder.from_state(state)


def test_an_order_is_taken_up_if_it_fits():
    old = order.TrainingOrder(20, 4, seed=7, data='faces')
    with pytest.warns(UserWarning, match='its seed 7, not 8'):
        assert order.take_up(old, 20, 4, 8, True, 'faces') is old
    with pytest.warns(UserWarning, match='other faces: a new order is drawn'):
        assert len(order.take_up(old, 21, 4, 7, True, 'others').rest_of_epoch()) == 17


@pytest.mark.parametrize('size_batch', [2, 8])
def test_batches_of_another_size_start_the_epoch_again(size_batch):
    """And never train on the samples."""
    old = order.TrainingOrder(20, 4, seed=7, data='faces')
    samples, old.done = old.samples.copy(), 2
    old = order.TrainingOrder.from_state(json.loads(json.dumps(old.state())))
    with pytest.warns(UserWarning, match=f'batches were of 4, now of {size_batch}'):
        new = order.take_up(old, 20, size_batch, 7, True, data='faces')
    again = order.TrainingOrder.from_state(json.loads(json.dumps(new.state())))
    for one in (new, again):
        assert (one.done, one.size_batch, one.num_batches) == (0, size_batch, 16 // size_batch)
        np.testing.assert_array_equal(one.samples, samples)
        assert sorted([*one.rest_of_epoch(), *samples]) == [*range(20)]


def test_a_state_without_its_samples_has_as_many_as_a_batch():
    state = order.TrainingOrder(20, 4, seed=7).state()
    del state['num_samples']
    old = order.TrainingOrder.from_state(state)
    assert len(old.samples) == 4 and len(old.rest_of_epoch()) == 16


def test_digest():
    def digest(folder='a', name='1.jpg', age=3):
        return order.digest(folder, [f'{folder}/{name}'], np.array([age]), np.array([1]))

    assert digest() == digest(folder='b')  # where it lies does not count
    assert len({digest(), digest(name='2.jpg'), digest(age=4)}) == 3
