-- new (or missing) -> submitting: the right to post one attempt, for one asker.
-- ARGV[3] digest   ARGV[4] round   ARGV[5] attempt   ARGV[6] nonce, fresh for each ask
-- the last of KEYS: see pace.lua (a note `pace` where there is one); without it the right is only taken to be given up, and nobody is held up
-- ARGV[7] "": the record is as the asker has read it; "unread": the asker has not looked, and takes it that there is none; or the nonce
--         of an ask that never reached the gate: this one takes its place
-- ARGV[8] "", or what the attempt goes out under
-- answer  "ok" also to a repeated ask with the same nonce; "full" and "paced", nothing changed: no slots
--         are free; the provider wants it slower, and the note wait_ms says for how long; "none" or "moved" when the record is not what the asker took it for
local digest, round, attempt, nonce, instead_of = ARGV[3], ARGV[4], ARGV[5], ARGV[6], ARGV[7]
if foreign() then return answer('moved') end
if missing then
  if attempt ~= '1' then return answer('none') end
elseif record.stage == 'submitting' and record.nonce == nonce then
  return answer('ok')
elseif instead_of == 'unread' then
  return answer('moved')
elseif record.stage == 'done' then
  local corrected = record.replaceable == '1' and tonumber(round) == tonumber(record.round) + 1
  if not corrected or attempt ~= '1' then return answer('moved') end
elseif record.stage == 'submitting' then
  local taken_over = instead_of ~= '' and record.nonce == instead_of and record.attempt == attempt and record.digest == digest
  if not taken_over then return answer('moved') end
elseif record.stage ~= 'new' or record.attempt ~= attempt or record.digest ~= digest then
  return answer('moved')
end
local pace_key = #KEYS > 1 and string.sub(KEYS[#KEYS], -5) == ':pace' and KEYS[#KEYS]
local pace = pace_key and pace_of(pace_key, now)
local rate = pace and pace_rate(pace, now)
if pace then
  notes[#notes + 1], notes[#notes + 2] = 'pace', whole(rate)
  local wait = math.max(tonumber(pace.until_ms), tonumber(pace.next_ms)) - now
  if wait > 0 then
    notes[#notes + 1], notes[#notes + 2] = 'wait_ms', whole(wait)
    return answer('paced')
  end
end
if not take() then return answer('full') end
if pace then redis.call('HSET', pace_key, 'next_ms', whole(now + 1000000 / rate)) end
move({'stage', 'submitting', 'digest', digest, 'round', round, 'attempt', attempt, 'nonce', nonce, 'since_ms', now},
     {'event', 'replaceable', 'task', 'under'})
if ARGV[8] ~= '' then redis.call('HSET', job, 'under', ARGV[8]) end
return written()
