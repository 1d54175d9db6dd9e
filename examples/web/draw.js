/** Draw keypoints and matches over two pictures that lie anywhere on the page. */

/** Radius of a keypoint in CSS pixels. */
const RADIUS = 2.5;

/**
 * Return the function from pixels of a picture to CSS pixels of the overlay.
 *
 * @param {HTMLCanvasElement} canvas of the picture, which `object-fit: contain` centers
 * @param {DOMRect} origin rectangle of the overlay
 * @returns {(x: number, y: number) => [number, number]}
 */
function projection(canvas, origin) {
  const box = canvas.getBoundingClientRect();
  const scale = Math.min(box.width / canvas.width, box.height / canvas.height);
  const left = box.left - origin.left + (box.width - scale * canvas.width) / 2;
  const top = box.top - origin.top + (box.height - scale * canvas.height) / 2;
  // (0, 0) is the center of the top-left pixel, and CSS counts from its corner.
  return (x, y) => [left + scale * (x + 0.5), top + scale * (y + 0.5)];
}

/**
 * Draw everything anew.
 *
 * @param {HTMLCanvasElement} overlay
 * @param {{canvas: HTMLCanvasElement, features: import('./decode.js').Features | null}[]} slots
 * @param {[number, number][]} pairs
 * @param {{drawPoints: boolean, drawMatches: boolean}} options
 */
export function draw(overlay, slots, pairs, options) {
  const origin = overlay.getBoundingClientRect();
  overlay.width = Math.round(origin.width * devicePixelRatio);
  overlay.height = Math.round(origin.height * devicePixelRatio);
  const context = overlay.getContext('2d');
  context.scale(devicePixelRatio, devicePixelRatio);
  const to = slots.map(({ canvas }) => projection(canvas, origin));
  const places = slots.map(({ features }, side) => features ? place(features, to[side]) : []);
  if (options.drawPoints) {
    places.forEach((points, side) => drawPoints(context, points, slots[side].features));
  }
  if (options.drawMatches) drawLines(context, places, pairs, slots[0]);
}

function place({ keypoints, count }, to) {
  return Array.from({ length: count }, (_, row) => to(keypoints[2 * row], keypoints[2 * row + 1]));
}

/** Draw a ring at each keypoint, from warm (best) to cold (last) by rank. */
function drawPoints(context, points, features) {
  context.lineWidth = 1.2;
  for (let row = points.length - 1; row >= 0; row--) {
    const hue = 20 + (190 * row) / Math.max(features.count, 1);
    context.strokeStyle = `hsl(${hue} 95% 60% / 0.85)`;
    ring(context, points[row], RADIUS);
    context.stroke();
  }
}

/** Draw a line per match, its color by where it starts in the first picture. */
function drawLines(context, places, pairs, { features, canvas }) {
  context.lineWidth = 1;
  for (const [i, j] of pairs) {
    const hue = 90 + (230 * features.keypoints[2 * i + 1]) / canvas.height;
    context.strokeStyle = `hsl(${hue} 90% 62% / 0.55)`;
    context.beginPath();
    context.moveTo(...places[0][i]);
    context.lineTo(...places[1][j]);
    context.stroke();
    context.fillStyle = `hsl(${hue} 90% 66%)`;
    for (const point of [places[0][i], places[1][j]]) {
      ring(context, point, RADIUS * 0.8);
      context.fill();
    }
  }
}

function ring(context, [x, y], radius) {
  context.beginPath();
  context.arc(x, y, radius, 0, 2 * Math.PI);
}
