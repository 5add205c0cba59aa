"use strict";
/* From a picture to the square that the student sees, as labels.json says and predict.py does. */

const GREY = 114; // around a padded picture

/* The student's input, (3, side, side) one after the other. */
function prepared(picture, labels) {
  const side = labels.imgsz;
  const { width, height, left, top, pixels } = FITS[labels.fit](picture, side);
  const input = new Float32Array(3 * side * side);
  for (let channel = 0; channel < 3; channel += 1) {
    const values = valuesOf(labels.mean[channel], labels.std[channel]);
    const plane = input.subarray(channel * side * side, (channel + 1) * side * side);
    plane.fill(values[GREY]);
    for (let row = 0; row < height; row += 1) {
      const from = row * width * 4 + channel;
      const to = (row + top) * side + left;
      for (let at = 0; at < width; at += 1) plane[to + at] = values[pixels[from + at * 4]];
    }
  }
  return input;
}

function valuesOf(mean, std) {
  const values = Float32Array.from({ length: 256 }, (_, byte) => byte / 255);
  return values.map((value) => (value - Math.fround(mean)) / Math.fround(std));
}

/* Each returns RGBA pixels and where in the square they stand. */
const FITS = {
  stretch: (picture, side) => placed(resized(picture, side, side), 0, 0),

  /* The short side fills the square, and the middle is cut out. */
  crop: (picture, side) => {
    const short = Math.min(picture.width, picture.height);
    const long = (length) => (length === short ? side : Math.trunc((side * length) / short));
    const width = long(picture.width);
    const height = long(picture.height);
    const left = rounded((width - side) / 2);
    const top = rounded((height - side) / 2);
    return placed(resized(picture, width, height, { left, top, width: side, height: side }), 0, 0);
  },

  /* The long side fills the square; what is thinner than a hair becomes a line of one pixel. */
  pad: (picture, side) => {
    const least = Math.ceil(Math.max(picture.width, picture.height) / side);
    if (Math.min(picture.width, picture.height) < least) {
      picture = resized(picture, Math.max(picture.width, least), Math.max(picture.height, least));
    }
    const short = Math.min(picture.width, picture.height);
    const long = Math.max(picture.width, picture.height);
    let low = side - 1;
    let high = Math.trunc(((side - 1) * long) / short);
    if (high > side) [low, high] = [Math.trunc((side * low) / high), side];
    const [width, height] = picture.width <= picture.height ? [low, high] : [high, low];
    const left = Math.floor((side - width) / 2);
    const top = Math.floor((side - height) / 2);
    return placed(resized(picture, width, height), left, top);
  },
};

function placed(picture, left, top) {
  const { width, height } = picture;
  return { width, height, left, top, pixels: picture.rows(0, height) };
}

/* As Python rounds: halves go to the even number. */
function rounded(value) {
  const low = Math.floor(value);
  if (value - low !== 0.5) return Math.round(value);
  return low % 2 === 0 ? low : low + 1;
}
