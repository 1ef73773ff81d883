// The box of demo.page for one photo: drop, choose or click one, then click a face in it.
// A photo goes to the server as text in the call itself, so that no file of it is written.
const say = (text) => { element.querySelector('.fault').textContent = text; };
const take = (address, name) => trigger('taken', { data: address.split(',')[1] ?? '', name });

function send(file) {
  if (!file) return;
  say('');
  if (file.size > 30e6) return say('This photo has more than 30 MB: choose a smaller one.');
  const reader = new FileReader();
  reader.onload = () => take(reader.result, file.name);
  reader.onerror = () => say('The browser cannot read this file: choose another or a smaller one.');
  reader.readAsDataURL(file);
}

element.addEventListener('change', (event) => {
  if (event.target.type === 'file') send(event.target.files[0]);
});
element.addEventListener('dragover', (event) => event.preventDefault());
element.addEventListener('drop', (event) => {
  event.preventDefault();
  send(event.dataTransfer.files[0]);
});
element.addEventListener('click', (event) => {
  const button = event.target.closest('button');
  if (!button) return;
  if (button.dataset.face) trigger('chosen', { face: Number(button.dataset.face) });
  if (button.dataset.example) take(button.firstElementChild.src, button.dataset.example);
  if (button.dataset.do === 'choose') element.querySelector('input[type=file]').click();
});
