"use strict";
/* From a file or the camera to a picture as resize.js takes it: upright, its transparent parts over
   white, its colors as they are stored. */

const CANVAS = 1 << 22; // pixels; on phones a canvas cannot hold a whole photo

/* A sentence for whoever looks at the page. */
class Told extends Error {}

/* Throws what is told. */
async function pictureOfFile(file) {
  let bitmap;
  try {
    bitmap = await createImageBitmap(file, {
      imageOrientation: "from-image",
      colorSpaceConversion: "none",
      premultiplyAlpha: "none",
    });
  } catch {
    throw new Told("This browser cannot read it as a picture. JPEG, PNG and WebP always work.");
  }
  return pictureOf(bitmap, bitmap.width, bitmap.height);
}

function pictureOfVideo(video) {
  return pictureOf(video, video.videoWidth, video.videoHeight);
}

function pictureOf(source, width, height) {
  const canvas = document.createElement("canvas");
  const pencil = canvas.getContext("2d", { willReadFrequently: true, colorSpace: "srgb" });
  const most = Math.max(1, Math.floor(CANVAS / width));
  let held = { top: 0, count: 0, bytes: new Uint8ClampedArray(0) };

  function rows(top, count) {
    if (top < held.top || top + count > held.top + held.count) draw(top, Math.max(count, most));
    const from = (top - held.top) * width * 4;
    return held.bytes.subarray(from, from + count * width * 4);
  }

  function draw(top, count) {
    const high = Math.min(count, height - top);
    canvas.width = width;
    canvas.height = high;
    pencil.imageSmoothingEnabled = false;
    pencil.fillStyle = "#fff";
    pencil.fillRect(0, 0, width, high);
    pencil.drawImage(source, 0, top, width, high, 0, 0, width, high);
    held = { top, count: high, bytes: pencil.getImageData(0, 0, width, high).data };
  }

  return { width, height, rows, close: () => source.close && source.close() };
}
