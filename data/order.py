"""The random choices of a training: the order of its faces, and z_prior."""

from __future__ import annotations

import hashlib
import json
import warnings

import numpy as np

from data import files
from data.console import InputError


class TrainingOrder:
    """The order of a training's faces, and its z_prior, drawn from one generator.

    Generator, seed and sequence of draws are those of the original: first an order of all faces,
    then, before each epoch, one of the faces to train on, and z_prior for each batch. Evened out by
    `even_out`, an epoch draws its faces from another generator instead, some of them repeatedly.

    Attributes: size_batch; num_samples, faces that are never trained on, as many as the training's
    first batch; done, batches of this epoch; seed of the generator, None if unknown.
    """

    def __init__(
        self,
        size_data: int,
        size_batch: int,
        seed: int | None,
        enable_shuffle: bool = True,
        data: str | None = None,
    ):
        """Draw an order of faces, whose `digest` is data."""
        self.size_batch = size_batch
        self.num_samples = size_batch
        self.done = 0
        self.seed = seed
        self._data = data
        self._random = np.random.RandomState(seed)
        self._chances = None  # of each face to be drawn; None: each is trained on once an epoch
        self._indices = np.arange(size_data)
        if enable_shuffle:
            self._random.shuffle(self._indices)

    @property
    def samples(self) -> np.ndarray:
        """Indices [S] of the faces that are shown after each epoch, and never trained on."""
        return self._indices[: self.num_samples]

    @property
    def num_batches(self) -> int:
        """Batches of an epoch, each of size_batch different places in the order."""
        return (len(self._indices) - self.num_samples) // self.size_batch

    def even_out(self, cells: np.ndarray, balance: float) -> None:
        """Draw each face by a chance of (faces of its kind) ** -balance, from the kinds [N].

        With 1 all kinds are drawn alike often, with 0 each face once an epoch.
        """
        faces = np.bincount(cells[self._indices[self.num_samples :]], minlength=cells.max() + 1)
        self._chances = np.maximum(faces, 1)[cells] ** -float(balance) if balance else None

    def rest_of_epoch(self, enable_shuffle: bool = True, epoch: int = 0) -> np.ndarray:
        """Return the indices of the faces left in this epoch; shuffle them first at its start.

        An order that is evened out draws by the number of epochs that are done.
        """
        faces = self._indices[self.num_samples :]
        if self._chances is not None:  # the same draw when an interrupted epoch is resumed
            chances = self._chances[faces] / self._chances[faces].sum()
            random = np.random.default_rng([self.seed or 0, epoch])
            faces = random.choice(faces, len(faces), p=chances)
        elif enable_shuffle and not self.done:
            self._random.shuffle(faces)
        return faces[self.done * self.size_batch :]

    def z_prior(self, num_z_channels: int) -> np.ndarray:
        """Return z_prior for the next batch: float32 [B, num_z_channels], uniform in [-1, 1]."""
        return self._random.uniform(-1, 1, [self.size_batch, num_z_channels]).astype(np.float32)

    def state(self) -> dict:
        """Return a dict for JSON, from which `from_state` restores this order."""
        name, keys, *rest = self._random.get_state()
        return {
            'order': self._indices.tolist(),
            'random': [name, keys.tolist(), *rest],
            'done': self.done,
            'size_batch': self.size_batch,
            'num_samples': self.num_samples,
            'seed': self.seed,
            'data': self._data,
        }

    @classmethod
    def from_state(cls, state: dict) -> TrainingOrder:
        """Restore an order from what `state` returned; raise an InputError if it is damaged."""
        order = cls(0, state.get('size_batch'), seed=0)
        order.seed = state.get('seed')
        try:
            order._indices = np.array(state['order'], np.int64)
            order._random.set_state(state['random'])
            # Before they were counted, samples were as many as the faces of a batch.
            order.num_samples = int(state.get('num_samples', order.size_batch or 0))
            order.done = int(state.get('done', 0))
            order._data = state.get('data')
            if sorted(order._indices) != [*range(len(order._indices))]:
                raise ValueError('some are missing')
        except (LookupError, OverflowError, TypeError, ValueError) as error:
            raise InputError(
                f'The order of the faces in the checkpoint is damaged ({error}): restore a copy.'
            ) from error
        return order

    def fits(self, size_data: int, data: str) -> bool:
        """Whether this order was drawn for faces of this number and `digest`."""
        return len(self._indices) == size_data and self._data in (data, None)


def take_up(
    order: TrainingOrder | None,
    size_data: int,
    size_batch: int,
    seed: int,
    enable_shuffle: bool,
    data: str,
) -> TrainingOrder:
    """Return the order to train by: that of a run to go on with if it fits, else a new one."""
    if order is None or not order.fits(size_data, data):
        if order:
            warnings.warn('The data set had other faces: a new order is drawn.', stacklevel=2)
        return TrainingOrder(size_data, size_batch, seed, enable_shuffle, data)
    if order.seed not in (seed, None):
        warnings.warn(f'The run goes on by its seed {order.seed}, not {seed}.', stacklevel=2)
    if order.done and order.size_batch != size_batch:
        warnings.warn(
            f'The batches were of {order.size_batch}, now of {size_batch}: the epoch starts again.',
            stacklevel=2,
        )
        order.done = 0
    order.size_batch = size_batch
    return order


def digest(folder: str, paths: list[str], ages: np.ndarray, genders: np.ndarray) -> str:
    """Return a hash of the names in a folder and the labels, as from `labels.list_faces`."""
    names = [files.name_in(folder, path) for path in paths]
    text = json.dumps([names, ages.tolist(), genders.tolist()])
    return hashlib.sha256(text.encode()).hexdigest()
