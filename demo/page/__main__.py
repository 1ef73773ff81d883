"""A page to try the model in a browser: python -m demo.page, then open http://127.0.0.1:7860.

Photos stay in this program's memory, and only as long as the page is open in the browser. Nothing
is sent elsewhere, and the page needs no network.
"""

import threading
import urllib.parse

import face_aging
from data import console, flag_types
from demo import likeness
from demo.page import layout


@console.one_sentence()
def main(argv=None):
    parser = flag_types.Parser('python -m demo.page', __doc__)
    parser.add_argument('--port', type=int, default=7860, help='where it answers (%(default)s)')
    parser.add_argument(
        '--host', default='127.0.0.1', help='0.0.0.0: other computers can open it (%(default)s)'
    )
    parser.add_argument(
        '--root_path', default='', help='where a reverse proxy shows the page, such as /faces'
    )
    parser.add_argument(
        '--share',
        type=flag_types.boolean,
        default=False,
        metavar='True|False',
        help="make a public link through Gradio's servers (%(default)s)",
    )
    flag_types.add_model(parser)
    args = parser.parse_args(argv)
    model = face_aging.open_trained(args.savedir, args.age_groups)
    page = layout.build(likeness.open_aging(model))
    root_path = urllib.parse.urljoin('/', args.root_path).rstrip('/')
    layout.serve(page, args.port, args.share, args.host, root_path)
    url = page.share_url or urllib.parse.urljoin(page.local_url, f'{root_path}/')
    console.say(f'Open {url} in a browser; Ctrl-C ends.')
    try:
        threading.Event().wait()
    finally:
        page.close(verbose=False)


if __name__ == '__main__':
    main()
