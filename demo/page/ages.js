// The timeline of demo.page: its tiles hold the changed face at each age, and are laid over the
// photo when they are clicked or played.
const STEP = 300; // ms
let timer = null;

window.layOver = (of, address, title) => {
  const photo = document.querySelector(`#photo .photo[data-of="${of}"]`);
  if (!photo) return; // another one is shown by now
  const [back, front] = photo.querySelectorAll('.after img');
  back.src = front.src || address;
  front.src = document.querySelector('#crop .near').src = address;
  front.animate([{ opacity: 0 }, { opacity: 1 }], { duration: 200 });
  photo.querySelector('.year').textContent = title;
};

const tiles = () => [...element.querySelectorAll('.tile')];

function show(tile) {
  tiles().forEach((other) => other.setAttribute('aria-pressed', other === tile));
  const of = element.querySelector('.timeline').dataset.of;
  window.layOver(of, tile.querySelector('img').src, tile.innerText);
  tile.scrollIntoView({ block: 'nearest', inline: 'nearest' });
}

function stop() {
  clearInterval(timer);
  timer = null;
  element.querySelector('.play')?.setAttribute('aria-pressed', false);
}

function play() {
  let index = 0;
  timer = setInterval(() => {
    const tile = tiles()[index++];
    if (!tile?.firstElementChild.src) return stop();
    show(tile);
    if (index === tiles().length) { stop(); trigger('stepped', { year: Number(tile.dataset.year) }); }
  }, STEP);
  element.querySelector('.play').setAttribute('aria-pressed', true);
}

watch('value', stop);
element.addEventListener('click', (event) => {
  const button = event.target.closest('button');
  if (!button) return;
  const playing = timer !== null;
  stop();
  if (button.matches('.play')) return playing || play();
  show(button);
  trigger('stepped', { year: Number(button.dataset.year) });
});
