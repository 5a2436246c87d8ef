#!/usr/bin/env python3
"""A server for mod_audio_stream's native protocol: greets the caller, repeats what they say, and can be interrupted.

    python3 server.py [--port 8080] [--rate 8000]
    uuid_audio_stream <uuid> start ws://127.0.0.1:8080/ mono 8k

Captured audio comes as binary messages of 16-bit little-endian PCM. Binary messages of the server are played; texts are
commands, and marks that come back.
"""

import argparse
import array
import asyncio
import contextlib
import json
import math
import sys

import websockets

LOUD = 400  # RMS of 16-bit samples from which a message counts as speech
SPEECH_MS = 60  # that much of it is a caller who speaks, and no click
PAUSE_MS = 600  # that much silence ends what they say


def samples_of(message: bytes) -> array.array:
    samples = array.array("h")
    samples.frombytes(message)
    if sys.byteorder == "big":
        samples.byteswap()
    return samples


def bytes_of(samples: array.array) -> bytes:
    if sys.byteorder == "big":
        samples = array.array("h", samples)
        samples.byteswap()
    return samples.tobytes()


def tone(rate: int, hz: float, ms: int) -> array.array:
    count = rate * ms // 1000
    # It begins and ends softly, so that it does not click.
    edge = rate // 100
    soft = lambda n: min(1.0, n / edge, (count - n) / edge)
    return array.array("h", (int(8000 * soft(n) * math.sin(2 * math.pi * hz * n / rate)) for n in range(count)))


class Call:
    """One call: what the caller is saying, and what they have not heard yet."""

    def __init__(self, socket, rate: int):
        self.socket = socket
        self.rate = rate
        self.said = array.array("h")  # what they are saying, with the pauses in it
        self.speech_ms = 0.0
        self.pause_ms = 0.0
        self.unheard = set()  # marks that have not come back
        self.answers = 0

    async def play(self, samples: array.array, name: str) -> None:
        """Queues audio. `name` comes back when the caller has heard it, or when it was cleared."""
        self.unheard.add(name)
        await self.socket.send(bytes_of(samples))
        await self.socket.send(json.dumps({"type": "mark", "data": {"name": name}}))

    async def interrupt(self) -> None:
        await self.socket.send(json.dumps({"type": "clear_playback"}))
        self.unheard.clear()

    async def captured(self, samples: array.array) -> None:
        ms = 1000 * len(samples) / self.rate
        level = math.sqrt(sum(sample * sample for sample in samples) / max(1, len(samples)))
        if level >= LOUD:
            self.speech_ms += ms
            self.pause_ms = 0.0
            if self.unheard and self.speech_ms >= SPEECH_MS:
                await self.interrupt()
        elif self.speech_ms > 0:
            self.pause_ms += ms
        if self.speech_ms > 0:
            self.said.extend(samples)
        if self.pause_ms >= PAUSE_MS:
            said, speech_ms = self.said, self.speech_ms
            self.said, self.speech_ms, self.pause_ms = array.array("h"), 0.0, 0.0
            if speech_ms >= SPEECH_MS:
                self.answers += 1
                await self.play(await self.answer(said), f"answer {self.answers}")

    async def answer(self, said: array.array) -> array.array:
        """Put your own recognition, language model and voice here."""
        return said[: -self.rate * PAUSE_MS // 1000]

    def text(self, message: str) -> None:
        try:
            fields = json.loads(message)
        except ValueError:
            fields = None
        if isinstance(fields, dict) and fields.get("type") == "mark":
            mark = fields["data"]
            self.unheard.discard(mark["name"])
            print(f"mark {mark['name']}: {mark['event']}", flush=True)
        else:
            print(f"text {message}", flush=True)  # metadata of `start`, `send_text`


async def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--port", type=int, default=8080)
    arguments.add_argument("--rate", type=int, default=8000, help="the rate of `start`, Hz")
    options = arguments.parse_args()

    async def serve(socket) -> None:
        call = Call(socket, options.rate)
        greeting = tone(options.rate, 660, 300) + tone(options.rate, 880, 300)
        await call.play(greeting, "greeting")
        try:
            async for message in socket:
                if isinstance(message, str):
                    call.text(message)
                    continue
                # A text may come behind the last audio, when nothing can be sent back any more.
                with contextlib.suppress(websockets.ConnectionClosed):
                    await call.captured(samples_of(message))
        except websockets.ConnectionClosed:
            pass
        print("the call has ended", flush=True)

    async with websockets.serve(serve, "127.0.0.1", options.port) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        print(f"listening on ws://127.0.0.1:{port}/", flush=True)
        await asyncio.get_running_loop().create_future()


if __name__ == "__main__":
    try:
        asyncio.run(main())
    except KeyboardInterrupt:
        pass
