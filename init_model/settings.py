"""The settings of a model, and which of them a checkpoint must match."""

from __future__ import annotations

import dataclasses
import os
import warnings

import tensorflow as tf

from data import devices, files
from data.console import InputError
from data.labels import AGE_UPPER
from init_model.checkpoints import OtherModelError

SAVE_DIR = 'save'  # the one folder where weights in init_model stand in for a checkpoint
FORMAT = 1  # version of the state in a checkpoint
# The sizes in which a model must agree with a checkpoint that it opens.
SIZES = 'size_image size_kernel num_input_channels num_encoder_channels num_z_channels'.split()
SIZES += 'num_gen_channels enable_tile_label tile_ratio'.split()


@dataclasses.dataclass(kw_only=True, eq=False)
class Config:
    """The settings of a FaceAging: its keyword arguments, and attributes of it."""

    size_image: int = 128  # S, height and width; of a test, the checkpoint's sizes count
    size_kernel: int = 5  # of the convolutions
    size_batch: int = 100  # B, of training; testing takes any number
    num_input_channels: int = 3  # C, 3 for RGB, 1 for luminance
    num_encoder_channels: int = 64  # of the encoder's first convolution
    num_z_channels: int = 50  # of the code z
    num_categories: int | None = None  # age groups, one more than the limits in age_upper
    num_gen_channels: int = 1024  # of the generator's first map
    enable_tile_label: bool = True  # repeat the labels until they weigh as much as z
    tile_ratio: float = 1.0  # length of a tiled label by that of z
    is_training: bool = True  # False spares the optimizers; the weights are 0 until restored
    save_dir: str = SAVE_DIR  # where summary, samples, test and checkpoint are written
    dataset_name: str = 'UTKFace'  # folder in data_dir
    data_dir: str = 'data'  # folder of the data sets
    change_dataset: bool = False  # go on with a run trained on a data set of another name
    reader: str | None = None  # of its labels, see data.readers; default: what fits the folder
    age_upper: tuple[int, ...] = AGE_UPPER  # last year of each age group but the last
    hold_out: bool = False  # train without the photos of labels.held_out's faces
    seed: int = 2017  # of the order of the files and of z_prior
    xla: bool | None = None  # compile the gradients by XLA; by default on a GPU only
    cache: str | None = None  # where decoded faces are kept, see pipeline.decode_faces
    summary_steps: int = 1  # steps from one point of the summaries to the next
    checkpoint_steps: int | None = None  # steps between checkpoints, besides those of the epochs
    strategy: tf.distribute.Strategy | None = None  # over which devices; default: all there are

    def __post_init__(self) -> None:
        self.age_upper = tuple(self.age_upper)
        if self.num_categories is None:
            self.num_categories = len(self.age_upper) + 1
        if self.xla is None:
            self.xla = bool(tf.config.list_physical_devices('GPU'))

    @property
    def data_set(self) -> str:
        """Path of the folder of the data set."""
        return os.path.join(self.data_dir, self.dataset_name)


def from_model(model: Config) -> dict:
    """Return the settings of a FaceAging that a checkpoint must match, for JSON."""
    return {
        **{name: getattr(model, name) for name in SIZES},
        'age_upper': model.age_upper,
        'dataset': files.base_name(os.path.normpath(model.data_set)),
        'precision': model.precision,
        'tensorflow': tf.__version__,
        'format': FORMAT,
    }


def require_possible(model: Config) -> None:
    """Raise an InputError if no networks can be built, or not trained, with a model's settings."""
    if model.num_categories != len(model.age_upper) + 1:
        raise InputError(
            f'num_categories is {model.num_categories}, but age_upper {model.age_upper} makes '
            f'{len(model.age_upper) + 1} age groups: leave num_categories out.'
        )
    if model.num_layers < 1 or model.size_image % 2**model.num_layers:
        raise InputError(
            f'size_image {model.size_image} cannot be halved {model.num_layers} times: take a '
            'power of two, such as 128.'
        )
    if model.is_training:
        devices.require_equal_shares(model.strategy, model.size_batch)


def adopt(model: Config, settings: dict) -> bool:
    """Set the sizes and age groups of a model for testing to those that a checkpoint knows.

    Return whether one of them was different, so that the networks must be built again.
    """
    known = {name: settings[name] for name in SIZES if name in settings}
    known['age_upper'] = tuple(settings.get('age_upper', model.age_upper))
    known['num_categories'] = len(known['age_upper']) + 1
    is_same = all(getattr(model, name) == value for name, value in known.items())
    vars(model).update(known)
    return not is_same


def require_same(origin: str, settings: dict, model: Config, goes_on: bool) -> None:
    """Require that a checkpoint is of a model like the one that it is to be restored into.

    Its settings are as from `from_model`. A size that they lack is not compared; without age_upper
    it is of the original's groups. Where its run goes_on, the data set must have the same name. An
    OtherModelError says which sizes or age groups differ, an InputError that the checkpoint is of a
    newer version of this program, or of another data set.
    """
    own = from_model(model)
    # Another number of groups than the original's is caught by the check of the shapes.
    usual = AGE_UPPER if len(model.age_upper) == len(AGE_UPPER) else model.age_upper
    known = {**own, 'age_upper': usual, **settings}
    if known['format'] > FORMAT:
        raise InputError(f'{origin} is of a newer version of this program: update it.')
    theirs, ours = (','.join(map(str, upper)) for upper in (known['age_upper'], model.age_upper))
    if theirs != ours:
        raise OtherModelError(
            f'{origin} is of age groups up to {theirs}, but this model of {ours}: use the same '
            'ones, or train from fresh weights in another folder.',
            age_groups=theirs,
        )
    differing = {name: known[name] for name in SIZES if known[name] != own[name]}
    if differing:
        sizes = '; '.join(f'{n} is {size} there, {own[n]} here' for n, size in differing.items())
        raise OtherModelError(
            f'{origin} is of another model ({sizes}): build this one with its sizes, or save to '
            'another folder.',
            **differing,
        )
    if not goes_on:
        return
    if known['dataset'] != own['dataset'] and not model.change_dataset:
        raise InputError(
            f'{origin} was trained on {known["dataset"]}, not on {own["dataset"]}: save to another '
            'folder, or ask to go on with other faces.',
            change_dataset=True,
        )
    for name, by in (('precision', 'in'), ('tensorflow', 'by TensorFlow')):
        if known[name] != own[name]:
            text = f'{origin} was trained {by} {known[name]} and goes on {by} {own[name]}.'
            warnings.warn(text, stacklevel=2)
