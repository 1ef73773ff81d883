"""A page to try the model in a browser: python -m demo.page, then open http://127.0.0.1:7860.

Photos stay in this program's memory, and only as long as the page is open in the browser. Nothing
is sent elsewhere, and the page needs no network.
"""

import argparse
import base64
import functools
import os
import pathlib
import tempfile
import threading

os.environ['GRADIO_ANALYTICS_ENABLED'] = 'False'  # Gradio reads it when it is imported

import gradio as gr
import numpy as np
from PIL import Image

from data import console, flag_types, labels, pictures, readers
from demo import likeness, photos
from demo.studio import EMPTY, Studio, encoded, show_fault, show_photo
from init_model import codes

HERE = pathlib.Path(__file__).parent
EXAMPLES = sorted((HERE / 'faces').glob('*.jpg'), key=lambda path: readers.parse_name(path) or (0,))
OLDEST = 90  # years, of the slider; from the last central year on, 80, the label stays
THUMBNAIL = 64  # pixels
PAPER = 'https://arxiv.org/abs/1702.08423'


# ------------------------------------------------------------------------------- the page

INTRODUCTION = f"""
# A face at every age

This page shows a face as it might look at another age, by the method of
[Zhang, Song and Qi, CVPR 2017]({PAPER}). It is **a likely face of that age** among the 22,000
pictures that the model learned from, **not a forecast**: nobody can see your future in a photo.

Use photos of people who agree, or the made-up people below. A photo stays in the memory of the
computer that runs this page, until you close it. The page is for play and research, not for
business, and never to identify or to judge anyone.
"""
BOX = """
<div class="box">
  <div class="actions">
    <button class="do" data-do="choose">Choose a photo</button>
    <button class="do" data-do="start">Use the camera</button>
  </div>
  <input type="file" accept="image/*" aria-label="Photo" hidden>
  <div class="camera" hidden>
    <video muted playsinline></video><button class="do" data-do="take">Take the picture</button>
  </div>
  <p class="fault" role="alert"></p>
  <div class="value">${value}</div>
  <p class="hint">Or drop one here, or take a made-up face:</p>
  <div class="examples">${examples}</div>
</div>
"""
# Saves the picture to which a selector leads, under its name.
SAVE = """() => {
  const picture = document.querySelector('%s');
  if (!picture) return;
  const link = document.createElement('a');
  link.href = picture.src;
  link.download = picture.dataset.name;
  link.click();
}"""


@functools.cache
def examples():
    """Return the HTML of the made-up faces to click."""
    buttons = []
    for k, path in enumerate(EXAMPLES):
        with Image.open(path) as picture:
            face = np.asarray(picture.resize([THUMBNAIL, THUMBNAIL]))
        address = encoded(face, 'JPEG', quality=85)
        buttons.append(
            f'<button data-example="{k}" aria-label="Made-up face {k + 1}">'
            f'<img src="{address}" alt=""></button>'
        )
    return ''.join(buttons)


def photo_box(name):
    """Return a component in which a photo and a face in it are chosen."""
    return gr.HTML(
        '',
        html_template=BOX,
        js_on_load=(HERE / 'page.js').read_text(encoding='utf-8'),
        elem_id=name,
        examples=examples(),
        most_bytes=pictures.MAX_FILE_BYTES,
    )


def read_event(event):
    """Return the bytes of the picture that an event of a photo box is about."""
    if 'example' in event._data:
        return EXAMPLES[event._data['example']].read_bytes()
    return base64.b64decode(event._data['data'])


def build(model, method):
    """Return the page, a gr.Blocks.

    Args:
        model: a FaceAging, trained.
        method: its likeness.Aging, from which the page starts; without Codes it has no age shift.
    """
    studio = Studio(model, method)
    with gr.Blocks(title='A face at every age', analytics_enabled=False) as page:
        gr.Markdown(INTRODUCTION)
        with gr.Tab('Ages'):
            _build_ages(studio)
        with gr.Tab('Two people'):
            _build_pairs(studio)

    def forget(request: gr.Request):  # Gradio itself keeps photos for an hour, results for good
        page.state_holder.session_data.pop(request.session_hash, None)

    page.unload(forget)
    return page


def _build_ages(studio):
    """Add what is shown of one photo."""
    guest, method = gr.State(), studio.method
    has_codes = method.codes is not None
    with gr.Row():
        with gr.Column(min_width=320):
            box = photo_box('photo')
        with gr.Column(min_width=320):
            picture = gr.HTML(EMPTY, elem_id='picture')
            age = gr.Slider(0, OLDEST, 65, step=1, label='Age in years', elem_id='age')
            gender = gr.Radio([*labels.GENDER_NAMES], value='male', label='Shown as')
            age_shift = gr.Slider(
                0,
                likeness.MOST_AGE_SHIFT,
                method.age_shift,
                step=0.05,
                label='Age shift',
                info='0: the method of the paper, cautious. More: ages show more.'
                if has_codes
                else f'Needs statistics of the codes: {codes.COMMAND}.',
                interactive=has_codes,
            )
            share = gr.Slider(
                0,
                1,
                method.likeness,
                step=0.05,
                label='Likeness',
                info='0: the face as the model makes it. 1: the photo, with only the change on it.',
            )
            with gr.Row():
                buttons = [
                    gr.Button(f'Save the {part}', size='sm', interactive=False, min_width=200)
                    for part in ('picture', 'strip', 'animation', 'whole photo')
                ]
    strip = gr.HTML(elem_id='strip', elem_classes='strip')
    download = gr.HTML(visible='hidden', elem_id='download')

    def allow(guest):
        return [gr.Button(interactive=guest is not None) for _ in buttons]

    settings = [guest, age, gender, age_shift, share]
    of_all_ages = [guest, gender, age_shift, share]
    hidden = {'api_visibility': 'private', 'show_progress': 'hidden'}
    _take(studio, box, guest, gender)
    _choose(studio, box, guest, gender)
    # One listener for a new face and for the sliders: the last of several events counts.
    moved = [guest.change, age.input, gender.input, age_shift.input, share.input]
    gr.on(moved, studio.draw, settings, picture, trigger_mode='always_last', **hidden)
    moved = [guest.change, gender.input, age_shift.input, share.input]
    gr.on(moved, studio.draw_strip, of_all_ages, strip, trigger_mode='always_last', **hidden).then(
        allow, guest, buttons, **hidden
    )
    for button, part in zip(buttons, ('picture', 'strip'), strict=False):
        button.click(None, js=SAVE % f'#{part} [data-name]')
    for button, function, inputs in zip(
        buttons[2:], (studio.animate, studio.draw_whole), (of_all_ages, settings), strict=True
    ):
        button.click(
            function, inputs, download, api_visibility='private', show_progress_on=button
        ).then(None, js=SAVE % '#download [data-name]')


def _take(studio, box, guest, gender, age=None):
    """Let a box's photo be read when it is given; return the event.

    Args:
        studio: a Studio.
        box, guest: the `photo_box` and the State in which its Guest is kept.
        gender, age: components that then show what is guessed of the person.
    """

    def take(event: gr.EventData):
        try:
            taken = studio.open_photo(read_event(event))
        except console.InputError as error:
            return [None, show_fault(error)] + [gr.skip()] * len(guessed)
        return [taken, show_photo(taken), *_guess(studio, taken)[: len(guessed)]]

    guessed = [component for component in (gender, age) if component]
    return box.taken(
        take, None, [guest, box, *guessed], api_visibility='private', show_progress='minimal'
    )


def _choose(studio, box, guest, gender, age=None):
    """Let another face of a box's photo be chosen, as `_take` does for a photo."""

    def choose(guest, event: gr.EventData):
        chosen = studio.choose_face(guest.photo, guest.format, event._data['face'])
        return [chosen, show_photo(chosen), *_guess(studio, chosen)[: len(guessed)]]

    guessed = [component for component in (gender, age) if component]
    return box.chosen(
        choose, guest, [guest, box, *guessed], api_visibility='private', show_progress='hidden'
    )


def _guess(studio, guest):
    """Return what components show as gender and age of a person: a guess, or as before."""
    guess = studio.guess(guest)
    if guess is None:
        return gr.skip(), gr.skip()
    return labels.GENDER_NAMES[guess[1]], round(guess[0])


def _build_pairs(studio):
    """Add what is shown of two people: one turned into the other, and their children."""
    people = []
    with gr.Row():
        for k, name in enumerate(('first', 'second')):
            with gr.Column(min_width=320):
                guest, box = gr.State(), photo_box(name)
                age = gr.Slider(0, OLDEST, 30, step=1, label='Age in years')
                gender = gr.Radio([*labels.GENDER_NAMES], value=labels.GENDER_NAMES[k], label='Is')
                for let in (_take, _choose):
                    let(studio, box, guest, gender, age)
                people.append((guest, age, gender))
    with gr.Row():
        turn = gr.Button('Turn one into the other', variant='primary')
        make = gr.Button('Make children', variant='primary')
    result = gr.HTML(elem_id='result', elem_classes='strip')
    seed = gr.State(0)
    with gr.Row():
        for text, kind in (('Save the picture', 'png'), ('Save the animation', 'gif')):
            gr.Button(text, size='sm').click(None, js=SAVE % f'#result [data-name$={kind}]')

    quiet = {'api_visibility': 'private', 'show_progress': 'minimal'}
    turn.click(studio.turn_into, [value for person in people for value in person], result, **quiet)
    both = [person[0] for person in people]
    make.click(studio.make_children, [*both, seed], [result, seed], **quiet)


# -------------------------------------------------------------------------------- serving


def serve(page, port, share=False):
    """Serve a page at 127.0.0.1; return once it answers.

    Raises:
        console.InputError: the port is taken.
    """
    try:
        page.launch(
            server_name='127.0.0.1',
            server_port=port,
            share=share,
            prevent_thread_lock=True,
            quiet=True,
            ssr_mode=False,
            run_history=False,
            footer_links=['settings'],
            theme=gr.themes.Soft(  # fonts of the system: others would be fetched
                font=['system-ui', 'sans-serif'], font_mono=['ui-monospace', 'monospace']
            ),
            css=(HERE / 'page.css').read_text(encoding='utf-8'),
        )
    except OSError as error:
        raise console.InputError(
            f'Port {port} cannot be used ({error}): name another one, as --port 7861.'
        ) from error


@console.one_sentence()
def main(argv=None):
    parser = argparse.ArgumentParser(prog='python -m demo.page', description=__doc__)
    parser.add_argument('--port', type=int, default=7860, help='at 127.0.0.1 (%(default)s)')
    parser.add_argument(
        '--share',
        type=flag_types.boolean,
        default=False,
        metavar='True|False',
        help="make a public link through Gradio's servers (%(default)s)",
    )
    photos.add_arguments(parser)
    words = parser.parse_args(argv)
    model = photos.open_model(words)
    page = build(model, likeness.open_aging(model))
    with tempfile.TemporaryDirectory() as folder:
        os.environ['GRADIO_TEMP_DIR'] = folder
        serve(page, words.port, words.share)
        console.say(f'Open {page.share_url or page.local_url} in a browser; Ctrl-C ends.')
        try:
            threading.Event().wait()
        finally:
            page.close(verbose=False)


if __name__ == '__main__':
    main()
