#!/usr/bin/env node
// A server for mod_audio_stream's native protocol: greets the caller, repeats what they say, and can be interrupted.
//
//     node server.mjs [--port 8080] [--rate 8000]
//     uuid_audio_stream <uuid> start ws://127.0.0.1:8080/ mono 8k
//
// Captured audio comes as binary messages of 16-bit little-endian PCM. Binary messages of the server are played; texts are
// commands, and marks that come back.

import { createRequire } from "node:module";
import { parseArgs } from "node:util";

const { WebSocketServer } = createRequire(import.meta.url)("ws");

const LOUD = 400; // RMS of 16-bit samples from which a message counts as speech
const SPEECH_MS = 60; // that much of it is a caller who speaks, and no click
const PAUSE_MS = 600; // that much silence ends what they say

const { values } = parseArgs({
  options: { port: { type: "string", default: "8080" }, rate: { type: "string", default: "8000" } },
});
const rate = Number(values.rate);

const bytesIn = (ms) => 2 * Math.floor((rate * ms) / 1000);

function tone(hz, ms) {
  const bytes = Buffer.alloc(bytesIn(ms));
  const count = bytes.length / 2;
  // It begins and ends softly, so that it does not click.
  const edge = rate / 100;
  for (let n = 0; n < count; n++) {
    const soft = Math.min(1, n / edge, (count - n) / edge);
    bytes.writeInt16LE(Math.trunc(8000 * soft * Math.sin((2 * Math.PI * hz * n) / rate)), 2 * n);
  }
  return bytes;
}

function level(bytes) {
  let sum = 0;
  for (let at = 0; at + 1 < bytes.length; at += 2) sum += bytes.readInt16LE(at) ** 2;
  return Math.sqrt(sum / Math.max(1, bytes.length / 2));
}

/** One call: what the caller is saying, and what they have not heard yet. */
class Call {
  said = []; // what they are saying, with the pauses in it
  speechMs = 0;
  pauseMs = 0;
  unheard = new Set(); // marks that have not come back
  answers = 0;

  constructor(socket) {
    this.socket = socket;
  }

  /** Queues audio. `name` comes back when the caller has heard it, or when it was cleared. */
  play(bytes, name) {
    this.unheard.add(name);
    this.socket.send(bytes);
    this.socket.send(JSON.stringify({ type: "mark", data: { name } }));
  }

  interrupt() {
    this.socket.send(JSON.stringify({ type: "clear_playback" }));
    this.unheard.clear();
  }

  captured(bytes) {
    const ms = (1000 * bytes.length) / 2 / rate;
    if (level(bytes) >= LOUD) {
      this.speechMs += ms;
      this.pauseMs = 0;
      if (this.unheard.size > 0 && this.speechMs >= SPEECH_MS) this.interrupt();
    } else if (this.speechMs > 0) {
      this.pauseMs += ms;
    }
    if (this.speechMs > 0) this.said.push(bytes);
    if (this.pauseMs < PAUSE_MS) return;
    const { said, speechMs } = this;
    Object.assign(this, { said: [], speechMs: 0, pauseMs: 0 });
    if (speechMs >= SPEECH_MS) this.play(this.answer(Buffer.concat(said)), `answer ${++this.answers}`);
  }

  /** Put your own recognition, language model and voice here. */
  answer(said) {
    return said.subarray(0, said.length - bytesIn(PAUSE_MS));
  }

  text(message) {
    let fields;
    try {
      fields = JSON.parse(message);
    } catch {
      // Not JSON: the operator's own text.
    }
    if (fields?.type === "mark") {
      this.unheard.delete(fields.data.name);
      console.log(`mark ${fields.data.name}: ${fields.data.event}`);
    } else {
      console.log(`text ${message}`); // metadata of `start`, `send_text`
    }
  }
}

const server = new WebSocketServer({ host: "127.0.0.1", port: Number(values.port) });
server.on("listening", () => console.log(`listening on ws://127.0.0.1:${server.address().port}/`));
server.on("connection", (socket) => {
  const call = new Call(socket);
  socket.on("message", (message, binary) => (binary ? call.captured(message) : call.text(message.toString())));
  socket.on("close", () => console.log("the call has ended"));
  socket.on("error", (error) => console.error(`the connection failed: ${error.message}`));
  call.play(Buffer.concat([tone(660, 300), tone(880, 300)]), "greeting");
});
