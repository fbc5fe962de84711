-- This text precedes every script.
-- KEYS[1]  the job's hash; its fields: version, digest, route (until the job has ended), round, stage, attempt, nonce, task, since_ms, event, replaceable, watched,
--          cancelled (the user has cancelled the job), corrects (the event that its end will correct),
--          entries and entered (see enter.lua), tried_ms (see leave.lua), under (the external id of the attempt),
--          failed_tasks and failed_charged (see follow.lua), event_id (see published.lua), counted (see spend_count.lua)
-- KEYS[2]  the index of the unfinished jobs, a zset: job id -> its stage, and since when it is at it (see STAGES)
-- ARGV[1]  the channel of the hints (if a hint can't be published, no script fails)      ARGV[2]  the job id
-- Every script answers {word, Redis's time in ms, the fields of the record afterwards, notes about all jobs together}. If the
-- record is exactly what the caller has asked for and there are no notes, the answer is "ok" alone, or "ok cancelled" if the
-- user has cancelled the job. No script changes a record of another version; the answer is then "moved". Every script may
-- run twice.
local VERSION, VERSION_PUBLISHED = '1', '2'
local job, index, channel, id = KEYS[1], KEYS[2], ARGV[1], ARGV[2]
local t = redis.call('TIME')
local now = string.format('%.0f', t[1] * 1000 + math.floor(t[2] / 1000))

local record = {}
local fields = redis.call('HGETALL', job)
for i = 1, #fields, 2 do record[fields[i]] = fields[i + 1] end
-- A job that was cancelled before a worker saw it has a hash without a stage.
local missing = not record.stage
local ended = record.stage == 'done' or record.stage == 'told'

-- A score of the index is a number of this table times 10^13, plus Redis's time in ms: so the jobs of one stage are
-- together, the oldest first. src/ledger/fleet.rs reads it.
local STAGES = {new = 1, submitting = 2, recovering = 3, generating = 4, storing = 5, done = 6}

local function score(stage, since_ms) return string.format('%.0f', STAGES[stage] * 1e13 + since_ms) end

-- Puts the job into the index, or moves it there.
local function list(stage, since_ms) redis.call('ZADD', index, score(stage, since_ms), id) end

local notes = {}
local function answer(word)
  return {word, now, redis.call('HGETALL', job), notes}
end

local function written()
  if #notes == 0 then return record.cancelled and 'ok cancelled' or 'ok' end
  return {'ok', now, record.cancelled and {'cancelled', record.cancelled} or {}, notes}
end

local function foreign()
  return #fields > 0 and record.version ~= VERSION and record.version ~= VERSION_PUBLISHED
end

-- Whether the task is in the list of failed tasks.
local function has_failed(task)
  return string.find(' ' .. (record.failed_tasks or '') .. ' ', ' ' .. task .. ' ', 1, true) ~= nil
end

-- Sets and deletes fields, the stage first, and wakes the workers that wait for this record to move.
local function move(set, drop, version)
  redis.call('HSET', job, 'version', version or VERSION, unpack(set))
  local there = record.watched and {'watched'} or {}
  for _, name in ipairs(drop) do
    if record[name] then there[#there + 1] = name end
  end
  if #there > 0 then redis.call('HDEL', job, unpack(there)) end
  local stage = set[2]
  if STAGES[stage] then list(stage, now) else redis.call('ZREM', index, id) end
  -- Only these records expire.
  if #fields > 0 and (missing or ended) then redis.call('PERSIST', job) end
  if record.watched then redis.pcall('PUBLISH', channel, 'look ' .. id) end
end
