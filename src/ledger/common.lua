-- Put before every script.
-- KEYS[1]  the job's hash; its fields: version, digest, round, stage, attempt, nonce, task, since_ms, event, replaceable, watched,
--          cancelled (its user wants it no more), corrects (the event that its end will correct), entries and entered (see enter.lua),
--          tried_ms (see leave.lua), under (what the attempt went out under),
--          failed_tasks and failed_charged (see follow.lua), event_id (see told.lua)
-- ARGV[1]  the channel of the hints (one that can't be published fails nothing)      ARGV[2]  the job id
-- Every script answers {word, Redis's time in ms, the fields of the record after it, notes on what all jobs share}; or "ok" alone
-- ("ok cancelled", where its user wants the job no more) when the record is just what the caller has asked for and there is
-- nothing to note. A record of another version is touched by none and answered as "moved". Every script may run twice.
local VERSION, VERSION_TOLD = '1', '2'
local job, channel, id = KEYS[1], ARGV[1], ARGV[2]
local t = redis.call('TIME')
local now = string.format('%.0f', t[1] * 1000 + math.floor(t[2] / 1000))

local record = {}
local fields = redis.call('HGETALL', job)
for i = 1, #fields, 2 do record[fields[i]] = fields[i + 1] end
-- One that was cancelled before it was seen has a hash and no stage.
local missing = not record.stage
local ended = record.stage == 'done' or record.stage == 'told'

local notes = {}
local function answer(word)
  return {word, now, redis.call('HGETALL', job), notes}
end

local function written()
  if #notes == 0 then return record.cancelled and 'ok cancelled' or 'ok' end
  return {'ok', now, record.cancelled and {'cancelled', record.cancelled} or {}, notes}
end

local function foreign()
  return #fields > 0 and record.version ~= VERSION and record.version ~= VERSION_TOLD
end

-- Whether the task is one of those that have failed, by the list of them.
local function has_failed(task)
  return string.find(' ' .. (record.failed_tasks or '') .. ' ', ' ' .. task .. ' ', 1, true) ~= nil
end

-- Writes fields, takes away others, and wakes those who look on.
local function move(set, drop, version)
  redis.call('HSET', job, 'version', version or VERSION, unpack(set))
  local there = record.watched and {'watched'} or {}
  for _, name in ipairs(drop) do
    if record[name] then there[#there + 1] = name end
  end
  if #there > 0 then redis.call('HDEL', job, unpack(there)) end
  -- Only these expire.
  if #fields > 0 and (missing or ended) then redis.call('PERSIST', job) end
  if record.watched then redis.pcall('PUBLISH', channel, 'look ' .. id) end
end
