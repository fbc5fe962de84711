-- This text precedes the scripts that keep to the pace of all workers' submits, or slow it. A pace exists only after the
-- provider has asked for it.
-- '{prefix}:pace'  hash: rate (submits in 1000 s) at since_ms, until_ms (the end of a pause), next_ms (the time of the next submit);
--                  it expires, and the limit with it, if the provider has not asked again for some time
-- A pause is no longer than PAUSE_MS (src/worker/submits.rs), and the time between two submits is no longer than the rate says.
-- A time that is later was written before the clock of Redis was set back; it is replaced by the latest possible time.
local PACE = {LEAST = 100, GROWS = 500, SLOWED_ONCE_MS = 1000, FORGOTTEN_MS = 120000, PAUSE_MS = 600000}

-- The increase is additive: half a submit a second for each second without such an answer of the provider.
local function pace_rate(pace, at)
  local quiet = math.max(0, tonumber(at) - math.max(tonumber(pace.since_ms), tonumber(pace.until_ms)))
  return tonumber(pace.rate) + PACE.GROWS * quiet / 1000
end

local function pace_of(key, at)
  local fields = redis.call('HMGET', key, 'rate', 'since_ms', 'until_ms', 'next_ms')
  if not fields[1] then return nil end
  local now_ms, rate = tonumber(at), tonumber(fields[1])
  local since, ends, next_at = tonumber(fields[2]), tonumber(fields[3]), tonumber(fields[4])
  local pause = math.min(math.max(0, ends - since), PACE.PAUSE_MS)
  local capped_since = math.min(since, now_ms)
  local capped_ends = math.min(ends, now_ms + (since > now_ms and pause or PACE.PAUSE_MS))
  local capped_next = math.min(next_at, math.max(capped_ends, now_ms) + 1000000 / rate)
  if capped_since < since or capped_ends < ends or capped_next < next_at then
    redis.call('HSET', key, 'since_ms', string.format('%.0f', capped_since), 'until_ms', string.format('%.0f', capped_ends),
               'next_ms', string.format('%.0f', capped_next))
  end
  return {rate = fields[1], since_ms = capped_since, until_ms = capped_ends, next_ms = capped_next}
end
