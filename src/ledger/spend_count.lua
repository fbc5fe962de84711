-- This text precedes the scripts that count what an end has cost: published.lua and spend_recount.lua.
-- '{prefix}:spend:<day>'      hash of one day: units; jobs (whose units the provider said); estimated (what the others are taken to
--                             have cost), unsaid (charged, without units), perhaps (perhaps charged); and units:<label> (estimates
--                             included), jobs:<label>
-- '{prefix}:spend:recounted'  hash: job id -> its mark, of the ends that were counted from their receipts after a loss of Redis
-- A mark says what was counted of a job: "day units estimated kind corrected", where kind is the field that it counts in, and
-- corrected is 1 once its correction was counted. It is in the job's record (`counted`) as long as Redis remembers the job.
local SPEND_KEPT_MS, LABELS_MAX = 3456000000, 500

-- Counts an end, unless its mark says that it was counted before, and returns its mark. A correction counts for what it has cost
-- more or less than the end before it.
-- `note`: "day at_ms units charged failed per_job": the day's number, the time of the event, what the provider deducted or "-",
-- "yes" | "unknown" | "no", how many tasks of the job failed before, and "-" or what a job is taken to cost
local function count_end(state, day, note, label, mark, corrects)
  local number, units, charged, failed, per_job = string.match(note, '^(%d+) %d+ (%S+) (%a+) (%d+) (%S+)$')
  local was = {'', 0, 0, '', '0'}
  if mark then
    was = {string.match(mark, '^(%d+) (%d+) (%d+) (%a+) ([01])$')}
    if not corrects or was[5] == '1' then return mark end
  end
  local typical = redis.call('HGET', state, 'typical')
  local each = tonumber(per_job ~= '-' and per_job or typical or '0')
  local kind = units ~= '-' and 'jobs' or charged == 'yes' and 'unsaid' or charged == 'unknown' and 'perhaps' or 'free'
  local said = units ~= '-' and tonumber(units) or 0
  local estimated = each * ((kind == 'unsaid' or kind == 'perhaps') and 1 or 0) + each * tonumber(failed)
  -- Never below zero: what is taken back may have been counted for another label, or in a day that was deleted.
  local function add(field, by)
    if by ~= 0 and redis.call('HINCRBY', day, field, string.format('%.0f', by)) < 0 then redis.call('HSET', day, field, 0) end
  end
  local more = said + estimated - was[2] - was[3]
  if not mark or was[1] == number then
    add('units', said - was[2])
    add('estimated', estimated - was[3])
    if mark and was[4] ~= 'free' then add(was[4], -1) end
    if kind ~= 'free' then add(kind, 1) end
  else
    -- What was counted on another day stays there.
    more = math.max(0, more)
    add('units', more)
  end
  if kind == 'jobs' and failed == '0' and said > 0 then
    local learned = typical and math.floor((tonumber(typical) * 4 + said) / 5) or said
    redis.call('HSET', state, 'typical', string.format('%.0f', learned))
  end
  if label ~= '' then
    local is_new = redis.call('HEXISTS', day, 'jobs:' .. label) == 0
    if is_new and redis.call('HLEN', day) >= 2 * LABELS_MAX then label = '' end
    add('units:' .. label, more)
    add('jobs:' .. label, mark and 0 or 1)
  end
  redis.call('PEXPIRE', day, SPEND_KEPT_MS)
  return string.format('%s %.0f %.0f %s %s', number, said, estimated, kind, corrects and '1' or '0')
end
