-- new (or missing) -> submitting: gives one ask the right to post one attempt.
-- ARGV[3] digest   ARGV[4] round   ARGV[5] attempt   ARGV[6] nonce, a new one for each ask
-- the last of KEYS: see pace.lua (if there is a pace, the answer has the note `pace`); without this key the right is only
--         taken to be given up, so the pace doesn't apply
-- ARGV[7] "": the record is as the caller has read it; "unread": the caller has not read it and expects that there is none;
--         or the nonce of an ask that never reached the gate, which this one replaces
-- ARGV[8] "", or the external id of the attempt   ARGV[9] the name of the route
-- ARGV[10] "", or "cap per_job runs_ms": what may be spent in a day in millionths of a unit, and two arguments of
--         spend_today (see spend.lua); the two of KEYS before the last one are then those of spend.lua
-- answer  "ok", also to a repeated ask with the same nonce; "full": no slots are free, nothing changed; "paced": the
--         provider wants a slower pace, nothing changed, and the note wait_ms says how long to wait; "spent": another job
--         would go beyond what may be spent today, nothing changed; "none" or "moved" if the record is not what the
--         caller expects
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
if ARGV[10] ~= '' then
  local cap, per_job, runs_ms = string.match(ARGV[10], '^(%d+) (%S+) (%d+)$')
  local spent, running, each, complete = spend_today(KEYS[#KEYS - 2], KEYS[#KEYS - 1], index, tonumber(now), per_job, runs_ms)
  local own = tonumber(redis.call('ZSCORE', index, id) or '0')
  if own >= STAGES.submitting * 1e13 and running > 0 then running = running - 1 end
  -- As in src/job/spend.rs.
  local fits = spent < tonumber(cap) and (each and spent + (running + 1) * each <= tonumber(cap) or not each and running == 0)
  if not (complete and fits) then
    for name, value in pairs({spent = spent, running = running, per_job = each, complete = complete and 1 or 0}) do
      notes[#notes + 1], notes[#notes + 2] = name, whole(value)
    end
    return answer('spent')
  end
end
local pace_key = string.sub(KEYS[#KEYS], -5) == ':pace' and KEYS[#KEYS]
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
move({'stage', 'submitting', 'digest', digest, 'route', ARGV[9], 'round', round, 'attempt', attempt, 'nonce', nonce,
      'since_ms', now},
     {'event', 'replaceable', 'task', 'under'})
if ARGV[8] ~= '' then redis.call('HSET', job, 'under', ARGV[8]) end
return written()
