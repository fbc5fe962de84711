-- Put between common.lua and the scripts that move a job in or out of the account's slots; no_slots.lua where there is no cap.
-- KEYS[2]          hash: job id -> "slots keep_ms": how many its task holds, and for how long at most, as it was when it took them
-- KEYS[3]          zset: job id -> when they are free whatever has become of the task, in ms
-- KEYS[4]          hash: taken (the sum of the first), trusted_ms (from when on the sum is whole; missing: Redis has lost it)
-- KEYS[5]          hash: job id of the head of a worker's line -> "since until slots", in ms: it waits, and is reserved for
-- the last ARGV    "cap slots keep_ms recount_ms": of the account, of this job, how long its task holds them at most, and how long
--                  a count that was lost is not trusted
local HEAD_KEEPS_MS = 3000
local SWEPT_MAX = 100
local slots
do
  local cap, count, keep, recount = string.match(ARGV[#ARGV], '^(%d+) (%d+) (%d+) (%d+)$')
  slots = {cap = tonumber(cap), count = tonumber(count), keep = tonumber(keep), recount = tonumber(recount),
           held = KEYS[2], ends = KEYS[3], sum = KEYS[4], line = KEYS[5]}
end

local function whole(number) return string.format('%.0f', number) end

-- A moment further away than it can be comes from a clock that has been set back since: it is as far away as it can be, from now on.
local function capped(moment, longest)
  return math.min(tonumber(moment), now + longest)
end

-- A count that Redis has lost begins anew, and whoever holds a running task is asked to say so.
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

-- The heads that wait, the oldest first.
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

-- Those heads whose turn it is now are told so.
local function wake()
  local free = slots.cap - taken()
  for _, head in ipairs(waiting()) do
    free = free - head.count
    if free < 0 then return end
    redis.pcall('PUBLISH', channel, 'slot ' .. head.id)
  end
end

-- How many slots a job holds, and for how long at most; 0 and nothing for one that holds none.
local function held_by(of)
  local count, keep = string.match(redis.call('HGET', slots.held, of) or '0 0', '^(%d+) (%d+)$')
  return tonumber(count), tonumber(keep)
end

-- The latest ends first: only those can be further away than they may.
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

-- The job's task runs, or may: it holds its slots, beyond the cap too, until then at least.
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

-- Nothing of the job runs any more.
local function release()
  if let_go(id) then wake() end
  note_taken()
end

-- Whether the job may be submitted: its slots are taken with that, unless it has them. Where not, it is reserved for while it
-- goes on asking: whoever asked first goes first, or a large job would be starved by small ones.
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
  -- One that is larger than the account goes alone: caps may differ between workers.
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
