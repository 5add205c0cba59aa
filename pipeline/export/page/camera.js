"use strict";
/* The camera: each frame is answered while it runs, and one can be kept as a picture. */

const REFUSALS = {
  NotAllowedError:
    "The browser was not allowed to use the camera. Allow it in the settings of this page, then start it again.",
  NotFoundError: "No camera was found on this device.",
  NotReadableError: "The camera cannot be used now. Perhaps another program uses it.",
};
const PATIENCE = 500; // milliseconds without a frame, after which the last one is answered again

class Camera {
  /* `take` is given files, to be answered as others are. */
  constructor(student, take) {
    this.student = student;
    this.take = take;
    this.stream = null; // while it runs
    this.begun = 0; // how often
    at("start").addEventListener("click", () => this.begin());
    at("stop").addEventListener("click", () => {
      this.end("");
      at("start").focus();
    });
    at("lens").addEventListener("change", () => this.begin(at("lens").value));
    at("keep").addEventListener("click", () => this.keep());
    addEventListener("pagehide", () => this.end(""));
  }

  async begin(lens) {
    this.end("");
    const mine = (this.begun += 1);
    let stream;
    try {
      stream = await opened(lens);
    } catch (error) {
      if (mine === this.begun) this.end(wordsOf(error, "The camera cannot be started"));
      return;
    }
    if (mine !== this.begun) {
      stopped(stream); // it was stopped, or begun once more, before it was there
      return;
    }
    const [track] = stream.getVideoTracks();
    track.addEventListener("ended", () => {
      if (this.stream === stream) this.end("The camera was disconnected.");
    });
    this.stream = stream;
    at("video").srcObject = stream;
    shown(true);
    at("stop").focus();
    await offerLenses(track.getSettings().deviceId);
    await at("video").play().catch(() => {}); // stopped again meanwhile
    this.follow(stream);
  }

  async follow(stream) {
    const video = at("video");
    while (this.stream === stream) {
      await nextFrame(video);
      if (this.stream !== stream || video.videoWidth === 0) continue;
      try {
        const answer = await this.student.answer(pictureOfVideo(video));
        if (this.stream === stream) at("live").replaceChildren(...linesOf(answer));
      } catch (error) {
        if (this.stream === stream) this.end(wordsOf(error, "The camera's picture cannot be answered"));
      }
    }
  }

  /* Stops it, for a reason that is shown, if any. */
  end(words) {
    this.begun += 1;
    if (this.stream) stopped(this.stream);
    this.stream = null;
    at("video").srcObject = null;
    at("live").replaceChildren();
    shown(false);
    at("refused").textContent = words;
    at("refused").hidden = !words;
  }

  keep() {
    const video = at("video");
    const canvas = element("canvas", { width: video.videoWidth, height: video.videoHeight });
    if (!canvas.width) return;
    canvas.getContext("2d").drawImage(video, 0, 0);
    const name = `camera ${new Date().toLocaleTimeString()}.png`;
    canvas.toBlob((blob) => this.take([new File([blob], name, { type: blob.type })]), "image/png");
  }
}

/* The stream of a camera, by its id, or of the one that looks away from whoever holds the device. */
async function opened(lens) {
  if (!navigator.mediaDevices || !navigator.mediaDevices.getUserMedia) {
    throw new Told(
      "The browser gives no camera to a page at this address. It does to addresses that begin " +
        "with https:// or http://localhost."
    );
  }
  const wanted = lens ? { deviceId: { exact: lens } } : { facingMode: "environment" };
  try {
    return await navigator.mediaDevices.getUserMedia({ video: wanted, audio: false });
  } catch (error) {
    throw REFUSALS[error.name] ? new Told(REFUSALS[error.name]) : error;
  }
}

function stopped(stream) {
  for (const track of stream.getTracks()) track.stop();
}

function shown(on) {
  at("camera").hidden = !on;
  at("start").hidden = on;
}

async function offerLenses(used) {
  const found = await navigator.mediaDevices.enumerateDevices();
  const lenses = found.filter(({ kind }) => kind === "videoinput");
  const options = lenses.map(({ deviceId, label }, number) => {
    const words = label || `camera ${number + 1}`;
    return element("option", { value: deviceId, selected: deviceId === used }, words);
  });
  at("lens").replaceChildren(...options);
  at("lenses").hidden = lenses.length < 2;
}

function nextFrame(video) {
  return new Promise((resolve) => {
    if (!video.requestVideoFrameCallback) {
      requestAnimationFrame(resolve);
      return;
    }
    video.requestVideoFrameCallback(resolve);
    setTimeout(resolve, PATIENCE);
  });
}
