"""Age progression and regression of faces (CAAE, CVPR 2017).

Train on the faces in DATADIR/DATASET:
    python main.py --dataset UTKFace
Write the faces in a folder at ten ages, as male and as female:
    python main.py --is_train False --testdir demo/faces
"""

import functools
import os
import shlex
import sys

from absl import app, flags

sys.path.append(os.path.dirname(os.path.abspath(__file__)))  # python -P leaves it out
from data import console, flag_types
from data.flag_types import MOST, boolean, define, integer, number, path

# With --use_trained_model False, as in the original.
PRETRAIN_EPOCHS, PRETRAIN_WEIGHTS = 10, (0, 0, 0)
FLAGS_TXT = 'flags.txt'  # in SAVEDIR
FACES = os.path.join(os.path.dirname(sys.argv[0]), 'demo', 'faces')  # ten made-up ones
FLAGS = flags.FLAGS
# Flags whose names are those of the arguments of FaceAging.
SAME_NAMES = 'size_image num_z_channels change_dataset hold_out seed xla cache'.split()
SAME_NAMES += ['summary_steps', 'checkpoint_steps']

define('is_train', True, boolean, 'True to train, False to test.')
define('epoch', 50, integer(1, MOST), 'Epochs of training in all.')
define('dataset', 'UTKFace', path, 'Folder of the training faces in DATADIR.')
define('datadir', 'data', path, 'Folder of the data sets.')
define('change_dataset', False, boolean, 'Go on with a training on a DATASET of another name.')
flags.DEFINE_enum(
    'labels',
    None,
    flag_types.READERS,
    'How ages and genders are read: naming scheme or table. Default: detected from the folder.',
)
flags.DEFINE_string(
    'age_groups', flag_types.AGE_GROUPS, 'Last year of each age group but the last.'
)
define('hold_out', False, boolean, 'Leave one face in 20, and its copies, out of training.')
define('savedir', 'save', path, 'Folder of checkpoints, pictures, summaries.')
define('testdir', None, path, 'Folder of the faces to test on, or one picture.')
define(
    'use_trained_model',
    True,
    boolean,
    'Go on from the newest checkpoint in SAVEDIR. False: start over, with '
    f'{PRETRAIN_EPOCHS} epochs of pre-training.',
)
define('use_init_model', True, boolean, 'Where SAVEDIR has no checkpoint, start from init_model.')
define('batch_size', 100, integer(1, MOST), 'Faces per training step.')
define('learning_rate', 0.0002, number(0, 1), "Adam's learning rate.")
define('beta1', 0.5, number(0, 0.9999), "Adam's beta1.")
define('decay_rate', 1.0, number(0, 1), 'Factor of the learning rate after every second epoch.')
flags.DEFINE_string(
    'weights', '0.0001,0,0', 'Weights in the loss of E and G: of G_img_loss, E_z_loss, tv_loss.'
)
define('balance', 0.0, number(0, 1), 'Draw rare ages and genders more often; 1: as the others.')
define('size_image', 128, integer(8, 4096), 'Height and width of the faces.')
define('num_z_channels', 50, integer(1, 4096), 'Numbers in the code z.')
define('seed', 2017, integer(0, 2**32 - 1), 'Seed of weights, file order and prior.')
flags.DEFINE_enum(
    'precision',
    'float32',
    ['float32', 'mixed_bfloat16', 'mixed_float16'],
    'What the layers compute in; weights, losses and outputs are float32.',
)
define('xla', None, boolean, 'Compile the gradients by XLA. Default: on a GPU only.')
define(
    'cache',
    None,
    flag_types.cache,
    'Where decoded faces are kept: memory, disk, or a folder that keeps them for the next start. '
    'Default: memory, or the disk if that lacks the space.',
)
define('summary_steps', 1, integer(1, MOST), 'Steps from one point of the summaries to the next.')
define('checkpoint_steps', None, integer(1, MOST), 'Steps between checkpoints within epochs.')
define('deterministic', False, boolean, 'Make runs on a GPU repeat to the last bit, at a cost.')
flags.register_validator('weights', flag_types.parse_weights, 'not three numbers from 0 up')


def main(argv):
    if argv[1:]:
        sys.exit(f'Stray argument {argv[1]!r}: values follow their flag, see --help.')
    if FLAGS.is_train and FLAGS.testdir:
        sys.exit('\n\t--testdir names faces to test on: pass --is_train False, too.')
    console.end_by_signals()
    with console.one_sentence(flags=FLAGS):
        _run()


def _run():
    import keras  # here, so that --help and mistaken flags are answered at once
    import tensorflow as tf

    from data import labels
    from face_aging import FaceAging

    keras.utils.set_random_seed(FLAGS.seed)
    keras.config.set_dtype_policy(FLAGS.precision)
    if FLAGS.deterministic:
        tf.config.experimental.enable_op_determinism()
    age_upper = labels.parse_age_upper(FLAGS.age_groups)
    try:
        model = FaceAging(
            size_batch=FLAGS.batch_size,
            is_training=FLAGS.is_train,
            save_dir=FLAGS.savedir,
            dataset_name=FLAGS.dataset,
            data_dir=FLAGS.datadir,
            reader=FLAGS.labels,
            age_upper=age_upper,
            **{name: FLAGS[name].value for name in SAME_NAMES},
        )
        if FLAGS.is_train:
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
        cure = 'pass a smaller --batch_size' if FLAGS.is_train else 'close other programs'
        sys.exit(
            f'\n\tNo memory or no room on the disk ({reason}): {cure}, or pass another --savedir.'
        )


def _train(model):
    from init_model import codes, savedir

    print('\n\tTraining Mode')
    with savedir.running(FLAGS.savedir, model.is_chief):
        starting_over = not FLAGS.use_trained_model
        if not starting_over:
            model.load_checkpoint()  # `train` goes on from it
        if model.is_chief:
            path = os.path.join(FLAGS.savedir, FLAGS_TXT)
            with savedir.side_file(path):
                flag_types.keep(path)
        train = functools.partial(
            model.train,
            learning_rate=FLAGS.learning_rate,
            beta1=FLAGS.beta1,
            decay_rate=FLAGS.decay_rate,
            balance=FLAGS.balance,
        )
        weights = flag_types.parse_weights(FLAGS.weights)
        is_interrupted = model.run.is_pre_training and model.run.epoch < PRETRAIN_EPOCHS
        if weights != PRETRAIN_WEIGHTS and (starting_over or is_interrupted):
            print('\n\tPre-train the network')
            train(
                num_epochs=PRETRAIN_EPOCHS,
                use_trained_model=not starting_over,
                weights=PRETRAIN_WEIGHTS,
                is_pre_training=True,
            )
            starting_over = False
            print('\n\tPre-train is done! The training will start.')
        train(
            num_epochs=FLAGS.epoch,
            use_trained_model=not starting_over,
            use_init_model=FLAGS.use_init_model,
            weights=weights,
        )
        if model.is_chief:
            codes.complete(model)
            test = _call('python', sys.argv[0], '--is_train', 'False', '--testdir', FACES)
            console.say(
                f'\n\tDone! {FLAGS.savedir}/{savedir.CHECKPOINT} has the trained networks. '
                f'To test them: {test}\n'
            )


def _test(model):
    """Write the grids of the faces in TESTDIR."""
    print('\n\tTesting Mode')
    if not FLAGS.testdir:
        raise console.InputError('No faces to test on: name their folder.', testdir=FACES)
    model.custom_test(FLAGS.testdir)
    console.say(
        f'\n\tDone! {FLAGS.savedir}/test has test_as_male.png and test_as_female.png, a column a '
        'face, sorted by name, and a row an age group, youngest on top. For strips: '
        f'{_call(*flag_types.MOVED_TO.split(), FLAGS.testdir)}\n'
    )


def _call(*words):
    """Return a command line of these words, for what lies in SAVEDIR."""
    is_usual = FLAGS.savedir == FLAGS['savedir'].default
    return shlex.join([*words, *([] if is_usual else ['--savedir', FLAGS.savedir])])


def _call_to_go_on():
    """Return the command line that goes on with this training."""
    more = [] if FLAGS.use_trained_model else ['--use_trained_model', 'True']
    return shlex.join(['python', *sys.argv, *more])


if __name__ == '__main__':
    app.run(main, flags_parser=flag_types.parse)
