"""The page itself: what is shown where, and what happens when something is moved or clicked."""

import base64
import html
import os
import pathlib

os.environ['GRADIO_ANALYTICS_ENABLED'] = 'False'  # Gradio reads it when it is imported

import gradio as gr

from data import console, labels, readers
from demo import likeness
from demo.page.studio import EMPTY, FAULT, Studio, show_photo
from demo.portraits import portray
from init_model import codes

HERE = pathlib.Path(__file__).parent
EXAMPLES = sorted((HERE.parent / 'faces').glob('*.jpg'), key=readers.parse_name)
OLDEST = 90  # years, of the slider; from the last central year on, 80, the label stays

INTRODUCTION = """
# A face at every age

This page shows a face as it might look at another age, by the method of
[Zhang, Song and Qi, CVPR 2017](https://arxiv.org/abs/1702.08423). It is **a likely face of that
age** among the 22,000 pictures that the model learned from, **not a forecast**: nobody can see your
future in a photo.

Use photos of people who agree, or the made-up people below. A photo stays in the memory of the
computer that runs this page, until you close it. The page is for play and research, not for
business, and never to identify or to judge anyone.
"""
BOX = """
<div class="box">
  <div class="actions"><button class="do" data-do="choose">Choose or take a photo</button></div>
  <input type="file" accept="image/*" aria-label="Photo" hidden>
  <p class="fault" role="alert"></p>
  <div class="value">${value}</div>
  <p class="hint">Or drop one here, or take a made-up face:</p>
  <div class="examples">${examples}</div>
</div>
"""


def build(method: likeness.AgingMethod) -> gr.Blocks:
    """Return the page, which starts from a method; without Codes it has no age shift."""
    studio = Studio(method)
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
    method = studio.method
    gender = gr.Radio([*labels.GENDER_NAMES], value='male', label='Shown as', render=False)
    with gr.Row():
        with gr.Column(min_width=320):
            portrait = _choose_portrait(studio, 'photo', gender)
        with gr.Column(min_width=320):
            picture = gr.HTML(EMPTY, elem_id='picture')
            age = gr.Slider(0, OLDEST, 65, step=1, label='Age in years', elem_id='age')
            gender.render()
            age_shift = gr.Slider(
                0,
                likeness.MOST_AGE_SHIFT,
                method.age_shift,
                step=0.05,
                label='Age shift',
                info='0: the method of the paper, cautious. More: ages show more.'
                if method.codes
                else f'Needs statistics of the codes: {codes.COMMAND}.',
                interactive=bool(method.codes),
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
                animate, draw_whole = gr.Button('Animation'), gr.Button('Whole photo')
    more = gr.HTML(elem_id='more')
    strip = gr.HTML(elem_id='strip')

    of_all_ages = [portrait, gender, age_shift, share]
    settings = [portrait, age, gender, age_shift, share]
    # One listener for a new face and for the sliders: the last of several events counts.
    quick = {'show_progress': 'hidden', 'trigger_mode': 'always_last'}
    moved = [portrait.change, gender.input, age_shift.input, share.input]
    gr.on([*moved, age.input], studio.draw, settings, picture, **quick)
    gr.on(moved, studio.draw_strip, of_all_ages, strip, **quick)
    portrait.change(lambda: '', None, more, **quick)
    animate.click(studio.animate, of_all_ages, more)
    draw_whole.click(studio.draw_whole, settings, more)


def _choose_portrait(studio, name, *gender):
    """Add a box in which a photo and a face in it are chosen; return the State of its Portrait.

    At first it is the largest face's. A component then shows the gender.
    """
    faces = ''.join(
        f'<button data-example="{k}" aria-label="Made-up face {k + 1}">'
        f'<img src="data:image/jpeg;base64,{base64.b64encode(path.read_bytes()).decode()}" alt="">'
        '</button>'
        for k, path in enumerate(EXAMPLES)
    )
    script = (HERE / 'page.js').read_text(encoding='utf-8')
    box = gr.HTML('', html_template=BOX, js_on_load=script, elem_id=name, examples=faces)
    portrait = gr.State()
    shown = [portrait, box, *gender]

    def show(new):
        return [new, show_photo(new), labels.GENDER_NAMES[new.gender]][: len(shown)]

    def take(event: gr.EventData):
        sent = event._data
        try:
            if 'example' in sent:
                return show(studio.open_photo(EXAMPLES[sent['example']].read_bytes()))
            return show(studio.open_photo(base64.b64decode(sent['data'])))
        except console.InputError as error:
            return [None, FAULT.format(html.escape(str(error))), gr.skip()][: len(shown)]

    def choose(portrait, event: gr.EventData):
        return show(portray(studio.method, portrait.photo, event._data['face']))

    box.taken(take, None, shown, show_progress='minimal')
    box.chosen(choose, portrait, shown, show_progress='hidden')
    return portrait


def _build_pairs(studio):
    """Add what is shown of two people: one turned into the other, and their children."""
    people = []
    with gr.Row():
        for name in ('first', 'second'):
            with gr.Column(min_width=320):
                people.append(_choose_portrait(studio, name))
    with gr.Row():
        turn = gr.Button('Turn one into the other', variant='primary')
        make = gr.Button('Make children', variant='primary')
    result = gr.HTML(elem_id='result')
    seed = gr.State(0)
    turn.click(studio.turn_into, people, result, show_progress='minimal')
    make.click(studio.make_children, [*people, seed], [result, seed], show_progress='minimal')


def serve(page: gr.Blocks, port: int, share: bool = False):
    """Serve a page at 127.0.0.1; return once it answers, or raise an InputError."""
    others = os.environ.get('no_proxy') or os.environ.get('NO_PROXY') or ''
    os.environ['no_proxy'] = f'127.0.0.1,localhost,{others}'.rstrip(',')  # Gradio calls the page
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
    except Exception as error:  # of Gradio, httpx or the system
        raise console.InputError(
            f'Port {port} cannot be used ({console.first_line(error)}): name another one, as '
            '--port 7861.'
        ) from error
