#!/usr/bin/env python3
"""A pipecat bot for mod_audio_stream's protocol `pipecat`: greets the caller, repeats what they say, and can be interrupted.

    python3 bot.py [--port 8080]
    uuid_audio_stream <uuid> start ws://127.0.0.1:8080/ mono 16k protocol=pipecat

Replace `Repeat` with your speech recognition, context, language model and voice, as in every other pipecat bot.
"""

import argparse
import array
import math

import sys

import uvicorn
from fastapi import FastAPI, WebSocket
from loguru import logger
from pipecat.frames.frames import (
    Frame,
    InputAudioRawFrame,
    InputTransportMessageFrame,
    StartFrame,
    TTSAudioRawFrame,
)
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.worker import PipelineParams, PipelineWorker
from pipecat.processors.frame_processor import FrameDirection, FrameProcessor
from pipecat.serializers.protobuf import ProtobufFrameSerializer
from pipecat.transports.websocket.fastapi import FastAPIWebsocketParams, FastAPIWebsocketTransport
from pipecat.workers.runner import WorkerRunner

RATE = 16000
LOUD = 400  # RMS of 16-bit samples from which a frame counts as speech
SPEECH_MS = 60  # that much of it is a caller who speaks, and no click
PAUSE_MS = 600  # that much silence ends what they say


def tone(hz: float, ms: int) -> bytes:
    count = RATE * ms // 1000
    edge = RATE // 100
    soft = lambda n: min(1.0, n / edge, (count - n) / edge)
    return array.array("h", (int(8000 * soft(n) * math.sin(2 * math.pi * hz * n / RATE)) for n in range(count))).tobytes()


class Repeat(FrameProcessor):
    """Repeats each thing that the caller says."""

    def __init__(self):
        super().__init__()
        self.said = bytearray()
        self.speech_ms = 0.0
        self.pause_ms = 0.0

    async def process_frame(self, frame: Frame, direction: FrameDirection):
        await super().process_frame(frame, direction)
        if isinstance(frame, InputAudioRawFrame):
            await self.captured(frame)
            return
        await self.push_frame(frame, direction)
        if isinstance(frame, StartFrame):
            await self.say(tone(660, 300) + tone(880, 300))
        elif isinstance(frame, InputTransportMessageFrame):
            print(f"message {frame.message}", flush=True)  # the start with the call's data, keys, send_text

    async def say(self, audio: bytes):
        await self.push_frame(TTSAudioRawFrame(audio=audio, sample_rate=RATE, num_channels=1))

    async def captured(self, frame: InputAudioRawFrame):
        samples = array.array("h", frame.audio)
        ms = 1000 * len(samples) / frame.sample_rate
        level = math.sqrt(sum(sample * sample for sample in samples) / max(1, len(samples)))
        if level >= LOUD:
            began = self.speech_ms < SPEECH_MS
            self.speech_ms += ms
            self.pause_ms = 0.0
            if began and self.speech_ms >= SPEECH_MS:
                await self.broadcast_interruption()
        elif self.speech_ms > 0:
            self.pause_ms += ms
        if self.speech_ms > 0:
            self.said += frame.audio
        if self.pause_ms >= PAUSE_MS:
            said, speech_ms = bytes(self.said[: -2 * RATE * PAUSE_MS // 1000]), self.speech_ms
            self.said.clear()
            self.speech_ms = self.pause_ms = 0.0
            if speech_ms >= SPEECH_MS:
                await self.say(said)


app = FastAPI()


@app.websocket("/")
async def call(websocket: WebSocket):
    await websocket.accept()
    params = FastAPIWebsocketParams(
        serializer=ProtobufFrameSerializer(),
        audio_in_enabled=True,
        audio_out_enabled=True,
    )
    transport = FastAPIWebsocketTransport(websocket, params)
    pipeline = Pipeline([transport.input(), Repeat(), transport.output()])
    rates = PipelineParams(audio_in_sample_rate=RATE, audio_out_sample_rate=RATE)
    worker = PipelineWorker(pipeline, params=rates, enable_rtvi=False)

    @transport.event_handler("on_client_disconnected")
    async def ended(transport, websocket):
        print("the call has ended", flush=True)
        await worker.cancel()

    runner = WorkerRunner(handle_sigint=False)
    await runner.add_workers(worker)
    await runner.run()


class Server(uvicorn.Server):
    """Says where it listens, once it does."""

    async def startup(self, sockets=None):
        await super().startup(sockets)
        port = self.servers[0].sockets[0].getsockname()[1]
        print(f"listening on ws://127.0.0.1:{port}/", flush=True)


if __name__ == "__main__":
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--port", type=int, default=8080)
    options = arguments.parse_args()
    logger.remove()
    logger.add(sys.stderr, level="WARNING")
    Server(uvicorn.Config(app, host="127.0.0.1", port=options.port, log_level="warning")).run()
