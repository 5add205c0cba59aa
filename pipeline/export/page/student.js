"use strict";
/* The student that lies beside this page. The files in `page/` put all of it into `EXPORTED`, since
   a page that is opened as a file may fetch nothing: `labels`, `unlike`, `proof`, `model`, `runtime`. */

const EXPORTED = {};

/* Opens the student: {labels, proof, answer(picture)}. Throws what is told. */
async function openStudent() {
  const { labels, unlike, proof, model, runtime } = EXPORTED;
  for (const name of ["labels", "model", "runtime"]) {
    if (!EXPORTED[name]) {
      throw new Told(`page/${name}.js is missing beside this page. Copy the whole folder.`);
    }
  }
  if (!globalThis.WebAssembly || !globalThis.DecompressionStream) {
    throw new Told(
      "This browser is too old for this page. Chrome and Edge from 91 on can, Firefox from 113 on, " +
        "and Safari from 16.4 on."
    );
  }
  const known = unlike && arraysOf(unlike);
  const session = await sessionOf(runtime, model);
  delete EXPORTED.model; // as text it is no longer needed
  delete EXPORTED.runtime;

  async function answer(picture) {
    const started = performance.now();
    const input = prepared(picture, labels);
    const { probabilities, features } = await session(input, labels);
    const answers = labels.classes.map((name, at) => ({ name, probability: probabilities[at] }));
    answers.sort((one, other) => other.probability - one.probability);
    const score = known && labels.none ? unlikeOf(features, known) : null;
    const none = score !== null && score > labels.none.threshold;
    return { answers, none, unlike: score, took: performance.now() - started };
  }
  return { labels, proof, answer };
}

/* Returns what computes (probabilities, features) of an input. */
async function sessionOf(runtime, model) {
  const code = new Blob([await unpacked(runtime.code)], { type: "text/javascript" });
  const address = URL.createObjectURL(code);
  const ort = await import(address);
  URL.revokeObjectURL(address);
  // More threads want headers that no file has, and that few servers send.
  ort.env.wasm.numThreads = 1;
  ort.env.wasm.wasmBinary = await unpacked(runtime.machine);
  ort.env.logLevel = "error";
  const bytes = await unpacked(model);
  const session = await ort.InferenceSession.create(bytes, { executionProviders: ["wasm"] });

  return async (input, labels) => {
    const shape = [1, 3, labels.imgsz, labels.imgsz];
    const images = new ort.Tensor("float32", input, shape);
    const found = await session.run({ [labels.input]: images });
    const [probabilities, features] = labels.outputs.map((name) => found[name] && found[name].data);
    return { probabilities, features };
  };
}

/* The bytes of gzip in base64. */
async function unpacked(text) {
  const packed = new Blob([bytesOf(text)]).stream();
  const stream = packed.pipeThrough(new DecompressionStream("gzip"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

function bytesOf(text) {
  const letters = atob(text);
  const bytes = new Uint8Array(letters.length);
  for (let at = 0; at < letters.length; at += 1) bytes[at] = letters.charCodeAt(at);
  return bytes;
}

/* Arrays of 32-bit floats, lowest byte first: {name: {shape, values}}. */
function arraysOf(unlike) {
  const arrays = Object.entries(unlike).map(([name, { shape, floats }]) => {
    const view = new DataView(bytesOf(floats).buffer);
    const count = view.byteLength / 4;
    const values = Float64Array.from({ length: count }, (_, at) => view.getFloat32(at * 4, true));
    return [name, { shape, values }];
  });
  return Object.fromEntries(arrays);
}
