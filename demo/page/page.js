// The box of demo.page for one photo: drop, choose, take or click one, then click a face in it.
// A photo goes to the server as text in the call itself, so that no file of it is written.
const find = (selector) => element.querySelector(selector);
const say = (text) => { find('.fault').textContent = text; };

function send(blob) {
  if (!blob) return;
  const reader = new FileReader();
  reader.onload = () => trigger('taken', { data: reader.result.split(',')[1] ?? '' });
  reader.onerror = () => say('The browser cannot read this file: choose another or a smaller one.');
  reader.readAsDataURL(blob);
}

async function startCamera() {
  try {
    const video = { width: { ideal: 1280 } };
    find('video').srcObject = await navigator.mediaDevices.getUserMedia({ video });
  } catch {
    say('The browser gives no camera: allow it for this page, or choose a photo.');
    return;
  }
  await find('video').play();
  find('.camera').hidden = false;
}

function takePicture() {
  const video = find('video');
  const canvas = document.createElement('canvas');
  canvas.width = video.videoWidth;
  canvas.height = video.videoHeight;
  canvas.getContext('2d').drawImage(video, 0, 0);
  find('.camera').hidden = true;
  video.srcObject.getTracks().forEach((track) => track.stop());
  canvas.toBlob(send, 'image/png');
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
  if (button.dataset.example) trigger('taken', { example: Number(button.dataset.example) });
  if (button.dataset.do === 'choose') find('input[type=file]').click();
  if (button.dataset.do === 'start') startCamera();
  if (button.dataset.do === 'take') takePicture();
});
