/**
 * Decode the network's dense maps into keypoints, and match two sets of them.
 *
 * This is kpextract/decode.py and kpextract/matching.py in JavaScript, for one image
 * without mask, octaves or minimum distance. It depends on nothing, so it runs in
 * browsers, workers and Node alike.
 */

/** Pixels per cell. */
export const STRIDE = 8;
/** Default minimum score; flat, black and faintly noisy images stay below it. */
export const MIN_SCORE = 0.35;
export const MAX_KEYPOINTS = 1024;
/**
 * Pixels. A point within this distance of a match shows the same place, so it is no
 * rival of that match.
 */
const RIVAL_DISTANCE = 4;
/** Keeps the norm of an all-zero descriptor from dividing by zero. */
const TINY = 1e-12;

/**
 * @typedef {object} Tensor
 * @property {Float32Array} data
 * @property {readonly number[]} dims
 *
 * @typedef {object} DenseMaps Output of the network for one image.
 * @property {Tensor} score_logits [1, 1, H/8, W/8]
 * @property {Tensor} positions [1, 2, H/8, W/8], x then y, pixels of the padded input
 * @property {Tensor} descriptor_map [1, D, H/s, W/s], not normalized
 *
 * @typedef {object} Features Keypoints of one image, best first.
 * @property {number} count N
 * @property {number} dimension D
 * @property {Float32Array} keypoints [N, 2], x and y in pixels; (0, 0) is the center of
 *     the top-left pixel
 * @property {Float32Array} scores [N], in [0, 1]
 * @property {Float32Array | null} sigma [N], expected error per axis in pixels; null for
 *     a model without refinement
 * @property {Float32Array} descriptors [N, D], unit rows
 */

/**
 * Decode one image's maps.
 *
 * Cells are ranked by logit, since scores saturate; ties keep the order of the grid. A
 * point outside the image, as in the padding, is dropped before the budget is spent.
 *
 * @param {DenseMaps} maps
 * @param {{width: number, height: number}} size of the image before padding, in pixels
 * @param {{maxKeypoints?: number, minScore?: number, refine?: Refine | null}} [options]
 *     `refine` moves the points that were kept; rank and descriptors stay
 * @returns {Features}
 *
 * @typedef {(keypoints: Float32Array) => {keypoints: Float32Array, sigma: Float32Array}} Refine
 */
export function decode(maps, size, options = {}) {
  const { maxKeypoints = MAX_KEYPOINTS, minScore = MIN_SCORE, refine } = options;
  const logits = maps.score_logits.data;
  const positions = maps.positions.data;
  const cells = logits.length;
  const candidates = [];
  for (let cell = 0; cell < cells; cell++) {
    const x = positions[cell];
    const y = positions[cells + cell];
    if (!Number.isFinite(logits[cell] + x + y)) {
      throw new Error(
        `The network's output is not finite in cell ${cell}: its weights are corrupt, ` +
          'or the GPU computes it wrongly. Try the page with ?backend=wasm.',
      );
    }
    if (isInside(x, size.width) && isInside(y, size.height) &&
        sigmoid(logits[cell]) >= minScore) {
      candidates.push(cell);
    }
  }
  candidates.sort((a, b) => logits[b] - logits[a] || a - b);
  const kept = candidates.slice(0, maxKeypoints);
  const keypoints = clipped(Float32Array.from({ length: 2 * kept.length }, (_, i) =>
    positions[(i % 2) * cells + kept[i >> 1]]), size);
  const refined = refine?.(keypoints);
  return {
    count: kept.length,
    dimension: maps.descriptor_map.dims[1],
    keypoints: refined ? clipped(refined.keypoints, size) : keypoints,
    scores: Float32Array.from(kept, (cell) => sigmoid(logits[cell])),
    sigma: refined?.sigma ?? null,
    descriptors: sample(maps.descriptor_map, keypoints, maps.score_logits.dims[2]),
  };
}

/** Return points clipped to the image. */
function clipped(points, { width, height }) {
  return points.map((value, i) => clip(value, (i % 2 ? height : width) - 1));
}

/**
 * Sample unit descriptors at sub-pixel points, bilinear, with replicated borders.
 *
 * @param {Tensor} map [1, D, H/s, W/s]
 * @param {Float32Array} keypoints [N, 2] in pixels of the padded input
 * @param {number} gridHeight H/8, which determines the map's stride s
 * @returns {Float32Array} [N, D]
 */
function sample(map, keypoints, gridHeight) {
  const [, dimension, height, width] = map.dims;
  const stride = (STRIDE * gridHeight) / height;
  const count = keypoints.length / 2;
  const descriptors = new Float32Array(count * dimension);
  for (let row = 0; row < count; row++) {
    const u = clip((keypoints[2 * row] + 0.5) / stride - 0.5, width - 1);
    const v = clip((keypoints[2 * row + 1] + 0.5) / stride - 0.5, height - 1);
    const left = Math.floor(u);
    const top = Math.floor(v);
    const right = Math.min(left + 1, width - 1);
    const bottom = Math.min(top + 1, height - 1);
    const [across, down] = [u - left, v - top];
    const own = descriptors.subarray(row * dimension, (row + 1) * dimension);
    let squares = 0;
    for (let channel = 0; channel < dimension; channel++) {
      const upper = (channel * height + top) * width;
      const lower = (channel * height + bottom) * width;
      own[channel] =
        (1 - down) * ((1 - across) * map.data[upper + left] + across * map.data[upper + right]) +
        down * ((1 - across) * map.data[lower + left] + across * map.data[lower + right]);
      squares += own[channel] ** 2;
    }
    const norm = Math.max(Math.sqrt(squares), TINY);
    for (let channel = 0; channel < dimension; channel++) own[channel] /= norm;
  }
  return descriptors;
}

/**
 * Match mutual nearest neighbors by cosine similarity.
 *
 * @param {Features} first
 * @param {Features} second
 * @param {{maxRatio?: number}} [options] maximum ratio of a descriptor's distance to its
 *     match to its distance to the nearest rival, a keypoint more than 4 pixels from the
 *     match; 1 keeps all, and 0.9 suits these descriptors
 * @returns {[number, number][]} pairs of indices, in the order of `first`
 */
export function match(first, second, { maxRatio = 1 } = {}) {
  const nearest = new Int32Array(first.count).fill(-1);
  const isClear = new Uint8Array(first.count);
  const nearestBack = new Int32Array(second.count).fill(-1);
  const best = new Float32Array(second.count).fill(-Infinity);
  const row = new Float32Array(second.count);
  for (let i = 0; i < first.count; i++) {
    fillSimilarities(row, first, i, second);
    for (let j = 0; j < second.count; j++) {
      if (nearest[i] < 0 || row[j] > row[nearest[i]]) nearest[i] = j;
      if (row[j] > best[j]) [best[j], nearestBack[j]] = [row[j], i];
    }
    isClear[i] = maxRatio >= 1 || second.count === 0 ||
      distance(row[nearest[i]]) <=
        maxRatio * distance(bestRival(row, nearest[i], second.keypoints)) ? 1 : 0;
  }
  const pairs = [];
  for (let i = 0; i < first.count; i++) {
    if (isClear[i] && nearestBack[nearest[i]] === i) pairs.push([i, nearest[i]]);
  }
  return pairs;
}

/** Write the cosines of descriptor `i` of `first` with all of `second` into `row`. */
function fillSimilarities(row, first, i, second) {
  const { dimension } = first;
  const [own, others] = [first.descriptors, second.descriptors];
  for (let j = 0; j < row.length; j++) {
    let sum = 0;
    for (let a = i * dimension, b = j * dimension; b < (j + 1) * dimension; a++, b++) {
      sum += own[a] * others[b];
    }
    row[j] = sum;
  }
}

/** Return the best similarity among the keypoints far from the nearest, or -Infinity. */
function bestRival(row, nearest, keypoints) {
  const [x, y] = [keypoints[2 * nearest], keypoints[2 * nearest + 1]];
  let best = -Infinity;
  for (let j = 0; j < row.length; j++) {
    if (row[j] <= best) continue;
    const [right, down] = [keypoints[2 * j] - x, keypoints[2 * j + 1] - y];
    if (right * right + down * down > RIVAL_DISTANCE ** 2) best = row[j];
  }
  return best;
}

const distance = (cosine) => Math.sqrt(Math.max(2 - 2 * cosine, 0));
const isInside = (value, length) => value >= -0.5 && value < length - 0.5;
const clip = (value, last) => Math.min(Math.max(value, 0), last);
const sigmoid = (logit) => 1 / (1 + Math.exp(-logit));
