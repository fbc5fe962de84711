"""The job flow as a user of Celery would write it: the gevent pool, late acks, and the state in the arguments of `retry`, so that a
generation that isn't ready holds no greenlet. The task id also goes to Redis right after the POST and is read back when RabbitMQ
delivers a job again.

What it doesn't promise: a death between the POST and the note in Redis pays twice, and so does a Redis that forgets, or a POST
without an answer (the exception is retried). A retry publishes a copy and then acks: a death in between leaves two chains, each of which
polls, stores and tells. Events can differ between copies, and images are not checked.
"""

import os
from pathlib import Path

import requests
from celery import Celery
from kombu import Exchange, Queue
from redis import BlockingConnectionPool, Redis
from requests.adapters import HTTPAdapter

API = os.environ["API_BASE_URL"] + "/kling/v1/images/generations"
HEADERS = {"authorization": f"Bearer {os.environ['API_KEY']}"}
IMAGES = Path(os.environ["IMAGES_DIR"])
PREFIX = os.environ["KEY_PREFIX"]
WEEK_S = 7 * 24 * 3600
IMAGES.mkdir(parents=True, exist_ok=True)

app = Celery("worker", broker=os.environ["AMQP_URL"])
app.conf.update(
    task_queues=[Queue(os.environ["JOBS_QUEUE"], no_declare=True, queue_arguments={"x-queue-type": "quorum"})],
    task_default_queue=os.environ["JOBS_QUEUE"],
    task_default_exchange="",
    task_acks_late=True,
    task_reject_on_worker_lost=True,
    task_ignore_result=True,
    worker_prefetch_multiplier=1,
    broker_pool_limit=32,
    broker_transport_options={"confirm_publish": True},
)
events = Exchange(os.environ["EVENTS_EXCHANGE"], type="topic", no_declare=True)
redis = Redis(
    connection_pool=BlockingConnectionPool.from_url(
        os.environ["REDIS_URL"], max_connections=32, timeout=60, decode_responses=True
    )
)
http = requests.Session()
http.mount("http://", HTTPAdapter(pool_connections=4, pool_maxsize=64, pool_block=True))


def call(method: str, url: str, **options) -> dict:
    reply = http.request(method, url, headers=HEADERS, timeout=60, **options)
    reply.raise_for_status()
    return reply.json()["data"]


def store(job_id: str, image: dict) -> dict:
    reply = http.get(image["url"], timeout=60)
    reply.raise_for_status()
    location = IMAGES / f"{job_id}-{image['index']}.png"
    location.write_bytes(reply.content)
    return {"index": image["index"], "location": str(location), "bytes": len(reply.content)}


@app.task(
    bind=True,
    name="generate",
    max_retries=None,
    default_retry_delay=2,
    autoretry_for=(requests.RequestException,),
    retry_backoff=True,
)
def generate(self, job: dict, task_id: str | None = None) -> None:
    job_id = job["job_id"]
    key = f"{PREFIX}:task:{job_id}"
    if task_id is None and (self.request.delivery_info.get("redelivered") or self.request.retries):
        task_id = redis.get(key)
    if task_id is None:
        task_id = call("POST", API, json={**job["input"], "external_task_id": job_id})["task_id"]
        redis.set(key, task_id, ex=WEEK_S)
    task = call("GET", f"{API}/{task_id}")
    if task["task_status"] == "failed":
        raise RuntimeError(task["task_status_msg"])
    if task["task_status"] != "succeed":
        raise self.retry(args=(job, task_id), kwargs={})
    images = [store(job_id, image) for image in task["task_result"]["images"]]
    event = {
        "type": "comet.job.succeeded",
        "data": {"job_id": job_id, "task_id": task_id, "images": images, "metadata": job.get("metadata")},
    }
    with app.producer_pool.acquire(block=True) as producer:
        producer.publish(event, exchange=events, routing_key="job.succeeded", delivery_mode=2, retry=True)
