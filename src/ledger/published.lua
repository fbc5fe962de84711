-- The event of a job is confirmed: its record isn't needed any more, and expires.
-- ARGV[3] digest   ARGV[4] round   ARGV[5] milliseconds to remember it
-- ARGV[6] "", or the id of that event if a receipt has its bytes: then the record ends with this, and keeps no copy of them
-- ARGV[7] "1": its task may still run, and keeps its slots
-- ARGV[8] "", or how it ended, in JSON (see src/job/event/end.rs)   ARGV[9] "succeeded" | "failed" | "cancelled"
-- ARGV[10] "", or how long it was queued, in ms   ARGV[11] "1": it corrects an end that was published before
-- ARGV[12] "", or what it has cost: a note of spend_count.lua, which precedes this; the three of KEYS before the last two are
--         then '{prefix}:spend', the hash of its day, and '{prefix}:spend:recounted'   ARGV[13] "", or the label it counts under
-- the last two of KEYS: the zset of the latest ends, by Redis's time; a hash of the ends of each minute of the last hour:
--         minute % 64 -> "minute succeeded failed cancelled", then the sum of the queued ms, and of how many jobs
-- answer  "ok"; "moved" if the record is not that job's, or doesn't end with this
local ENDS_MAX, HOUR_MS = 500, 3600000
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
-- An end that was published before is published again for a copy of its job, and counts no more.
local is_first = not ended or redis.call('PTTL', job) == -1 or ARGV[11] == '1'
redis.call('PEXPIRE', job, remember)
redis.call('ZREM', index, id)
if ARGV[12] ~= '' then
  -- Of a job whose record has expired it isn't known any more whether its end was counted: it was.
  local at = tonumber(string.match(ARGV[12], '^%d+ (%d+)'))
  if at >= now - math.max(tonumber(remember), HOUR_MS) then
    local before = record.counted or redis.call('HGET', KEYS[#KEYS - 2], id) or nil
    local mark = count_end(KEYS[#KEYS - 4], KEYS[#KEYS - 3], ARGV[12], ARGV[13], before, ARGV[11] == '1')
    if mark ~= record.counted then redis.call('HSET', job, 'counted', mark) end
  end
end
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
