"use strict";
/* The camera: each frame is answered while it runs, and one can be kept as a picture. */

const REFUSALS = {
  NotAllowedError:
    "The browser was not allowed to use the camera. Allow it in the settings of this page, then start it again.",
  NotFoundError: "No camera was found on this device.",
  NotReadableError: "The camera cannot be used now. Perhaps another program uses it.",
};

function prepareCamera(student, take) {
  const video = at("video");
  let running = null; // the stream

  at("start").addEventListener("click", () => begin());
  at("stop").addEventListener("click", () => {
    end("");
    at("start").focus();
  });
  at("lens").addEventListener("change", () => begin(at("lens").value));
  at("keep").addEventListener("click", keep);
  addEventListener("pagehide", () => end(""));

  async function begin(lens) {
    end("");
    if (!navigator.mediaDevices || !navigator.mediaDevices.getUserMedia) {
      tell(
        "The browser gives no camera to a page at this address. It does to addresses that begin " +
          "with https:// or http://localhost."
      );
      return;
    }
    const wanted = lens ? { deviceId: { exact: lens } } : { facingMode: "environment" };
    try {
      running = await navigator.mediaDevices.getUserMedia({ video: wanted, audio: false });
    } catch (error) {
      tell(REFUSALS[error.name] || `The camera cannot be started (${error.message || error.name}).`);
      return;
    }
    const mine = running;
    const [track] = mine.getVideoTracks();
    track.addEventListener("ended", () => mine === running && end("The camera was disconnected."));
    video.srcObject = mine;
    show(true);
    at("stop").focus();
    await offerLenses(track.getSettings().deviceId);
    await video.play().catch(() => {}); // stopped again meanwhile
    follow(mine);
  }

  async function follow(mine) {
    while (mine === running) {
      await nextFrame(video);
      if (mine !== running || video.videoWidth === 0) continue;
      try {
        const answer = await student.answer(pictureOfVideo(video));
        if (mine === running) at("live").replaceChildren(...linesOf(answer));
      } catch (error) {
        if (mine === running) end(wordsOf(error, "The camera's picture cannot be answered"));
      }
    }
  }

  function end(words) {
    if (running) for (const track of running.getTracks()) track.stop();
    running = null;
    video.srcObject = null;
    at("live").replaceChildren();
    show(false);
    tell(words);
  }

  function keep() {
    const canvas = element("canvas", { width: video.videoWidth, height: video.videoHeight });
    if (!canvas.width) return;
    canvas.getContext("2d").drawImage(video, 0, 0);
    const name = `camera ${new Date().toLocaleTimeString()}.png`;
    canvas.toBlob((blob) => take([new File([blob], name, { type: blob.type })]), "image/png");
  }

  async function offerLenses(used) {
    const found = await navigator.mediaDevices.enumerateDevices();
    const lenses = found.filter(({ kind }) => kind === "videoinput");
    at("lens").replaceChildren(
      ...lenses.map(({ deviceId, label }, number) =>
        element("option", { value: deviceId, selected: deviceId === used }, label || `camera ${number + 1}`)
      )
    );
    at("lenses").hidden = lenses.length < 2;
  }

  function show(on) {
    at("camera").hidden = !on;
    at("start").hidden = on;
  }

  function tell(words) {
    at("refused").textContent = words;
    at("refused").hidden = !words;
  }
}

function nextFrame(video) {
  return new Promise((resolve) => {
    if (video.requestVideoFrameCallback) {
      video.requestVideoFrameCallback(resolve);
      setTimeout(resolve, 500); // a camera that gives no frames must not keep the loop
    } else {
      requestAnimationFrame(resolve);
    }
  });
}
