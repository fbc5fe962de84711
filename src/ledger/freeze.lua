-- -> done: the first outcome that is written counts. A record that Redis has lost doesn't prevent the write.
-- ARGV[3] digest   ARGV[4] round   ARGV[5] "unposted" | "submitting" | "unfinished" (also for sealed outcomes) | "correcting"
-- ARGV[6] for "submitting" the nonce, for "correcting" the event of the unknown outcome that this one replaces
-- ARGV[7] event    ARGV[8] "1": a corrected input may replace it    ARGV[9] "1": its task may still run, and keeps its slots
-- answer  "ok" (the field event has the bytes that count, which may be another worker's); "moved"
local digest, round, expect, nonce, event, replaceable = ARGV[3], ARGV[4], ARGV[5], ARGV[6], ARGV[7], ARGV[8]
if foreign() then return answer('moved') end
-- A worker that reads this record finds the final event in the receipts.
if record.stage == 'told' then
  if expect == 'correcting' and record.digest == digest then return written() end
  return answer('moved')
end
if record.stage == 'done' then
  local corrects = expect == 'correcting' and record.event == nonce
  if record.digest == digest and not corrects then return answer('ok') end
  local corrected = expect == 'unposted' and record.replaceable == '1' and tonumber(round) == tonumber(record.round) + 1
  if not (corrected or corrects) then return answer('moved') end
elseif not missing then
  if record.digest ~= digest then return answer('moved') end
  if expect == 'unposted' and record.stage ~= 'new' then return answer('moved') end
  if expect == 'submitting' and not (record.stage == 'submitting' and record.nonce == nonce) then return answer('moved') end
end
move({'stage', 'done', 'digest', digest, 'round', round, 'event', event, 'replaceable', replaceable, 'since_ms', now},
     {'route', 'attempt', 'nonce', 'under', 'task', 'cancelled', 'corrects', 'entries', 'entered', 'tried_ms', 'failed_tasks',
      'failed_charged'})
if ARGV[9] ~= '1' then release() end
return written()
