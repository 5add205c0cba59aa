"use strict";
/* Pillow's bilinear resize of 8-bit pixels, to the bit (13.0, its src/libImaging/Resample.c says
   how): a triangle as wide as the pixels that one new pixel covers, weights of 22 bits, along the
   rows, rounded to bytes, and along the columns. What a canvas makes of a picture differs from one
   browser to the next, and a student answers otherwise to it.

   A picture is {width, height, rows(top, count)}, whose rows are RGBA bytes; alpha is not looked
   at. */

const WEIGHT_BITS = 22;
const STRIP = 1 << 20; // pixels that are asked for at once

/* The picture at another size, or a part of that: {left, top, width, height} in new pixels, all
   within it. Only the part is computed. */
function resized(picture, width, height, part = { left: 0, top: 0, width, height }) {
  const across = triangles(picture.width, width, part.left, part.width);
  const down = triangles(picture.height, height, part.top, part.height);
  // Where most of the work is in the columns, Pillow begins with them; 12.2 does not yet.
  const fewer = picture.height - height;
  const columnsFirst = fewer > 0 && fewer > (picture.width - width) * 2;
  const bytes = (columnsFirst ? byColumns : byRows)(picture, across, down);
  return inMemory(part.width, part.height, bytes);
}

function byRows(picture, across, down) {
  const width = across.starts.length;
  const first = down.starts[0];
  const last = down.starts.at(-1) + down.counts.at(-1);
  const narrow = new Uint8ClampedArray((last - first) * width * 4);
  const strip = Math.max(1, Math.floor(STRIP / picture.width));
  for (let top = first; top < last; top += strip) {
    const count = Math.min(strip, last - top);
    const to = narrow.subarray((top - first) * width * 4);
    alongRows(picture.rows(top, count), picture.width, count, across, to);
  }
  const { rows } = inMemory(width, last - first, narrow);
  return alongColumns((top, count) => rows(top - first, count), width, down);
}

function byColumns(picture, across, down) {
  const height = down.starts.length;
  const flat = alongColumns(picture.rows, picture.width, down);
  const bytes = new Uint8ClampedArray(across.starts.length * height * 4);
  alongRows(flat, picture.width, height, across, bytes);
  return bytes;
}

/* A picture whose RGBA bytes are at hand. */
function inMemory(width, height, bytes) {
  const rows = (top, count) => bytes.subarray(top * width * 4, (top + count) * width * 4);
  return { width, height, rows };
}

/* For `count` new pixels from `first` on, of `size`: which of the `from` old ones each is made of,
   and their weights. */
function triangles(from, size, first, count) {
  const scale = from / size;
  const reach = Math.max(scale, 1);
  const most = Math.ceil(reach) * 2 + 1;
  const starts = new Int32Array(count);
  const counts = new Int32Array(count);
  const weights = new Int32Array(count * most);
  const shares = new Float64Array(most);
  for (let at = 0; at < count; at += 1) {
    const centre = (first + at + 0.5) * scale;
    const start = Math.max(Math.trunc(centre - reach + 0.5), 0);
    const covered = Math.min(Math.trunc(centre + reach + 0.5), from) - start;
    let sum = 0;
    for (let one = 0; one < covered; one += 1) {
      const away = Math.abs((one + start - centre + 0.5) * (1 / reach));
      shares[one] = away < 1 ? 1 - away : 0;
      sum += shares[one];
    }
    for (let one = 0; one < covered; one += 1) {
      weights[at * most + one] = Math.trunc((shares[one] / sum) * (1 << WEIGHT_BITS) + 0.5);
    }
    starts[at] = start;
    counts[at] = covered;
  }
  return { starts, counts, weights, most };
}

/* Writes `count` rows, each `width` pixels in `from`, as rows of fewer or more to `to`. */
function alongRows(from, width, count, across, to) {
  for (let row = 0; row < count; row += 1) {
    alongRow(from, row * width * 4, across, to, row * across.starts.length * 4);
  }
}

function alongRow(from, fromAt, across, to, toAt) {
  const { starts, counts, weights, most } = across;
  for (let at = 0; at < starts.length; at += 1) {
    let red = 1 << (WEIGHT_BITS - 1);
    let green = red;
    let blue = red;
    let pixel = fromAt + starts[at] * 4;
    for (let one = at * most; one < at * most + counts[at]; one += 1) {
      red += from[pixel] * weights[one];
      green += from[pixel + 1] * weights[one];
      blue += from[pixel + 2] * weights[one];
      pixel += 4;
    }
    to[toAt] = red >> WEIGHT_BITS;
    to[toAt + 1] = green >> WEIGHT_BITS;
    to[toAt + 2] = blue >> WEIGHT_BITS;
    to[toAt + 3] = 255;
    toAt += 4;
  }
}

/* Returns rows of `width` pixels, of those that `rows` has. */
function alongColumns(rows, width, down) {
  const { starts, counts, weights, most } = down;
  const to = new Uint8ClampedArray(starts.length * width * 4);
  const sums = new Int32Array(width * 4);
  for (let at = 0; at < starts.length; at += 1) {
    const from = rows(starts[at], counts[at]);
    sums.fill(1 << (WEIGHT_BITS - 1));
    for (let one = 0; one < counts[at]; one += 1) {
      const weight = weights[at * most + one];
      const row = one * width * 4;
      for (let byte = 0; byte < sums.length; byte += 1) sums[byte] += from[row + byte] * weight;
    }
    const row = at * width * 4;
    for (let byte = 0; byte < sums.length; byte += 1) to[row + byte] = sums[byte] >> WEIGHT_BITS;
  }
  return to;
}
