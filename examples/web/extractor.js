/** Run the network with onnxruntime-web: WebGPU where there is one, else WebAssembly. */

import { decode, STRIDE } from './decode.js';
import { readRefinement, refine } from './refine.js';

/** Below two cells per side there is no room for a point. */
const MIN_SIDE = 16;
const MAX_THREADS = 4;
const DIST = './node_modules/onnxruntime-web/dist';

export class Extractor {
  /**
   * Load a model.
   *
   * @param {string} url of a dense graph in float32, as models/small.onnx
   * @param {string} backend 'auto', 'webgpu' or 'wasm'
   * @returns {Promise<Extractor>}
   */
  static async load(url, backend = 'auto') {
    const bytes = await fetchModel(url);
    checkIsFloat(bytes, url);
    const wanted = backend === 'auto' ? await availableBackends() : [backend];
    for (const name of wanted) {
      try {
        return await Extractor.#start(bytes, name);
      } catch (error) {
        if (name === wanted.at(-1)) throw error;
      }
    }
  }

  static async #start(bytes, backend) {
    const ort = await import(`${DIST}/ort.${backend}.min.mjs`);
    // Threads need shared memory, which browsers allow to isolated pages only.
    const threads = globalThis.crossOriginIsolated
      ? Math.min(MAX_THREADS, navigator.hardwareConcurrency) : 1;
    ort.env.wasm.numThreads = threads;
    const session = await ort.InferenceSession.create(bytes, {
      executionProviders: [backend],
      logSeverityLevel: 3,
    });
    if (!session.outputNames.includes('score_logits')) {
      throw new Error(
        'This model decodes by itself (it is sparse), and the page decodes dense ones. ' +
          'Use models/small.onnx.',
      );
    }
    return new Extractor(ort, session, readRefinement(bytes), backend, threads);
  }

  constructor(ort, session, refinement, backend, threads) {
    this.ort = ort;
    this.session = session;
    /** Layers of the model's refinement, or null. */
    this.refinement = refinement;
    /** What really runs: 'webgpu' or 'wasm'. */
    this.backend = backend;
    this.threads = threads;
  }

  /**
   * Run the network on one image.
   *
   * @param {ImageData} image at least 16 pixels per side
   * @returns {Promise<Output>}
   *
   * @typedef {object} Output
   * @property {import('./decode.js').DenseMaps} maps
   * @property {{data: Uint8Array, dims: number[]}} input what the network saw
   * @property {{width: number, height: number}} size of the image before padding
   */
  async infer(image) {
    const [data, dims] = toInput(image);
    const maps = await this.session.run({ image: new this.ort.Tensor('uint8', data, dims) });
    return { maps, input: { data, dims }, size: { width: image.width, height: image.height } };
  }

  /**
   * Decode the network's output, as often as options change.
   *
   * @param {Output} output
   * @param {{maxKeypoints?: number, minScore?: number}} [options]
   * @returns {import('./decode.js').Features}
   */
  decode({ maps, input, size }, options) {
    const move = this.refinement && ((keypoints) => refine(this.refinement, input, keypoints));
    return decode(maps, size, { ...options, refine: move });
  }

  /**
   * Detect keypoints in one image.
   *
   * @param {ImageData} image
   * @param {{maxKeypoints?: number, minScore?: number}} [options]
   * @returns {Promise<import('./decode.js').Features>}
   */
  async detect(image, options) {
    return this.decode(await this.infer(image), options);
  }
}

/**
 * Convert RGBA to the network's BGR, padded right and bottom to multiples of 8.
 *
 * The last row and column are replicated, since a black margin would be an edge.
 *
 * @param {ImageData} image
 * @returns {[Uint8Array, number[]]} data and dimensions [1, H, W, 3]
 */
export function toInput({ data, width, height }) {
  if (Math.min(width, height) < MIN_SIDE) {
    throw new Error(
      `A picture needs at least ${MIN_SIDE} pixels per side, this one has ` +
        `${width}x${height}. Open a larger one.`,
    );
  }
  const [columns, rows] = [width, height].map((n) => Math.ceil(n / STRIDE) * STRIDE);
  const pixels = new Uint8Array(rows * columns * 3);
  let to = 0;
  for (let row = 0; row < rows; row++) {
    const start = Math.min(row, height - 1) * width;
    for (let column = 0; column < columns; column++) {
      const from = 4 * (start + Math.min(column, width - 1));
      pixels[to++] = data[from + 2];
      pixels[to++] = data[from + 1];
      pixels[to++] = data[from];
    }
  }
  return [pixels, [1, rows, columns, 3]];
}

async function fetchModel(url) {
  const answer = await fetch(url);
  if (!answer.ok) {
    throw new Error(
      `There is no model at ${url} (HTTP ${answer.status}). Copy models/small.onnx ` +
        'beside index.html, as the README says.',
    );
  }
  return new Uint8Array(await answer.arrayBuffer());
}

/** Throw if a model computes in 8-bit integers. */
function checkIsFloat(bytes, url) {
  // Names of operators are plain text in the file.
  if (new TextDecoder('latin1').decode(bytes).includes('QuantizeLinear')) {
    throw new Error(
      `${url} computes in 8-bit integers, which is slower than float32 in WebAssembly ` +
        'and puts keypoints up to 4.5 pixels off on WebGPU. Use models/small.onnx.',
    );
  }
}

/** Return the backends to try, best first. */
async function availableBackends() {
  const adapter = await navigator.gpu?.requestAdapter();
  // A software GPU is slower than WebAssembly.
  const isReal = adapter && !adapter.info?.isFallbackAdapter;
  return isReal ? ['webgpu', 'wasm'] : ['wasm'];
}
