// Decode maps, or match two sets of features, from stdin: JSON in, JSON out.
//     node decode.mjs DECODE_JS < request.json
import { readFileSync } from 'node:fs';
import { pathToFileURL } from 'node:url';

const { decode, match } = await import(pathToFileURL(process.argv[2]));
const { maps, size, features, options } = JSON.parse(readFileSync(0, 'utf8'));

const floats = (tensor) => ({ ...tensor, data: Float32Array.from(tensor.data) });
const asArrays = (found) => Object.fromEntries(Object.entries(found).map(
  ([name, value]) => [name, ArrayBuffer.isView(value) ? Array.from(value) : value],
));

try {
  const found = maps
    ? asArrays(decode(
      Object.fromEntries(Object.entries(maps).map(([name, map]) => [name, floats(map)])),
      size, options,
    ))
    : match(...features, options);
  console.log(JSON.stringify(found));
} catch (error) {
  console.log(JSON.stringify({ error: error.message }));
}
