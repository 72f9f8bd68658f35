// Fits a picture to the model's input size, in bytes. Pixels are those of Pillow's resizing; sizes are those of torchvision and
// timm. A canvas resizes by other rules, so the model would see other pixels than in training.
"use strict";

// Returns half of n; ties are rounded to even.
function half(n) {
  return Math.floor(n / 2) + (n % 4 === 3 ? 1 : 0);
}

function roundTiesToEven(x) {
  const low = Math.floor(x);
  const rest = x - low;
  return rest > 0.5 || (rest === 0.5 && low % 2 === 1) ? low + 1 : low;
}

// Returns the smallest size with the aspect ratio of `from` that covers `least`.
function around(from, least) {
  if (least[0] === least[1]) {
    const shorter = Math.min(from[0], from[1]);
    return from.map((side) => Math.floor((least[0] * side) / shorter));
  }
  const ratio = Math.min(from[0] / least[0], from[1] / least[1]);
  return from.map((side, axis) => Math.max(roundTiesToEven(side / ratio), least[axis]));
}

// Returns the largest size with the aspect ratio of the first size that fits into the second.
function within([height, width], [mostHeight, mostWidth]) {
  const side = (ratio, other) => Math.max(roundTiesToEven(ratio * other), 1);
  if (width / height > mostWidth / mostHeight) {
    return [Math.min(side(height / width, mostWidth), mostHeight), mostWidth];
  }
  return [mostHeight, Math.min(side(width / height, mostHeight), mostWidth)];
}

// Returns for each side: its resized length, the first pixel and the number of pixels of it that are kept, and their position in
// the result.
function sides({ size_px: target, fit, crop_fraction: cropFraction }, from) {
  let resized = target;
  if (fit === "crop") {
    resized = around(from, target.map((side) => Math.floor(side / cropFraction)));
  } else if (fit === "pad") {
    resized = within(from, target);
  }
  return [0, 1].map((axis) => ({
    resized: resized[axis],
    start: half(Math.max(0, resized[axis] - target[axis])),
    shown: Math.min(resized[axis], target[axis]),
    place: half(Math.max(0, target[axis] - resized[axis])),
  }));
}

function triangle(x) {
  return Math.max(0, 1 - Math.abs(x));
}

function cubic(x) {
  const a = -0.5;
  const d = Math.abs(x);
  if (d < 1) {
    return ((a + 2) * d - (a + 3)) * d * d + 1;
  }
  return d < 2 ? (((d - 5) * d + 8) * d - 4) * a : 0;
}

// Returns, for each of `shown` resized pixels from `start` on, the first pixel of the picture that counts, and the weights of
// that pixel and the following ones.
function taps(from, { resized, start, shown }, interpolation) {
  const scale = from / resized;
  const wide = interpolation === "linear" ? 1 : Math.max(scale, 1);
  const [curve, reach] = interpolation === "bicubic" ? [cubic, 2 * wide] : [triangle, wide];
  return Array.from({ length: shown }, (_, i) => {
    const centre = (start + i + 0.5) * scale;
    const first = Math.max(0, Math.floor(centre - reach + 0.5));
    const last = Math.min(from, Math.floor(centre + reach + 0.5));
    const weights = [];
    for (let at = first; at < last; at += 1) {
      weights.push(curve((at - centre + 0.5) / wide));
    }
    const sum = weights.reduce((total, weight) => total + weight, 0);
    return { first, weights: weights.map((weight) => weight / sum) };
  });
}

function toByte(x) {
  return Math.min(255, Math.max(0, Math.floor(x + 0.5)));
}

// Returns the picture in the model's size, as RGB bytes. `pixels` are RGBA bytes of `height` x `width`. Each row is resized first
// and rounded to bytes, then each column.
function fitted(pixels, height, width, preprocess) {
  const [rows, columns] = sides(preprocess, [height, width]);
  const across = taps(width, columns, preprocess.interpolation);
  const between = new Uint8Array(height * columns.shown * 3);
  for (let y = 0; y < height; y += 1) {
    for (let x = 0; x < columns.shown; x += 1) {
      const { first, weights } = across[x];
      for (let channel = 0; channel < 3; channel += 1) {
        let sum = 0;
        for (let i = 0; i < weights.length; i += 1) {
          sum += weights[i] * pixels[(y * width + first + i) * 4 + channel];
        }
        between[(y * columns.shown + x) * 3 + channel] = toByte(sum);
      }
    }
  }
  const [targetRows, targetColumns] = preprocess.size_px;
  const out = new Uint8Array(targetRows * targetColumns * 3).fill(255);
  const down = taps(height, rows, preprocess.interpolation);
  for (let y = 0; y < rows.shown; y += 1) {
    const { first, weights } = down[y];
    for (let x = 0; x < columns.shown; x += 1) {
      for (let channel = 0; channel < 3; channel += 1) {
        let sum = 0;
        for (let i = 0; i < weights.length; i += 1) {
          sum += weights[i] * between[((first + i) * columns.shown + x) * 3 + channel];
        }
        out[((y + rows.place) * targetColumns + x + columns.place) * 3 + channel] = toByte(sum);
      }
    }
  }
  return out;
}
