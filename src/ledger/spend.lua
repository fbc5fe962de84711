-- This text precedes begin.lua where a day's spend has a cap.
-- '{prefix}:spend'        hash: from_ms (ends whose event is older are counted from their receipts, once), complete ("1": that
--                         was done), typical (what a job costs on average). It is lost only with everything else
-- '{prefix}:spend:<day>'  hash of one day, kept for some weeks: units, estimated (for charged jobs without units), jobs (with
--                         units), unsaid (charged, without units), perhaps (perhaps charged); and units:<label>, jobs:<label>
-- Units are in millionths.
-- What is known of the day, as notes: src/job/spend.rs decides the same by them. `others` are the jobs that were submitted and
-- whose end isn't counted yet, without the one that asks.
local function spend_today(state_key, day_key, cap, per_job)
  local state = redis.call('HMGET', state_key, 'complete', 'typical')
  local day = redis.call('HMGET', day_key, 'units', 'estimated')
  local spent = tonumber(day[1] or '0') + tonumber(day[2] or '0')
  local each = tonumber(per_job ~= '-' and per_job or state[2] or '0')
  local submitted = STAGES.submitting * 1e13
  local others, own = redis.call('ZCOUNT', index, string.format('%.0f', submitted), '+inf'), redis.call('ZSCORE', index, id)
  if own and tonumber(own) >= submitted then others = others - 1 end
  local complete = state[1] == '1'
  for name, value in pairs({spent = spent, running = others, per_job = each, complete = complete and 1 or 0}) do
    notes[#notes + 1], notes[#notes + 2] = name, whole(value)
  end
  return complete and spent < tonumber(cap) and spent + (others + 1) * each <= tonumber(cap)
end
