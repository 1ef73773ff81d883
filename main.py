"""Age progression and regression of faces (CAAE, CVPR 2017).

Train on the faces in DATADIR/DATASET:
    python main.py --dataset UTKFace
Write the faces in a folder at ten ages, as male and as female:
    python main.py --is_train False --testdir my_photos
"""

import itertools
import os
import re
import shlex
import signal
import sys

from absl import app, flags

sys.path.append(os.path.dirname(os.path.abspath(__file__)))  # python -P leaves it out
from data import console, flag_types

# With --use_trained_model False, as in the original.
PRETRAIN_EPOCHS, PRETRAIN_WEIGHTS = 10, (0, 0, 0)
FLAGS_TXT = 'flags.txt'  # in SAVEDIR
# Flags that this program once had, and the defaults that its FLAGS_TXT then held.
MOVED = 'align gender ages gif age_shift likeness age whole_photo everyone'.split()
MOVED_DEFAULTS = 'align=False gender=both gif=False whole_photo=False everyone=False'.split()
MOVED_TO = 'python -m demo.photos'


def _define(convert, name, default, text):
    parser = flag_types.AbslParser(convert)
    return flags.DEFINE(parser, name, default, text, serializer=flags.ArgumentSerializer())


def _define_boolean(name, default, text):
    return _define(flag_types.boolean, name, default, text)


def _define_path(name, default, text):
    return _define(flag_types.path, name, default, text)


_IS_TRAIN = _define_boolean('is_train', True, 'True to train, False to test.')
_EPOCH = _define(flag_types.integer(1, flag_types.MOST), 'epoch', 50, 'Epochs of training in all.')
_DATASET = _define_path('dataset', 'UTKFace', 'Folder of the training faces in DATADIR.')
_DATADIR = _define_path('datadir', 'data', 'Folder of the data sets.')
_CHANGE_DATASET = _define_boolean(
    'change_dataset', False, 'Go on with a training that began on a DATASET of another name.'
)
_LABELS = flags.DEFINE_enum(
    'labels',
    None,
    flag_types.READERS,
    'How ages and genders are read: naming scheme or table. Default: detected from the folder.',
)
_AGE_GROUPS = flags.DEFINE_string(
    'age_groups', flag_types.AGE_GROUPS, 'Last year of each age group but the last.'
)
_HOLD_OUT = _define_boolean(
    'hold_out', False, 'Leave one face in 20, and its copies, out of training (demo.evaluate).'
)
_SAVEDIR = _define_path('savedir', 'save', 'Folder of checkpoints, pictures, summaries.')
_TESTDIR = _define_path('testdir', None, 'Folder of the faces to test on, or one picture.')
_USE_TRAINED_MODEL = _define_boolean(
    'use_trained_model',
    True,
    'Go on from the newest checkpoint in SAVEDIR. False: start over, with '
    f'{PRETRAIN_EPOCHS} epochs of pre-training.',
)
_USE_INIT_MODEL = _define_boolean(
    'use_init_model', True, 'Where SAVEDIR has no checkpoint, start from init_model.'
)
_BATCH_SIZE = _define(
    flag_types.integer(1, flag_types.MOST), 'batch_size', 100, 'Faces per training step.'
)
_LEARNING_RATE = _define(flag_types.number(0, 1), 'learning_rate', 0.0002, "Adam's learning rate.")
_BETA1 = _define(flag_types.number(0, 0.9999), 'beta1', 0.5, "Adam's beta1.")
_DECAY_RATE = _define(
    flag_types.number(0, 1),
    'decay_rate',
    1.0,
    'Factor of the learning rate after every second epoch.',
)
_WEIGHTS = flags.DEFINE_string(
    'weights', '0.0001,0,0', 'Weights in the loss of E and G: of G_img_loss, E_z_loss, tv_loss.'
)
_BALANCE = _define(
    flag_types.number(0, 1),
    'balance',
    0.0,
    'Draw faces of rare ages and genders more often: 0 not, 1 as often as the others.',
)
_SIZE_IMAGE = _define(
    flag_types.integer(8, 4096), 'size_image', 128, 'Height and width of the faces.'
)
_NUM_Z_CHANNELS = _define(
    flag_types.integer(1, 4096), 'num_z_channels', 50, 'Numbers in the code z.'
)
_SEED = _define(
    flag_types.integer(0, 2**32 - 1), 'seed', 2017, 'Seed of weights, file order and prior.'
)
_PRECISION = flags.DEFINE_enum(
    'precision',
    'float32',
    ['float32', 'mixed_bfloat16', 'mixed_float16'],
    'What the layers compute in; weights, losses and outputs are float32.',
)
_XLA = _define_boolean('xla', None, 'Compile the gradients by XLA. Default: on a GPU only.')
_CACHE = flags.DEFINE_enum(
    'cache',
    None,
    ['memory', 'disk', 'none'],
    'Where decoded faces are kept. Default: the first of these that has the space.',
)
_SUMMARY_STEPS = _define(
    flag_types.integer(1, flag_types.MOST),
    'summary_steps',
    1,
    'Steps from one point of the summaries to the next.',
)
_CHECKPOINT_STEPS = _define(
    flag_types.integer(1, flag_types.MOST),
    'checkpoint_steps',
    None,
    'Steps between two checkpoints, besides one each fifth epoch.',
)
_DETERMINISTIC = _define_boolean(
    'deterministic', False, 'Make a run on a GPU repeatable to the last bit, at a cost.'
)
flags.register_validator('weights', flag_types.parse_weights, 'not three numbers from 0 up')


class Terminated(KeyboardInterrupt):
    """SIGTERM or SIGHUP, which ends the program as Ctrl-C does."""

    def __init__(self, number):
        super().__init__()
        self.signal = number


def _terminate(number, _):
    raise Terminated(number)


def main(argv):
    if argv[1:]:
        sys.exit(f'Stray argument {argv[1]!r}: values follow their flag, see --help.')
    for name in ('SIGTERM', 'SIGHUP'):  # Windows has no SIGHUP; under nohup it stays ignored
        number = getattr(signal, name, None)
        if number and signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, _terminate)
    with console.one_sentence(flags=flags.FLAGS):
        _run()


def _run():
    import keras  # here, so that --help and mistaken flags are answered at once
    import tensorflow as tf

    from data import labels
    from face_aging import FaceAging

    keras.utils.set_random_seed(_SEED.value)
    keras.config.set_dtype_policy(_PRECISION.value)
    if _DETERMINISTIC.value:
        tf.config.experimental.enable_op_determinism()
    age_upper = labels.parse_age_upper(_AGE_GROUPS.value)
    try:
        model = FaceAging(
            size_image=_SIZE_IMAGE.value,
            size_batch=_BATCH_SIZE.value,
            num_z_channels=_NUM_Z_CHANNELS.value,
            is_training=_IS_TRAIN.value,
            save_dir=_SAVEDIR.value,
            dataset_name=_DATASET.value,
            data_dir=_DATADIR.value,
            change_dataset=_CHANGE_DATASET.value,
            reader=_LABELS.value,
            age_upper=age_upper,
            hold_out=_HOLD_OUT.value,
            seed=_SEED.value,
            xla=_XLA.value,
            cache=_CACHE.value,
            summary_steps=_SUMMARY_STEPS.value,
            checkpoint_steps=_CHECKPOINT_STEPS.value,
        )
        if _IS_TRAIN.value:
            _train(model)
        else:
            _test(model)
    except console.Stopped as stopped:
        console.say(f'\n\t{stopped} To go on: {_call_to_go_on()}', sys.stderr)
        sys.exit(128 + stopped.signal)
    except FloatingPointError as error:
        sys.exit(f'\n\t{error}')
    except (tf.errors.ResourceExhaustedError, tf.errors.PermissionDeniedError) as error:
        reason = error.message.splitlines()[0]
        cure = 'pass a smaller --batch_size' if _IS_TRAIN.value else 'close other programs'
        sys.exit(
            f'\n\tNo memory or no room on the disk ({reason}): {cure}, or pass another --savedir.'
        )


def _train(model):
    from init_model import checkpoints, codes, savedir

    print('\n\tTraining Mode')
    with savedir.running(_SAVEDIR.value, model.is_chief):
        starting_over = not _USE_TRAINED_MODEL.value
        folder = os.path.join(_SAVEDIR.value, savedir.CHECKPOINT)
        if not starting_over and checkpoints.has_checkpoint(folder):
            model.load_checkpoint()  # `train` goes on from it
        if model.is_chief:
            with savedir.side_file(os.path.join(_SAVEDIR.value, FLAGS_TXT)):
                _keep_flags()
        weights = flag_types.parse_weights(_WEIGHTS.value)
        is_interrupted = model.run.is_pre_training and model.run.epoch < PRETRAIN_EPOCHS
        if weights != PRETRAIN_WEIGHTS and (starting_over or is_interrupted):
            print('\n\tPre-train the network')
            model.train(
                num_epochs=PRETRAIN_EPOCHS,
                learning_rate=_LEARNING_RATE.value,
                beta1=_BETA1.value,
                decay_rate=_DECAY_RATE.value,
                use_trained_model=not starting_over,
                weights=PRETRAIN_WEIGHTS,
                balance=_BALANCE.value,
                is_pre_training=True,
            )
            starting_over = False
            print('\n\tPre-train is done! The training will start.')
        model.train(
            num_epochs=_EPOCH.value,
            learning_rate=_LEARNING_RATE.value,
            beta1=_BETA1.value,
            decay_rate=_DECAY_RATE.value,
            use_trained_model=not starting_over,
            use_init_model=_USE_INIT_MODEL.value,
            weights=weights,
            balance=_BALANCE.value,
        )
        if model.is_chief:
            data_set = os.path.join(_DATADIR.value, _DATASET.value)
            codes.complete(model, data_set, _LABELS.value)


def _test(model):
    """Write the grids of the faces in TESTDIR."""
    print('\n\tTesting Mode')
    if not _TESTDIR.value:
        raise console.InputError('No faces to test on: name their folder.', testdir='my_photos')
    model.custom_test(_TESTDIR.value)
    strips = [*MOVED_TO.split(), _TESTDIR.value]
    if _SAVEDIR.value != _SAVEDIR.default:
        strips += ['--savedir', _SAVEDIR.value]
    console.say(
        f'\n\tDone! {_SAVEDIR.value}/test has test_as_male.png and test_as_female.png, a column a '
        'face, sorted by name, and a row an age group, youngest on top. For strips: '
        f'{shlex.join(strips)}\n'
    )


def _call_to_go_on():
    """Return the command line that goes on with this training."""
    path = os.path.join(_SAVEDIR.value, FLAGS_TXT)
    words = _words()
    if _is_line(path):
        words = [f'--flagfile={path}', *itertools.filterfalse(_is_line, words)]
    if not _USE_TRAINED_MODEL.value:
        words += ['--use_trained_model', 'True']
    return shlex.join(['python', sys.argv[0], *words])


def _keep_flags():
    """Write this call's flags to SAVEDIR, as --flagfile reads them."""
    with open(os.path.join(_SAVEDIR.value, FLAGS_TXT), 'w', encoding='utf-8') as file:
        print(*filter(_is_line, _words()), sep='\n', file=file)


def _words():
    """Return this call's flags as words of a command line."""
    own = flags.FLAGS.get_flags_for_module(flags.FLAGS.find_module_defining_flag('is_train'))
    return [flag.serialize() for flag in own if flag.value is not None]


def _is_line(word):
    """Whether --flagfile, which strips lines, reads a word as it is."""
    return word.strip().splitlines() == [word]


def _parse_flags(argv):
    """Parse as absl does, but report a mistake at once, and end --help with status 0."""
    if '--help' in argv[1:]:
        app.usage(shorthelp=True, writeto_stdout=True)
        sys.exit(0)
    try:
        return flags.FLAGS(_without_moved(argv))
    except (flags.Error, UnicodeDecodeError) as error:  # a file for --flagfile is not in UTF-8
        sys.exit(f'\n\t{error}: see --help.')


def _without_moved(argv):
    """Return a command line without MOVED_DEFAULTS; end the program at other MOVED flags.

    Files of flags are read into it: that of an older training holds the defaults.
    """
    argv = argv[:1] + flags.FLAGS.read_flags_from_files(argv[1:], force_gnu=False)
    argv = [word for word in argv if word.removeprefix('--') not in MOVED_DEFAULTS]
    for word in argv[1:]:
        name = re.sub('^--?(no)?|=.*', '', word, flags=re.DOTALL)
        if word.startswith('-') and name in MOVED:
            sys.exit(
                f'\n\t--{name} has left this program: call {MOVED_TO} my_photos, which finds the '
                'faces and writes strips, animations and whole photos (see its --help).'
            )
    return argv


if __name__ == '__main__':
    app.run(main, flags_parser=_parse_flags)
