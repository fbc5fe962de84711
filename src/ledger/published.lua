-- The event of a job is confirmed: its record isn't needed any more, and expires.
-- ARGV[3] digest   ARGV[4] round   ARGV[5] milliseconds to remember it
-- ARGV[6] "", or the id of that event if a receipt has its bytes: then the record ends with this, and keeps no copy of them
-- ARGV[7] "1": its task may still run, and keeps its slots
-- ARGV[8] "", or how it ended, in JSON (see src/ledger/fleet.rs)   the last of KEYS: the zset of the latest ends, by Redis's time
-- answer  "ok"; "moved" if the record is not that job's, or doesn't end with this
local ENDS_MAX = 500
local digest, round, remember, event_id = ARGV[3], ARGV[4], ARGV[5], ARGV[6]
if foreign() then return answer('moved') end
if ended then
  if record.round ~= round then return answer('moved') end
elseif event_id == '' or (not missing and record.digest ~= digest) then
  return answer('moved')
else
  move({'stage', 'published', 'digest', digest, 'round', round, 'event_id', event_id},
       {'route', 'attempt', 'nonce', 'under', 'task', 'since_ms', 'replaceable', 'cancelled', 'corrects', 'entries', 'entered', 'tried_ms',
        'failed_tasks',
        'failed_charged'}, VERSION_PUBLISHED)
  if ARGV[7] ~= '1' then release() end
end
redis.call('PEXPIRE', job, remember)
redis.call('ZREM', index, id)
if ARGV[8] ~= '' then
  -- The same end has the same text, so a repeated call adds nothing.
  redis.call('ZADD', KEYS[#KEYS], 'NX', now, ARGV[8])
  redis.call('ZREMRANGEBYRANK', KEYS[#KEYS], 0, -ENDS_MAX - 1)
end
return written()
