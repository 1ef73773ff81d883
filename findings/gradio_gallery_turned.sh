#!/usr/bin/env bash
# gr.Gallery hands a phone's picture to the program lying on its side; gr.Image and gr.ImageSlider
# turn it.
#
# Packages: gradio 6.31.0, pillow 12.3.0, numpy 2.4.6 (Python 3.11).
# Expected: the components for pictures treat the orientation in the EXIF data alike.
# Happens: with type="numpy" and type="pil" gr.Image and gr.ImageSlider turn the picture upright,
#   gr.Gallery opens it as it lies in the file. A NumPy array carries no EXIF data, so the program
#   cannot mend it.
# Seen on 2026-11-29, a JPEG of 60 x 40 with Orientation 6, width x height of what arrives:
#   numpy: Image 40 x 60, ImageSlider 40 x 60, Gallery 60 x 40
#   pil: Image 40 x 60, ImageSlider 40 x 60, Gallery 60 x 40
# Who meets it: whoever lets people upload several photographs by gr.Gallery.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/env"
"$work/env/bin/pip" install --quiet --quiet gradio==6.31.0 pillow==12.3.0 numpy==2.4.6
export GRADIO_ANALYTICS_ENABLED=False GRADIO_TEMP_DIR="$work/gradio"
"$work/env/bin/python" - "$work/phone.jpeg" <<'PYTHON'
import sys

import gradio as gr
import numpy as np
from gradio.components.gallery import GalleryData, GalleryImage
from gradio.components.imageslider import SliderData
from gradio.data_classes import ImageData
from PIL import ExifTags, Image

path = sys.argv[1]
exif = Image.Exif()
exif[ExifTags.Base.Orientation] = 6
Image.new('RGB', (60, 40), 'red').save(path, exif=exif)


def size(picture):
    """Return "width x height" of a picture that a component handed out."""
    height, width = np.asarray(picture).shape[:2]
    return f'{width} x {height}'


uploaded = ImageData(path=path, orig_name='phone.jpeg')
wrong = False
for kind in ('numpy', 'pil'):
    image = size(gr.Image(type=kind).preprocess(uploaded))
    slider = size(gr.ImageSlider(type=kind).preprocess(SliderData(root=[uploaded, uploaded]))[0])
    gallery = size(
        gr.Gallery(type=kind).preprocess(GalleryData(root=[GalleryImage(image=uploaded)]))[0][0]
    )
    print(f'{kind}: Image {image}, ImageSlider {slider}, Gallery {gallery}')
    wrong |= (image, slider, gallery) != ('40 x 60', '40 x 60', '60 x 40')
if wrong:
    sys.exit('Changed.')
PYTHON
