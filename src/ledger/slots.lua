-- This text stands between common.lua and the scripts that take or free a job's slots; without a cap it is no_slots.lua.
-- KEYS[3]          hash: job id -> "slots keep_ms": how many slots its task holds, and for how long at most, when it took them
-- KEYS[4]          zset: job id -> when they become free, whatever has happened to the task, in ms
-- KEYS[5]          hash: taken (the sum of the slots), trusted_ms (from when on the sum is complete; missing: Redis has lost it)
-- KEYS[6]          hash: job id of the head of a worker's line -> "since until slots", in ms: it waits, and slots are reserved for it
-- the last ARGV    "cap slots keep_ms recount_ms": the account's cap, the job's slots, how long its task holds them at most, and
--                  how long a count that was lost is not trusted
local HEAD_KEEPS_MS = 3000
local SWEPT_MAX = 100
local slots
do
  local cap, count, keep, recount = string.match(ARGV[#ARGV], '^(%d+) (%d+) (%d+) (%d+)$')
  slots = {cap = tonumber(cap), count = tonumber(count), keep = tonumber(keep), recount = tonumber(recount),
           held = KEYS[3], ends = KEYS[4], sum = KEYS[5], line = KEYS[6]}
end

local function whole(number) return string.format('%.0f', number) end

-- A time later than possible comes from a clock that has been set back since; it is replaced by the latest possible
-- time.
local function capped(moment, longest)
  return math.min(tonumber(moment), now + longest)
end

-- If Redis has lost the count, it starts again, and every worker with a running task is asked to report it.
local function meet_count()
  if redis.call('HSETNX', slots.sum, 'trusted_ms', whole(now + slots.recount)) == 1 then
    redis.pcall('PUBLISH', channel, 'recount')
  end
end

local function trusted_ms()
  local stored = tonumber(redis.call('HGET', slots.sum, 'trusted_ms'))
  local trusted = capped(stored, slots.recount)
  if trusted < stored then redis.call('HSET', slots.sum, 'trusted_ms', whole(trusted)) end
  return trusted
end

local function taken() return tonumber(redis.call('HGET', slots.sum, 'taken') or '0') end

local function note_taken()
  notes[#notes + 1], notes[#notes + 2] = 'slots_taken', whole(taken())
end

-- The waiting heads, the oldest first.
local function waiting()
  local heads, entries = {}, redis.call('HGETALL', slots.line)
  for i = 1, #entries, 2 do
    local since, stored, count = string.match(entries[i + 1], '^(%d+) (%d+) (%d+)$')
    local ends = capped(stored, HEAD_KEEPS_MS)
    if ends < tonumber(stored) then
      redis.call('HSET', slots.line, entries[i], since .. ' ' .. whole(ends) .. ' ' .. count)
    end
    if ends <= tonumber(now) then
      redis.call('HDEL', slots.line, entries[i])
    else
      heads[#heads + 1] = {id = entries[i], since = tonumber(since), count = tonumber(count)}
    end
  end
  table.sort(heads, function(a, b) return a.since < b.since or (a.since == b.since and a.id < b.id) end)
  return heads
end

-- Publishes a hint for each head whose turn it is now.
local function wake()
  local free = slots.cap - taken()
  for _, head in ipairs(waiting()) do
    free = free - head.count
    if free < 0 then return end
    redis.pcall('PUBLISH', channel, 'slot ' .. head.id)
  end
end

-- How many slots a job holds, and for how long at most; 0 and 0 for a job that holds none.
local function held_by(of)
  local count, keep = string.match(redis.call('HGET', slots.held, of) or '0 0', '^(%d+) (%d+)$')
  return tonumber(count), tonumber(keep)
end

-- Checks the latest times first, since only those can be later than possible.
local function cap_ends()
  for _ = 1, SWEPT_MAX do
    local last = redis.call('ZREVRANGE', slots.ends, 0, 0, 'WITHSCORES')
    if not last[1] then return end
    local _, keep = held_by(last[1])
    local ends = capped(last[2], keep)
    if ends >= tonumber(last[2]) then return end
    redis.call('ZADD', slots.ends, whole(ends), last[1])
  end
end

local function let_go(of)
  local count = redis.call('HEXISTS', slots.held, of) == 1 and held_by(of)
  redis.call('ZREM', slots.ends, of)
  if count then
    redis.call('HDEL', slots.held, of)
    redis.call('HINCRBY', slots.sum, 'taken', -count)
  end
  return count
end

-- The job's task runs, or may run: it holds its slots until then at least, even beyond the cap.
local function hold(until_ms)
  if slots.count == 0 then return end
  meet_count()
  local before, keep = held_by(id)
  if before ~= slots.count or keep ~= slots.keep then
    redis.call('HSET', slots.held, id, whole(slots.count) .. ' ' .. whole(slots.keep))
    redis.call('HINCRBY', slots.sum, 'taken', slots.count - before)
  end
  local ends = redis.call('ZSCORE', slots.ends, id)
  if not ends or tonumber(ends) < until_ms or tonumber(ends) > now + slots.keep then redis.call('ZADD', slots.ends, whole(until_ms), id) end
  redis.call('HDEL', slots.line, id)
  note_taken()
end

local function hold_anew()
  hold(now + slots.keep)
end

-- The job's task doesn't run any more.
local function release()
  if let_go(id) then wake() end
  note_taken()
end

-- Whether the job may be submitted; if so, its slots are taken, unless it has them. If not, slots are reserved for it
-- while it keeps asking. The oldest ask comes first; otherwise small jobs would starve a large one.
local function take()
  if slots.count == 0 then return true end
  meet_count()
  if redis.call('HEXISTS', slots.held, id) == 1 then
    hold_anew()
    return true
  end
  cap_ends()
  local swept = redis.call('ZRANGEBYSCORE', slots.ends, '-inf', now, 'LIMIT', 0, SWEPT_MAX)
  for _, of in ipairs(swept) do let_go(of) end
  local since, before, own = tonumber(now), 0, redis.call('HGET', slots.line, id)
  if own then since = tonumber(string.match(own, '^%d+')) end
  for _, head in ipairs(waiting()) do
    if head.id ~= id and (head.since < since or (head.since == since and (not own or head.id < id))) then before = before + head.count end
  end
  -- A job that is larger than the account's cap runs alone, since caps may differ between workers.
  local needed = math.min(slots.count, slots.cap)
  local whole_count = tonumber(now) >= trusted_ms()
  local fits = whole_count and before + needed <= slots.cap - taken()
  if fits then
    hold_anew()
  else
    redis.call('HSET', slots.line, id, whole(since) .. ' ' .. whole(now + HEAD_KEEPS_MS) .. ' ' .. whole(needed))
    note_taken()
  end
  if #swept > 0 then wake() end
  return fits
end
