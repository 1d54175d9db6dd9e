// Refine points by the refinement of a model, from stdin: JSON in, JSON out.
//     node refine.mjs REFINE_JS < request.json
import { readFileSync } from 'node:fs';
import { pathToFileURL } from 'node:url';

const { readRefinement, refine } = await import(pathToFileURL(process.argv[2]));
const { model, image, dims, keypoints } = JSON.parse(readFileSync(0, 'utf8'));

const layers = readRefinement(new Uint8Array(readFileSync(model)));
if (layers) {
  const data = new Uint8Array(readFileSync(image));
  const found = refine(layers, { data, dims }, Float32Array.from(keypoints));
  console.log(JSON.stringify({
    keypoints: Array.from(found.keypoints), sigma: Array.from(found.sigma),
  }));
} else console.log('null');
