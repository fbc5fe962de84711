-- The event of a job is confirmed: its record isn't needed any more, and expires.
-- ARGV[3] digest   ARGV[4] round   ARGV[5] milliseconds to remember it
-- ARGV[6] "", or the id of that event if a receipt has its bytes: then the record ends with this, and keeps no copy of them
-- ARGV[7] "1": its task may still run, and keeps its slots
-- answer  "ok"; "moved" if the record is not that job's, or doesn't end with this
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
        'failed_charged'}, VERSION_TOLD)
  if ARGV[7] ~= '1' then release() end
end
redis.call('PEXPIRE', job, remember)
return written()
