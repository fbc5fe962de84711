-- Put before what keeps to the pace of all workers' submits, or slows it. There is one only after the provider has asked for it.
-- '{prefix}:pace'  hash: rate (submits in 1000 s) as of since_ms, until_ms (the end of a pause), next_ms (when the next submit may go);
--                  it expires, and with it the bound, when the provider has not asked for so long
local PACE = {LEAST = 100, GROWS = 500, SLOWED_ONCE_MS = 1000, FORGOTTEN_MS = 120000}

-- Additive increase: by half a submit a second for each second in which the provider doesn't mind.
local function pace_rate(pace, at)
  local quiet = math.max(0, tonumber(at) - math.max(tonumber(pace.since_ms), tonumber(pace.until_ms)))
  return tonumber(pace.rate) + PACE.GROWS * quiet / 1000
end

local function pace_of(key)
  local fields = redis.call('HMGET', key, 'rate', 'since_ms', 'until_ms', 'next_ms')
  if not fields[1] then return nil end
  return {rate = fields[1], since_ms = fields[2], until_ms = fields[3], next_ms = fields[4]}
end
