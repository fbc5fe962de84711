-- This text precedes the scripts that look at what is spent.
-- '{prefix}:spend'            hash: complete ("1": after a loss of Redis the receipts of today were counted), typical (what a job
--                             costs on average). It is lost only with everything else
-- '{prefix}:spend:<day>'      hash of one day, kept for some weeks: see spend_count.lua
-- Units are in millionths.
-- Answers what is spent, how many jobs run whose cost isn't known yet, what one of them is taken to cost (nil: nothing is known),
-- and whether the day is complete. `runs_ms`: an entry of the index that is older is of no job that runs.
local function spend_today(state_key, day_key, index_key, now_ms, per_job, runs_ms)
  local state = redis.call('HMGET', state_key, 'complete', 'typical')
  local day = redis.call('HMGET', day_key, 'units', 'estimated')
  local spent = tonumber(day[1] or '0') + tonumber(day[2] or '0')
  local running = 0
  -- From submitting to publishing: see STAGES in common.lua.
  for stage = 2, 6 do
    local from, to = stage * 1e13 + math.max(0, now_ms - tonumber(runs_ms)), (stage + 1) * 1e13
    running = running + redis.call('ZCOUNT', index_key, string.format('%.0f', from), '(' .. string.format('%.0f', to))
  end
  local each = tonumber(per_job ~= '-' and per_job or state[2] or '')
  return spent, running, each, state[1] == '1'
end
