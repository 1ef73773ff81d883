"""A page to try the model in a browser: python -m demo.page, then open http://127.0.0.1:7860.

Photos stay in this program's memory, and only as long as the page is open in the browser. Nothing
is sent elsewhere, and the page needs no network.
"""

import argparse
import base64
import functools
import html
import io
import os
import pathlib
import tempfile
import threading
import typing

os.environ['GRADIO_ANALYTICS_ENABLED'] = 'False'  # Gradio reads it when it is imported

import gradio as gr
import numpy as np
from PIL import Image

import face_aging
import ops
from data import console, detector, labels, pictures, readers
from demo import kids, likeness, morph, photos, whole_photo
from init_model import codes

HERE = pathlib.Path(__file__).parent
EXAMPLES = sorted((HERE / 'faces').glob('*.jpg'), key=lambda path: readers.parse_name(path) or (0,))
OLDEST = 90  # years, of the slider; from the last central year on, 80, the label stays
SHOWN_SIDE = 1024  # pixels, longer side of the photo as the page shows it
THUMBNAIL = 64  # pixels
CHILDREN = 6  # in a picture
SUFFIXES = {'JPEG': 'jpg', 'PNG': 'png'}
JPEG_START = b'\xff\xd8'  # of every JPEG file
PAPER = 'https://arxiv.org/abs/1702.08423'


class Guest(typing.NamedTuple):
    """A user's photo, and what is computed once for the face chosen in it.

    Attributes:
        photo: a whole_photo.Photo.
        format: of its file, 'JPEG', or 'PNG' for all others.
        chosen: index of the face.
        span: levels of the photo that are 2 in the face.
        people: the face and what the model makes of it, a likeness.People of one.
    """

    photo: whole_photo.Photo
    format: str
    chosen: int
    span: float
    people: likeness.People


# ------------------------------------------------------------------------------ computing


def open_codes(model):
    """Return the statistics of the codes of a model that `load_trained` restored, or None."""
    folder = os.path.join(model.save_dir, 'checkpoint')
    if not os.path.isfile(os.path.join(folder, 'checkpoint')):
        folder = face_aging.INIT_MODEL
    return codes.read(folder, model.num_categories, model.num_z_channels)


class Studio:
    """A trained model and the statistics of its codes, at work on one photo at a time.

    Attributes:
        model: a FaceAging.
        codes: its codes.Codes, or None: then there is no age shift, and nothing is guessed.
    """

    def __init__(self, model, codes):
        self.model, self.codes = model, codes

    def open_photo(self, data):
        """Return the Guest of a picture's file, given as bytes, with its largest face chosen.

        Raises:
            console.InputError: it cannot be read, or has no face.
        """
        try:
            photo = whole_photo.open_photo(data)
        except pictures.UnreadableError as error:
            raise console.InputError(
                f'This cannot be read as a picture ({error.reason}): take a JPEG, PNG, WebP, BMP '
                'or GIF.'
            ) from error
        height, width = photo.pixels.shape[:2]
        if height == width and detector.lie_in_place([photo.pixels])[0]:  # a face as in UTKFace
            photo = photo._replace(landmarks=detector.PLACES[None] * width)
        if not len(photo.landmarks):
            raise console.InputError(
                'No face is found in this picture: take a photo in which one is seen from the '
                'front.'
            )
        return self.choose_face(photo, 'JPEG' if data.startswith(JPEG_START) else 'PNG', 0)

    def choose_face(self, photo, format, chosen):
        """Return the Guest of a photo with one of its faces chosen."""
        shape = self.model.size_image, self.model.num_input_channels
        one = photo._replace(landmarks=photo.landmarks[chosen : chosen + 1])
        faces, (span,) = whole_photo.cut_out(one, *shape)
        people = likeness.look_at(self.model, self.codes, faces)
        return Guest(photo, format, chosen, span, people)

    def guess(self, guest):
        """Return age in years and gender, 0 male, 1 female, as the code tells them, or None."""
        if self.codes is None:
            return None
        ages, genders = likeness.guess_labels(self.codes, guest.people.z)
        return (ages[0] + 1) / 2 @ labels.age_centres(self.model.age_upper), genders[0].argmax()

    def show(self, guest, years, gender, age_shift, share):
        """Return the chosen face at ages, float32 [N, S, S, C] in [-1, 1].

        Args:
            guest: a Guest.
            years: N ages.
            gender: of labels.GENDER_NAMES.
            age_shift, share: of `likeness.show`, the latter its likeness.
        """
        ages = labels.age_label(np.array(years), self.model.age_upper)[:, None]
        genders = labels.one_hot([labels.GENDER_NAMES.index(gender)], 2)
        faces = likeness.show(self.model, self.codes, guest.people, ages, genders, age_shift, share)
        return faces[:, 0]

    def show_whole(self, guest, face):
        """Return a photo's pixels, uint8 [H, W, 3], with its chosen face changed into another.

        Args:
            guest: a Guest.
            face: float32 array [S, S, C] in [-1, 1].
        """
        pixels = guest.photo.pixels.copy()
        change = (face - guest.people.images[0]) / 2 * guest.span
        whole_photo.add_change(pixels, guest.photo.landmarks[guest.chosen], change)
        return pixels


# -------------------------------------------------------------------------------- showing


def encoded(pixels, format='PNG', **options):
    """Return uint8 pixels [H, W, 1 or 3] as the address of a picture that contains its file."""
    file = io.BytesIO()
    picture = Image.fromarray(pixels.squeeze(-1) if pixels.shape[-1] == 1 else pixels)
    picture.save(file, format, **options)
    return to_address(file.getvalue(), f'image/{format.lower()}')


def to_address(data, kind):
    return f'data:{kind};base64,{base64.b64encode(data).decode()}'


def show_photo(guest):
    """Return the HTML of a guest's photo, with a button around each face."""
    photo = guest.photo
    shown = Image.fromarray(photo.pixels)
    shown.thumbnail([SHOWN_SIDE, SHOWN_SIDE], reducing_gap=3)
    frames, (height, width) = [], photo.pixels.shape[:2]
    for k, face in enumerate(photo.landmarks):
        a, b = detector.similarity(face, detector.PLACES)
        centre, side, angle = (0.5 + 0.5j - b) / a, 1 / abs(a), -np.angle(a)
        frames.append(
            f'<button class="frame" data-face="{k}" aria-pressed="{str(k == guest.chosen).lower()}"'
            f' aria-label="Face {k + 1} of {len(photo.landmarks)}" style="left:'
            f'{centre.real / width:.2%};top:{centre.imag / height:.2%};width:{side / width:.2%};'
            f'transform:translate(-50%,-50%) rotate({angle:.3f}rad)"></button>'
        )
    address = encoded(np.asarray(shown), 'JPEG', quality=85)
    return f'<div class="photo"><img src="{address}" alt="Your photo">{"".join(frames)}</div>'


def show_fault(error):
    return f'<p class="fault" role="alert">{html.escape(str(error))}</p>'


def show_picture(pixels, caption, name=None):
    """Return the HTML of a picture, which the page can save as `name`."""
    name = f' data-name="{name}"' if name else ''
    return (
        f'<figure><img src="{encoded(pixels)}" alt="{caption}"{name}>'
        f'<figcaption>{caption}</figcaption></figure>'
    )


def titled_row(images, titles, rows=1):
    """Return images [N, S, S, C] in [-1, 1], each with a title, as one picture, uint8."""
    shape = rows, len(images) // rows
    return ops.image_grid(ops.titled(images, titles), (0, 255), shape)


def animated(images, titles):
    """Return the file of an animation of images [N, S, S, C] in [-1, 1], bytes."""
    file = io.BytesIO()
    ops.save_gif(images, titles, file)
    return file.getvalue()


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
EMPTY = '<p class="empty">No photo yet.</p>'
CSS = """
.gradio-container { max-width: 1120px !important; margin: auto; }
.box { border: 2px dashed var(--border-color-primary); border-radius: 12px; padding: 12px; }
.actions { display: flex; flex-wrap: wrap; gap: 8px; }
.box button { margin: 0; transform: none; }
.do { flex: 1 1 120px; padding: 10px; border-radius: 8px; color: var(--button-primary-text-color);
  background: var(--button-primary-background-fill); }
.do:hover { background: var(--button-primary-background-fill-hover); }
.photo { position: relative; width: fit-content; margin: 10px auto; overflow: hidden; }
.photo img { display: block; max-width: 100%; max-height: 420px; border-radius: 8px; }
.frame { position: absolute; aspect-ratio: 1; border: 2px solid white; border-radius: 8px;
  outline: 1px solid black; cursor: pointer; background: transparent; }
.frame[aria-pressed=true] { border: 4px solid var(--color-accent); }
.examples { display: grid; grid-template-columns: repeat(5, 1fr); gap: 6px;
  max-width: 340px; }
.examples button { padding: 0; border-radius: 8px; overflow: hidden; }
.examples img { width: 100%; display: block; }
.do:focus-visible, .frame:focus-visible, .examples button:focus-visible {
  outline: 3px solid var(--color-accent); outline-offset: 2px; }
.hint { margin: 10px 0 6px; color: var(--body-text-color-subdued); }
.fault:not(:empty) { margin: 10px 0; padding: 10px; border-radius: 8px; color: #7f1d1d;
  background: #fee2e2; }
.camera video { width: 100%; margin: 8px 0; border-radius: 8px; }
.pair { display: grid; grid-template-columns: 1fr 1fr; gap: 10px; }
.pair figure { margin: 0; }
.pair img { width: 100%; border-radius: 8px; }
.pair figcaption { text-align: center; color: var(--body-text-color); }
.strip { contain: inline-size; }
.strip figure { margin: 10px 0; overflow-x: auto; }
.strip img { min-width: 800px; width: 100%; max-width: none; border-radius: 8px; }
.strip figcaption { display: none; }
.strip .moving { width: 256px; min-width: 0; margin: 10px auto; display: block; }
.empty { padding: 32px 8px; text-align: center; color: var(--body-text-color-subdued); }
"""
NEEDS_TWO = '<p class="fault" role="alert">Choose a photo of each of the two people first.</p>'
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


def build(model, statistics=None):
    """Return the page, a gr.Blocks.

    Args:
        model: a FaceAging, trained.
        statistics: its codes.Codes; without them the page has no age shift.
    """
    studio = Studio(model, statistics)
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
    guest, has_codes = gr.State(), studio.codes is not None
    with gr.Row():
        with gr.Column(min_width=320):
            box = photo_box('photo')
        with gr.Column(min_width=320):
            picture = gr.HTML(EMPTY, elem_id='picture')
            age = gr.Slider(0, OLDEST, 65, step=1, label='Age in years', elem_id='age')
            gender = gr.Radio([*labels.GENDER_NAMES], value='male', label='Shown as')
            age_shift = gr.Slider(
                0,
                2,
                likeness.AGE_SHIFT if has_codes else 0,
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
                likeness.LIKENESS,
                step=0.05,
                label='Likeness',
                info='0: the face as the model makes it. 1: the photo, with only the change on it.',
            )
            with gr.Row():
                buttons = [
                    gr.Button(text, size='sm', interactive=False, min_width=140)
                    for text in ('Save the picture', 'Save the strip', 'Save the animation')
                ] + [gr.Button('Save the whole photo', size='sm', interactive=False, min_width=140)]
    strip = gr.HTML(elem_id='strip', elem_classes='strip')
    download = gr.HTML(visible='hidden', elem_id='download')

    def draw(guest, age, gender, *strength):
        if guest is None:
            return EMPTY
        (face,) = studio.show(guest, [age], gender, *strength)
        crop, face = (ops.image_grid(image[None]) for image in (guest.people.images[0], face))
        return (
            '<div class="pair">'
            + show_picture(crop, 'The photo')
            + show_picture(face, f'At {age:.0f} years, as {gender}', f'age_{age:.0f}_{gender}.png')
            + '</div>'
        )

    def draw_strip(guest, gender, age_shift, share):
        if guest is None:
            return ''
        years = labels.age_centres(studio.model.age_upper)
        faces = studio.show(guest, years, gender, age_shift, share)
        titles = ['photo', *labels.age_names(studio.model.age_upper)]
        row = titled_row([guest.people.images[0], *faces], titles)
        caption = f'All ages, as {gender}, age shift {age_shift:g}, likeness {share:g}'
        return show_picture(row, caption, f'ages_{gender}.png')

    def animate(guest, gender, *strength):
        years = labels.glide_years(studio.model.age_upper)
        faces = studio.show(guest, years, gender, *strength)
        address = to_address(animated(faces, years), 'image/gif')
        return f'<img alt="" src="{address}" data-name="ages_{gender}.gif">'

    def draw_whole(guest, age, gender, *strength):
        (face,) = studio.show(guest, [age], gender, *strength)
        options = {'JPEG': {'quality': 95}, 'PNG': {'compress_level': 1}}[guest.format]
        address = encoded(
            studio.show_whole(guest, face), guest.format, icc_profile=guest.photo.profile, **options
        )
        name = f'photo_{age:.0f}_{gender}.{SUFFIXES[guest.format]}'
        return f'<img alt="" src="{address}" data-name="{name}">'

    def allow(guest):
        return [gr.Button(interactive=guest is not None) for _ in buttons]

    settings = [guest, age, gender, age_shift, share]
    of_all_ages = [guest, gender, age_shift, share]
    hidden = {'api_visibility': 'private', 'show_progress': 'hidden'}
    for event in (_take(studio, box, guest, gender), _choose(studio, box, guest, gender)):
        event.then(draw, settings, picture, **hidden).then(
            draw_strip, of_all_ages, strip, **hidden
        ).then(allow, guest, buttons, **hidden)
    moved = [age.input, gender.input, age_shift.input, share.input]
    gr.on(moved, draw, settings, picture, trigger_mode='always_last', **hidden)
    moved = [gender.input, age_shift.input, share.input]
    gr.on(moved, draw_strip, of_all_ages, strip, trigger_mode='always_last', **hidden)
    for button, part in zip(buttons, ('picture', 'strip'), strict=False):
        button.click(None, js=SAVE % f'#{part} [data-name]')
    for button, function, inputs in zip(
        buttons[2:], (animate, draw_whole), (of_all_ages, settings), strict=True
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

    def turn_into(*values):
        if values[0] is None or values[3] is None:
            return NEEDS_TWO
        guests, ages, genders = values[0::3], values[1::3], values[2::3]
        genders = [labels.GENDER_NAMES.index(gender) for gender in genders]
        images = [guest.people.images[0] for guest in guests]
        faces = morph.morph(studio.model, *images, ages, genders)
        years = [f'{age:.0f}' for age in np.linspace(*ages, len(faces))]
        row = titled_row(
            [images[0], *faces[:: morph.STRIP_STEP], images[1]],
            ['photo', *years[:: morph.STRIP_STEP], 'photo'],
        )
        address = to_address(animated(faces, years), 'image/gif')
        return (
            f'<img class="moving" src="{address}" alt="One turns into the other" '
            f'data-name="morph.gif">{show_picture(row, "One turns into the other", "morph.png")}'
        )

    def make_children(first, second, seed):
        if first is None or second is None:
            return NEEDS_TWO, seed
        images = [guest.people.images[0] for guest in (first, second)]
        faces = kids.kids(studio.model, *images, CHILDREN, seed)
        boys, girls = np.split(faces, 2)
        titles = [f'{word} {k + 1}' for word in ('boy', 'girl') for k in range(CHILDREN)]
        rows = titled_row(
            [images[0], *boys, images[1], *girls],
            ['photo', *titles[:CHILDREN], 'photo', *titles[CHILDREN:]],
            rows=2,
        )
        return show_picture(rows, 'Children of the two', 'kids.png'), seed + 1

    quiet = {'api_visibility': 'private', 'show_progress': 'minimal'}
    turn.click(turn_into, [value for person in people for value in person], result, **quiet)
    both = [person[0] for person in people]
    make.click(make_children, [*both, seed], [result, seed], **quiet)


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
            css=CSS,
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
        type=console.boolean,
        default=False,
        metavar='True|False',
        help="make a public link through Gradio's servers (%(default)s)",
    )
    photos.add_arguments(parser)
    words = parser.parse_args(argv)
    model = photos.open_model(words)
    page = build(model, open_codes(model))
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
