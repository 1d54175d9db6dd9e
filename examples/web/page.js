/** Connect the page: pictures and cameras in, keypoints, matches and milliseconds out. */

import { match } from './decode.js';
import { draw } from './draw.js';
import { Extractor } from './extractor.js';

/** Pixels of the longer side; larger pictures are shrunk, which keeps the page quick. */
const MAX_SIZE = 1024;
const CAMERA_SIZE = 640;
const SAMPLES = ['street-left.jpg', 'street-right.jpg'];

const parameters = new URLSearchParams(location.search);
const find = (selector) => document.querySelector(selector);
const options = find('#options');
const slots = ['first', 'second'].map((id) => makeSlot(find(`#${id}`)));

/** What the page knows; also for the console and for the tests. */
const state = { extractor: null, slots, pairs: [], times: {}, isBusy: true };
globalThis.kpextract = state;

/**
 * @typedef {object} Slot One of the two pictures.
 * @property {ImageData | null} image
 * @property {import('./extractor.js').Output | null} output of the network for it
 * @property {import('./decode.js').Features | null} features
 * @property {MediaStream | null} stream of the camera, while it runs
 */

/** @returns {Slot} */
function makeSlot(root) {
  return {
    root, image: null, output: null, features: null, stream: null,
    canvas: root.querySelector('canvas'),
    video: root.querySelector('video'),
    status: root.querySelector('output'),
  };
}

/** Read the options that the form shows. */
function read() {
  const value = (name) => Number(options.elements[name].value);
  return {
    maxKeypoints: value('maxKeypoints'),
    minScore: value('minScore'),
    maxRatio: value('maxRatio'),
    drawPoints: options.elements.drawPoints.checked,
    drawMatches: options.elements.drawMatches.checked,
  };
}

/** Take a picture, a video frame or a bitmap as the slot's picture. */
function take(slot, source, width, height, maxSize) {
  const scale = Math.min(1, maxSize / Math.max(width, height));
  slot.canvas.width = Math.round(scale * width);
  slot.canvas.height = Math.round(scale * height);
  slot.canvas.style.aspectRatio = `${slot.canvas.width} / ${slot.canvas.height}`;
  const context = slot.canvas.getContext('2d', { willReadFrequently: true });
  context.imageSmoothingQuality = 'high';
  context.drawImage(source, 0, 0, slot.canvas.width, slot.canvas.height);
  slot.image = context.getImageData(0, 0, slot.canvas.width, slot.canvas.height);
  slot.output = slot.features = null;
  state.pairs = [];
  slot.root.classList.add('filled');
}

/** Open a file or a downloaded blob, turned by its EXIF orientation. */
async function open(slot, blob) {
  let bitmap;
  try {
    bitmap = await createImageBitmap(blob, { colorSpaceConversion: 'none' });
  } catch {
    throw new Error(
      `${blob.name ?? 'The file'} is not a picture that this browser reads. ` +
        'Open a JPEG, PNG or WebP file.',
    );
  }
  stopCamera(slot);
  take(slot, bitmap, bitmap.width, bitmap.height, MAX_SIZE);
  bitmap.close();
  await update();
}

/** Start the camera of a slot, or stop it and keep its last frame. */
async function toggleCamera(slot) {
  if (slot.stream) return stopCamera(slot);
  if (!navigator.mediaDevices) {
    throw new Error('Cameras need a secure page: serve it over https or from localhost.');
  }
  try {
    slot.stream = await navigator.mediaDevices.getUserMedia({
      video: { width: CAMERA_SIZE, facingMode: 'environment' },
    });
  } catch (error) {
    throw new Error(`The camera cannot be opened: ${error.message}. Allow it, or open a picture.`);
  }
  slot.video.hidden = false;
  slot.video.srcObject = slot.stream;
  await slot.video.play();
  showCamera(slot);
  const { stream } = slot;
  try {
    while (slot.stream === stream) { // another one after a quick stop and start
      const { videoWidth, videoHeight } = slot.video;
      take(slot, slot.video, videoWidth, videoHeight, CAMERA_SIZE);
      await update();
      await new Promise(requestAnimationFrame);
    }
  } finally {
    if (slot.stream === stream) stopCamera(slot);
  }
}

function stopCamera(slot) {
  slot.stream?.getTracks().forEach((track) => track.stop());
  slot.stream = slot.video.srcObject = null;
  slot.video.hidden = true;
  showCamera(slot);
}

function showCamera(slot) {
  const button = slot.root.querySelector('.camera');
  button.textContent = slot.stream ? 'Freeze' : 'Camera';
  button.setAttribute('aria-pressed', String(Boolean(slot.stream)));
}

/** The network runs one image at a time: a later update waits for the earlier one. */
let queue = Promise.resolve();
function update() {
  queue = queue.catch(() => {}).then(compute);
  return queue;
}

async function compute() {
  if (!state.extractor) return;
  state.isBusy = true;
  try {
    const chosen = read();
    for (const slot of slots.filter(({ image }) => image)) await detect(slot, chosen);
    const [first, second] = slots.map(({ features }) => features);
    const clock = performance.now();
    state.pairs = first && second ? match(first, second, chosen) : [];
    state.times.matching = first && second ? performance.now() - clock : undefined;
    show();
  } finally {
    state.isBusy = false;
  }
}

/** Run the network if the picture is new, and decode by the options of the form. */
async function detect(slot, chosen) {
  const { image } = slot;
  let clock = performance.now();
  if (!slot.output) {
    slot.output = await state.extractor.infer(image);
    state.times.network = performance.now() - clock;
  }
  clock = performance.now();
  slot.features = state.extractor.decode(slot.output, chosen);
  state.times.decoding = performance.now() - clock;
}

/** Write the numbers and draw. */
function show() {
  const milliseconds = (value) => value === undefined ? '–' : `${value.toFixed(1)} ms`;
  const counts = slots.map(({ features }) => features?.count ?? '–');
  find('#keypoints').textContent = counts.join(' / ');
  find('#matches').textContent = slots.every(({ features }) => features) ? state.pairs.length : '–';
  for (const name of ['network', 'decoding', 'matching']) {
    find(`#${name}`).textContent = milliseconds(state.times[name]);
  }
  for (const { image, status } of slots) {
    status.textContent = image ? `${image.width} × ${image.height} px` : '';
  }
  redraw();
}

function redraw() {
  draw(find('#overlay'), slots, state.pairs, read());
}

/** Run an action of the user, and say in one sentence what is wrong with it. */
async function run(action) {
  const message = find('#message');
  message.hidden = true;
  try {
    await action();
  } catch (error) {
    message.textContent = error.message;
    message.hidden = false;
  }
}

function listen() {
  for (const slot of slots) {
    slot.root.querySelector('input').addEventListener('change', ({ target }) => {
      const [file] = target.files;
      target.value = ''; // so that the same file can be opened again
      if (file) run(() => open(slot, file));
    });
    slot.root.querySelector('.camera').addEventListener('click', () => run(() => toggleCamera(slot)));
    slot.root.addEventListener('dragover', (event) => {
      event.preventDefault();
      slot.root.classList.add('target');
    });
    slot.root.addEventListener('dragleave', () => slot.root.classList.remove('target'));
    slot.root.addEventListener('drop', (event) => {
      event.preventDefault();
      slot.root.classList.remove('target');
      const [file] = event.dataTransfer.files;
      if (file) run(() => open(slot, file));
    });
  }
  find('#sample').addEventListener('click', () => run(loadSamples));
  options.addEventListener('input', () => {
    showOptions();
    run(update);
  });
  new ResizeObserver(redraw).observe(find('#stage'));
}

async function loadSamples() {
  const blobs = await Promise.all(SAMPLES.map(async (name) => {
    const answer = await fetch(name);
    if (!answer.ok) throw new Error(`There is no ${name} beside index.html; the README says how.`);
    return answer.blob();
  }));
  for (const [index, blob] of blobs.entries()) await open(slots[index], blob);
}

function showOptions() {
  for (const input of options.querySelectorAll('input[type="range"]')) {
    input.parentElement.querySelector('.value').textContent = input.value;
  }
}

async function start() {
  showOptions();
  listen();
  const engine = find('#engine');
  const model = parameters.get('model') ?? 'small.onnx';
  try {
    state.extractor = await Extractor.load(model, parameters.get('backend') ?? 'auto');
  } catch (error) {
    engine.textContent = 'no model';
    throw error;
  }
  const { backend, threads } = state.extractor;
  const where = backend === 'webgpu' ? 'WebGPU' : `WebAssembly, ${threads} thread${threads > 1 ? 's' : ''}`;
  engine.textContent = `${model.split('/').at(-1)} on ${where}`;
  state.isBusy = false;
  await update();
}

run(start);
