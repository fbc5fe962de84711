// The job flow as a user of rabbitmq-client, undici and ioredis would write it: one process, everything asynchronous, every
// connection kept. The task id goes to Redis right after the POST and is read back when RabbitMQ delivers a job again.
//
// What it doesn't promise: a death between the POST and the note in Redis pays twice, and so does a Redis that forgets, or a POST
// without an answer (undici's error goes back to the queue as a plain retry). Events can differ between copies, a job that can
// never succeed comes back for ever, and images are not checked.

import { mkdir, writeFile } from 'node:fs/promises'
import { setTimeout as sleep } from 'node:timers/promises'
import { Redis } from 'ioredis'
import { Connection, ConsumerStatus } from 'rabbitmq-client'
import { Pool } from 'undici'

const { AMQP_URL, JOBS_QUEUE, EVENTS_EXCHANGE, REDIS_URL, KEY_PREFIX, API_BASE_URL, API_KEY, IMAGES_DIR, PREFETCH } = process.env
const PATH = '/kling/v1/images/generations'
const WEEK_S = 7 * 24 * 3600

await mkdir(IMAGES_DIR, { recursive: true })
const redis = new Redis(REDIS_URL)
const api = new Pool(API_BASE_URL, { connections: 64 })
const downloads = new Map()
const rabbit = new Connection(AMQP_URL)
rabbit.on('error', error => console.error(error))

const events = rabbit.createPublisher({ confirm: true, maxAttempts: 2 })

const headers = { authorization: `Bearer ${API_KEY}`, 'content-type': 'application/json' }

async function call(method, path, body) {
  const reply = await api.request({ method, path, headers, body })
  if (reply.statusCode !== 200) throw new Error(`${method} ${path}: ${reply.statusCode} ${await reply.body.text()}`)
  return (await reply.body.json()).data
}

async function download(url) {
  const { origin, pathname, search } = new URL(url)
  if (!downloads.has(origin)) downloads.set(origin, new Pool(origin, { connections: 16 }))
  const reply = await downloads.get(origin).request({ method: 'GET', path: pathname + search })
  if (reply.statusCode !== 200) throw new Error(`GET ${url}: ${reply.statusCode}`)
  return Buffer.from(await reply.body.arrayBuffer())
}

async function generate(job, redelivered) {
  const key = `${KEY_PREFIX}:task:${job.job_id}`
  let taskId = redelivered ? await redis.get(key) : null
  if (!taskId) {
    const submitted = await call('POST', PATH, JSON.stringify({ ...job.input, external_task_id: job.job_id }))
    taskId = submitted.task_id
    await redis.set(key, taskId, 'EX', WEEK_S)
  }
  let task = await call('GET', `${PATH}/${taskId}`)
  while (task.task_status !== 'succeed') {
    if (task.task_status === 'failed') throw new Error(task.task_status_msg)
    await sleep(2000)
    task = await call('GET', `${PATH}/${taskId}`)
  }
  const images = await Promise.all(task.task_result.images.map(async ({ index, url }) => {
    const bytes = await download(url)
    const location = `${IMAGES_DIR}/${job.job_id}-${index}.png`
    await writeFile(location, bytes)
    return { index, location, bytes: bytes.length }
  }))
  return { type: 'comet.job.succeeded', data: { job_id: job.job_id, task_id: taskId, images, metadata: job.metadata } }
}

const consumer = rabbit.createConsumer(
  { queue: JOBS_QUEUE, queueOptions: { passive: true }, qos: { prefetchCount: Number(PREFETCH) } },
  async message => {
    const event = await generate(message.body, message.redelivered)
    await events.send({ exchange: EVENTS_EXCHANGE, routingKey: 'job.succeeded', durable: true }, event)
    return ConsumerStatus.ACK
  },
)
consumer.on('error', error => console.error(error))

process.on('SIGTERM', async () => {
  await consumer.close()
  await events.close()
  await rabbit.close()
  process.exit(0)
})
