-- The event of a job is confirmed: its record isn't needed any more, and expires.
-- ARGV[3] digest   ARGV[4] round   ARGV[5] milliseconds to remember it
-- ARGV[6] "", or the id of that event if a receipt has its bytes: then the record ends with this, and keeps no copy of them
-- ARGV[7] "1": its task may still run, and keeps its slots
-- ARGV[8] "", or how it ended, in JSON (see src/job/event/end.rs)   ARGV[9] "succeeded" | "failed" | "cancelled"
-- ARGV[10] "", or how long it was queued, in ms   ARGV[11] "1": it corrects an end that was published before
-- ARGV[12] "", or what it has cost: "at_ms units charged per_job", the time of its event, what the provider deducted in
--         millionths of a unit or "-", "yes" | "unknown" | "no", and "-" or what a job is taken to cost where the provider doesn't
--         say; the two of KEYS before the last two are then those of spend.lua   ARGV[13] "", or the label it is counted under
-- the last two of KEYS: the zset of the latest ends, by Redis's time; a hash of the ends of each minute of the last hour:
--         minute % 64 -> "minute succeeded failed cancelled", then the sum of the queued ms, and of how many jobs
-- answer  "ok"; "moved" if the record is not that job's, or doesn't end with this
local ENDS_MAX, LABELS_MAX, SPEND_KEPT_MS = 500, 500, 3456000000
local digest, round, remember, event_id = ARGV[3], ARGV[4], ARGV[5], ARGV[6]
if foreign() then return answer('moved') end
if ended then
  if record.round ~= round then return answer('moved') end
elseif event_id == '' or (not missing and record.digest ~= digest) then
  return answer('moved')
else
  move({'stage', 'told', 'digest', digest, 'round', round, 'event_id', event_id},
       {'route', 'attempt', 'nonce', 'under', 'task', 'since_ms', 'replaceable', 'cancelled', 'corrects', 'entries', 'entered', 'tried_ms',
        'failed_tasks',
        'failed_charged'}, VERSION_PUBLISHED)
  if ARGV[7] ~= '1' then release() end
end

local function count_spend(state, day, note, label)
  local at, units, charged, per_job = string.match(note, '^(%d+) (%S+) (%a+) (%S+)$')
  redis.call('HSETNX', state, 'from_ms', at)
  local known = redis.call('HMGET', state, 'from_ms', 'typical')
  if tonumber(at) < tonumber(known[1]) then return end
  if units == '-' then
    redis.call('HINCRBY', day, charged == 'yes' and 'unsaid' or 'perhaps', 1)
    units = '0'
    if charged == 'yes' then redis.call('HINCRBY', day, 'estimated', per_job ~= '-' and per_job or known[2] or '0') end
  else
    redis.call('HINCRBY', day, 'units', units)
    redis.call('HINCRBY', day, 'jobs', 1)
    local typical = known[2] and math.floor((tonumber(known[2]) * 4 + tonumber(units)) / 5)
    redis.call('HSET', state, 'typical', typical and string.format('%.0f', typical) or units)
  end
  redis.call('PEXPIRE', day, SPEND_KEPT_MS)
  if label == '' then return end
  if redis.call('HEXISTS', day, 'jobs:' .. label) == 0 and redis.call('HLEN', day) >= 2 * LABELS_MAX then label = '' end
  redis.call('HINCRBY', day, 'units:' .. label, units)
  redis.call('HINCRBY', day, 'jobs:' .. label, 1)
end

-- An end that was published before is published again for a copy of its job, and counts no more.
local is_first = not ended or redis.call('PTTL', job) == -1 or ARGV[11] == '1'
redis.call('PEXPIRE', job, remember)
redis.call('ZREM', index, id)
if is_first and ARGV[12] ~= '' then count_spend(KEYS[#KEYS - 3], KEYS[#KEYS - 2], ARGV[12], ARGV[13]) end
if is_first and ARGV[8] ~= '' then
  local ends, minutes = KEYS[#KEYS - 1], KEYS[#KEYS]
  -- The same end has the same text.
  if redis.call('ZADD', ends, 'NX', now, ARGV[8]) == 1 then
    redis.call('ZREMRANGEBYRANK', ends, 0, -ENDS_MAX - 1)
    local minute = string.format('%.0f', math.floor(now / 60000))
    local field, counts = string.format('%.0f', minute % 64), {minute, 0, 0, 0, 0, 0}
    local stored = redis.call('HGET', minutes, field) or ''
    if string.match(stored, '^%d+') == minute then
      counts = {}
      for number in string.gmatch(stored, '%d+') do counts[#counts + 1] = number end
    end
    local place = ({succeeded = 2, failed = 3, cancelled = 4})[ARGV[9]]
    if place then counts[place] = string.format('%.0f', counts[place] + 1) end
    if ARGV[10] ~= '' then
      counts[5], counts[6] = string.format('%.0f', counts[5] + ARGV[10]), string.format('%.0f', counts[6] + 1)
    end
    redis.call('HSET', minutes, field, table.concat(counts, ' '))
  end
end
return written()
