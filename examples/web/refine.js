/**
 * Refine keypoints to a fraction of a pixel by the small network that a model carries.
 *
 * This is kpextract/refinement.py in JavaScript. It depends on nothing.
 */

const KEY = 'kpextract.refinement'; // in the model's metadata
const PATCH_SIDE = 13; // pixels
const HALF = (PATCH_SIDE - 1) / 2;
const REACH = 2; // pixels that a point may move, each way
/** Added to the deviation of a patch, so that the noise of a flat one is not amplified. */
const FLAT = 0.02 * 255;
const GREEN = 1;
const LOG_SIGMA = [-3, 1.5];
/** Field numbers of ONNX's protocol buffers: ModelProto, StringStringEntryProto. */
const [METADATA, ENTRY_KEY, ENTRY_VALUE] = [14, 1, 2];

/**
 * @typedef {object} Layer
 * @property {Float32Array} weights [inputs, outputs]
 * @property {Float32Array} biases [outputs]
 */

/**
 * Read the refinement in a model's metadata.
 *
 * @param {Uint8Array} model content of an .onnx file
 * @returns {Layer[] | null} null if the model does not refine
 */
export function readRefinement(model) {
  const text = readMetadata(model)[KEY];
  if (text === undefined) return null;
  const arrays = JSON.parse(text).map(({ float32 }) => {
    const bytes = Uint8Array.from(atob(float32), (letter) => letter.charCodeAt(0));
    return new Float32Array(bytes.buffer); // little-endian, as every browser is
  });
  const half = arrays.length / 2;
  return arrays.slice(0, half).map((weights, i) => ({ weights, biases: arrays[half + i] }));
}

/** Return the metadata of an ONNX file by key. */
function readMetadata(model) {
  const decoder = new TextDecoder();
  const found = {};
  for (const [number, entry] of fields(model)) {
    if (number !== METADATA) continue;
    const parts = Object.fromEntries(fields(entry));
    found[decoder.decode(parts[ENTRY_KEY])] = decoder.decode(parts[ENTRY_VALUE]);
  }
  return found;
}

/** Yield number and bytes of each length-delimited field of a protocol buffer. */
function* fields(bytes) {
  let at = 0;
  const varint = () => {
    let [value, factor] = [0, 1];
    for (;;) {
      const byte = bytes[at++];
      value += (byte & 127) * factor;
      factor *= 128;
      if (!(byte & 128)) return value;
    }
  };
  while (at < bytes.length) {
    const tag = varint();
    const kind = tag & 7;
    if (kind === 0) varint();
    else if (kind === 2) {
      const length = varint();
      yield [tag >>> 3, bytes.subarray(at, at + length)];
      at += length;
    } else at += kind === 1 ? 8 : 4;
  }
}

/**
 * Move each point by what the image shows around it.
 *
 * @param {Layer[]} layers
 * @param {{data: Uint8Array, dims: readonly number[]}} input BGR, [1, H, W, 3], padded
 * @param {Float32Array} keypoints [N, 2] in its pixels
 * @returns {{keypoints: Float32Array, sigma: Float32Array}} [N, 2], and [N] the expected
 *     error per axis in pixels
 */
export function refine(layers, input, keypoints) {
  const count = keypoints.length / 2;
  const moved = new Float32Array(2 * count);
  const sigma = new Float32Array(count);
  for (let row = 0; row < count; row++) {
    const [x, y] = [keypoints[2 * row], keypoints[2 * row + 1]];
    let values = normalize(patch(input, x, y));
    layers.forEach((layer, index) => {
      values = apply(layer, values);
      if (index < layers.length - 1) values = values.map((value) => Math.max(value, 0));
    });
    moved[2 * row] = x + REACH * Math.tanh(values[0]);
    moved[2 * row + 1] = y + REACH * Math.tanh(values[1]);
    sigma[row] = Math.exp(Math.min(Math.max(values[2], LOG_SIGMA[0]), LOG_SIGMA[1]));
  }
  return { keypoints: moved, sigma };
}

/** Cut the square patch around a point, bilinear, with replicated borders. */
function patch({ data, dims: [, height, width] }, x, y) {
  const [left, top] = [Math.floor(x), Math.floor(y)];
  const [across, down] = [x - left, y - top];
  const pixel = (row, column) => {
    const r = Math.min(Math.max(row, 0), height - 1);
    const c = Math.min(Math.max(column, 0), width - 1);
    return data[3 * (r * width + c) + GREEN];
  };
  const values = new Float32Array(PATCH_SIDE ** 2);
  let to = 0;
  for (let row = top - HALF; row <= top + HALF; row++) {
    for (let column = left - HALF; column <= left + HALF; column++) {
      const upper = (1 - across) * pixel(row, column) + across * pixel(row, column + 1);
      const lower = (1 - across) * pixel(row + 1, column) + across * pixel(row + 1, column + 1);
      values[to++] = (1 - down) * upper + down * lower;
    }
  }
  return values;
}

/** Subtract the mean and divide by the deviation plus `FLAT`. */
function normalize(values) {
  const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
  const squares = values.reduce((sum, value) => sum + (value - mean) ** 2, 0);
  const scale = Math.sqrt(squares / values.length) + FLAT;
  return values.map((value) => (value - mean) / scale);
}

function apply({ weights, biases }, values) {
  const sums = Float32Array.from(biases);
  const width = sums.length;
  values.forEach((value, input) => {
    if (value === 0) return; // half of what a layer hands on
    for (let output = 0; output < width; output++) sums[output] += value * weights[input * width + output];
  });
  return sums;
}
