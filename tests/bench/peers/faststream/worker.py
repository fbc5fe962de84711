"""The job flow as a user of FastStream would write it: one process, everything asynchronous, uvloop, every connection kept.
The task id goes to Redis right after the POST and is read back when RabbitMQ delivers a job again.

What it doesn't promise: a death between the POST and the note in Redis pays twice, and so does a Redis that forgets, or a POST
without an answer (the exception gives the message back to the queue). Events can differ between copies, a job that can never
succeed comes back for ever, and images are not checked.
"""

import asyncio
import logging
import os
from pathlib import Path

import aiohttp
import uvloop
from faststream import AckPolicy, FastStream
from faststream.rabbit import Channel, ExchangeType, RabbitBroker, RabbitExchange, RabbitMessage, RabbitQueue
from redis.asyncio import Redis

API = os.environ["API_BASE_URL"] + "/kling/v1/images/generations"
HEADERS = {"authorization": f"Bearer {os.environ['API_KEY']}"}
IMAGES = Path(os.environ["IMAGES_DIR"])
PREFIX = os.environ["KEY_PREFIX"]
WEEK_S = 7 * 24 * 3600

broker = RabbitBroker(
    os.environ["AMQP_URL"],
    default_channel=Channel(prefetch_count=int(os.environ["PREFETCH"])),  # publisher confirms are on by default
    log_level=logging.DEBUG,
)
app = FastStream(broker)
jobs = RabbitQueue(os.environ["JOBS_QUEUE"], declare=False)
events = RabbitExchange(os.environ["EVENTS_EXCHANGE"], type=ExchangeType.TOPIC, durable=True, declare=False)
redis = Redis.from_url(os.environ["REDIS_URL"], decode_responses=True)
http: aiohttp.ClientSession


@app.on_startup
async def open_http() -> None:
    global http
    IMAGES.mkdir(parents=True, exist_ok=True)
    http = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=64), raise_for_status=True)


@app.after_shutdown
async def close_http() -> None:
    await http.close()
    await redis.aclose()


async def submit(job: dict) -> str:
    body = {**job["input"], "external_task_id": job["job_id"]}
    async with http.post(API, json=body, headers=HEADERS) as reply:
        return (await reply.json())["data"]["task_id"]


async def result(task_id: str) -> list[dict]:
    while True:
        async with http.get(f"{API}/{task_id}", headers=HEADERS) as reply:
            task = (await reply.json())["data"]
        if task["task_status"] == "succeed":
            return task["task_result"]["images"]
        if task["task_status"] == "failed":
            raise RuntimeError(task["task_status_msg"])
        await asyncio.sleep(2)


async def store(job_id: str, image: dict) -> dict:
    async with http.get(image["url"]) as reply:
        picture = await reply.read()
    location = IMAGES / f"{job_id}-{image['index']}.png"
    await asyncio.to_thread(location.write_bytes, picture)
    return {"index": image["index"], "location": str(location), "bytes": len(picture)}


@broker.subscriber(jobs, ack_policy=AckPolicy.NACK_ON_ERROR)
async def generate(job: dict, message: RabbitMessage) -> None:
    job_id = job["job_id"]
    key = f"{PREFIX}:task:{job_id}"
    task_id = await redis.get(key) if message.raw_message.redelivered else None
    if task_id is None:
        task_id = await submit(job)
        await redis.set(key, task_id, ex=WEEK_S)
    images = await asyncio.gather(*(store(job_id, image) for image in await result(task_id)))
    event = {
        "type": "comet.job.succeeded",
        "data": {"job_id": job_id, "task_id": task_id, "images": images, "metadata": job.get("metadata")},
    }
    await broker.publish(event, exchange=events, routing_key="job.succeeded", persist=True)


if __name__ == "__main__":
    uvloop.run(app.run())
