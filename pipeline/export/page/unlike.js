"use strict";
/* How little a picture is like any of the student's classes, 0 to 1, as predict.py computes it
   from the same arrays. `given` are the features, what the last layer is given; each array of `known` is
   {shape, values}. */

const LEAST = 1e-12;

function unlikeOf(given, known) {
  const features = Float64Array.from(given); // what is left of long sums is small
  const seen = unit(features.map((value) => Math.sqrt(Math.max(value, 0))));
  const likeness = Math.max(...timesEach(known.means, seen));
  const measures = [-toBoundaries(features, known), beyond(features, known), 1 - likeness];
  if (known.outside.shape[0] > 0) {
    measures.push(Math.max(...timesEach(known.outside, seen)) - likeness);
  }
  const above = measures.map((one, at) => (one - known.middle.values[at]) / known.spread.values[at]);
  const far = above.reduce((sum, one) => sum + one, 0) / above.length - 2;
  return 1 / (1 + Math.exp(-Math.min(Math.max(far, -50), 50)));
}

/* The mean distance to where each other class would be as likely as the best, as a share of the
   distance from the centre. */
function toBoundaries(features, known) {
  const { weights, bias, centre } = known;
  const size = weights.shape[1];
  const logits = timesEach(weights, features).map((value, at) => value + bias.values[at]);
  const highest = Math.max(...logits);
  const best = logits.indexOf(highest);
  let sum = 0;
  for (let other = 0; other < logits.length; other += 1) {
    const between = distance(size, (at) => {
      return weights.values[best * size + at] - weights.values[other * size + at];
    });
    sum += (highest - logits[other]) / Math.max(between, LEAST);
  }
  const away = distance(size, (at) => features[at] - centre.values[at]);
  return sum / Math.max(logits.length - 1, 1) / Math.max(away, LEAST);
}

/* How much of the features lies in directions that pictures of training hardly have. */
function beyond(features, known) {
  const all = features.reduce((sum, value) => sum + value * value, 0);
  const within = timesEach(known.space, features).reduce((sum, value) => sum + value * value, 0);
  return Math.sqrt(Math.max(all - within, 0));
}

function timesEach(matrix, vector) {
  const [rows, size] = matrix.shape;
  return Array.from({ length: rows }, (_, row) => {
    let sum = 0;
    for (let at = 0; at < size; at += 1) sum += matrix.values[row * size + at] * vector[at];
    return sum;
  });
}

function unit(vector) {
  const length = Math.max(distance(vector.length, (at) => vector[at]), LEAST);
  return vector.map((value) => value / length);
}

function distance(size, part) {
  let sum = 0;
  for (let at = 0; at < size; at += 1) sum += part(at) ** 2;
  return Math.sqrt(sum);
}
